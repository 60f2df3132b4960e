package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/handover"
)

// What goes along when another program takes the place of this one: the guests who
// are parked, who has asked for the upgrade and is answered by the other, and the
// audit lines that are not written yet. The sockets go by themselves; see
// [ExportListener].

// Saved is a [Server] as it goes to the next program. It is written as JSON.
type Saved struct {
	Guests []savedGuest
	Audit  savedAudit
}

type savedGuest struct {
	FD   int // see handover.Out.FD
	Door string
	Said said
}

// owed is the answer to a request for the upgrade.
type owed struct {
	Before string // the version that was asked
	JSON   bool   `json:",omitempty"` // on a line: it is to be JSON
	Close  bool   `json:",omitempty"` // the connection ends with it
}

// exportTime is how long the audit lines may take that are still to be written.
const exportTime = 500 * time.Millisecond

// Export gives what the next program needs to go on with every guest. It is called
// while a hold is on. All stays open and as it is, so that [Server.Release] goes on
// here if the other program does not come. An error is that of an audit file, or
// log, that takes no line; nothing is lost of one that can't be written to.
func (s *Server) Export(out *handover.Out) (Saved, error) {
	if !s.holding.Load() {
		return Saved{}, errors.New("control: Export is called while a hold is on")
	}
	var saved Saved
	ctx, cancel := context.WithTimeout(context.Background(), exportTime)
	defer cancel()
	var err error
	if saved.Audit, err = s.audit.export(ctx); err != nil {
		return Saved{}, err
	}
	h := s.house
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.parkedGuests() {
		err = errors.Join(err, saved.add(out, g.UnixConn, g.caller.door, g.said))
	}
	for _, d := range s.debts {
		if d.guest.upgrades {
			err = errors.Join(err, saved.add(out, d.guest.UnixConn, d.guest.caller.door, d.said))
		}
	}
	for _, a := range slices.Concat(h.door, h.heirs) {
		err = errors.Join(err, saved.add(out, a.conn, a.door, a.said))
	}
	return saved, err
}

func (saved *Saved) add(out *handover.Out, c *net.UnixConn, door string, is said) error {
	fd, err := fdOf(c)
	if err != nil {
		return fmt.Errorf("a connection to %s: %w", door, err)
	}
	saved.Guests = append(saved.Guests, savedGuest{FD: out.FD(fd), Door: door, Said: is})
	return nil
}

// fdOf is the descriptor of c, which stays c's. It is valid until c is closed, and
// its flags are not touched.
func fdOf(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(n uintptr) { fd = int(n) })
	return fd, err
}

// debt is what is owed to a guest who has asked for the upgrade.
type debt struct {
	guest *guest
	said  said
}

// owe has an answer given by the next program, should it come, to who has asked for
// the upgrade. The function takes that back.
func (s *Server) owe(c *caller, is said) (paid func(), err error) {
	h := s.house
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(s.debts) > 0 {
		return nil, failf(api.CodeConflict, "an upgrade is under way already")
	}
	d := &debt{c.guest, is}
	if d.guest == nil {
		return func() {}, nil
	}
	if d.guest.gone {
		return nil, errGone
	}
	s.debts = append(s.debts, d)
	d.guest.upgrades = true
	h.upgrades++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		s.debts = slices.DeleteFunc(s.debts, func(other *debt) bool { return other == d })
		if d.guest.upgrades {
			d.guest.upgrades = false
			h.upgrades--
		}
	}, nil
}

// inherit takes what the program before has saved. Its guests are let in when the
// socket is served that they came in by.
func (s *Server) inherit(saved *Saved, in *handover.In) {
	for _, g := range saved.Guests {
		c, err := adoptConn(in, g.FD)
		if err != nil {
			s.cfg.Log.Warn("a client of the control socket can't be taken over", "socket", g.Door, "error", err)
			continue
		}
		s.house.heirs = append(s.house.heirs, arrival{conn: c, door: g.Door, said: g.Said})
	}
}

func adoptConn(in *handover.In, n int) (*net.UnixConn, error) {
	f, err := in.File(n, "control-client")
	if err != nil {
		return nil, err
	}
	defer f.Close() // net.FileConn has its own copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("it is a %T, no Unix socket", c)
	}
	return uc, nil
}

// letInHeirs lets those in who came by the socket at door. Who is calling is asked
// anew, and what they may do. Who came by one that is not served any more is hung
// up on, but given the answer that is owed.
func (s *Server) letInHeirs(door string) {
	h := s.house
	h.mu.Lock()
	var mine, others []arrival
	for _, a := range h.heirs {
		switch {
		case a.door == door:
			mine = append(mine, a)
		case s.knows(a.door):
			others = append(others, a)
		case a.said.Owed != nil:
			a.said.Owed.Close = true
			mine = append(mine, a)
		default:
			a.conn.Close()
		}
	}
	h.heirs = others
	if h.isHeld() {
		h.door = append(h.door, mine...)
		mine = nil
	}
	h.entering += len(mine) // at once, so that no hold overlooks who is still to come
	h.mu.Unlock()
	for _, a := range mine {
		s.place(a)
		h.entered()
	}
}

// knows reports whether the socket at door is one of this server's.
func (s *Server) knows(door string) bool {
	doors := s.access.Load().Doors
	_, ok := doors[door]
	return ok || len(doors) == 0
}

// disinherit hangs up on those who were not let in.
func (s *Server) disinherit() {
	h := s.house
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.heirs {
		a.conn.Close()
	}
	h.heirs = nil
}

// upgraded is the answer that is owed, and leaves the audit line.
func (s *Server) upgraded(c *caller, o *owed) api.Upgrade {
	a := ask{verb: verbUpgrade}
	s.audited(c, a, nil)
	_ = s.counted(a.verb, nil)
	return api.Upgrade{Version: s.cfg.Version, Before: o.Before, PID: os.Getpid()}
}

// payHTTP gives the answer that is owed. It is false when the connection ends with it.
func (s *Server) payHTTP(g *guest, o *owed) bool {
	if !g.house.begin(g) {
		return false
	}
	body := mustJSON(s.upgraded(g.caller, o))
	end := ""
	if o.Close {
		end = "Connection: close\r\n"
	}
	text := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n%s\r\n%s", len(body), end, body)
	_ = g.UnixConn.SetWriteDeadline(time.Now().Add(answerTime))
	if _, err := g.send(text); err != nil {
		return false
	}
	_ = g.UnixConn.SetWriteDeadline(time.Time{})
	if o.Close {
		linger(g.UnixConn)
		return false
	}
	return g.house.end(g)
}
