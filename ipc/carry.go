package ipc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Carrying a connection over to another program: what it needs to know to go on
// in the middle of whatever was going on.

// State is all that is to be known of a paused connection besides its
// descriptor, to go on with it in another program. It is made to be written as
// JSON, and to be used by Continue alone.
type State struct {
	Own      Hello  // what this end has said of itself: its limits are the peer's to rely on
	Peer     *Hello // what the peer has; nil: nothing yet
	NextID   uint32
	Drained  bool // DRAIN was sent
	Refusing bool
	Retired  bool
	Calls    []GivenUp // in order of their ids
	Pings    []SentPing
	LastPing uint32

	Got int64  // bytes that have come, those of In included
	In  []byte // what has come and was not acted on, in frames. The last one may not be whole

	Rest   []byte   // of the frames that were being written
	Urgent []byte   // frames that go next
	Queue  []Queued // messages behind them, in order

	Ended string // what has ended the connection; "": it lives
}

// GivenUp is a call whose caller has given up, and whose terminal frame has not
// come.
type GivenUp struct {
	ID     uint32
	Credit int // bytes of DATA that the callee may still send
}

// SentPing is a ping that was not answered yet.
type SentPing struct {
	Token uint32
	Age   time.Duration
}

// Queued is a message of which something has not been written, or frames.
type Queued struct {
	Header  Header // of its next frame. Type 0: Payload is frames
	Name    string
	Payload []byte // what is left of it
	Begun   bool   // some of it was written
	Cancel  bool   // a CANCEL is to follow it
	Answers int    // of frames: so many calls of the peer's are answered by them
}

// maxCarried bounds what a State has to write, in bytes.
const maxCarried = 64 << 20

// State is what another program needs to go on with a paused connection. It is
// valid until Resume or Release. It fails, and says why, if there is something
// that can't be carried: callers that wait, calls of the peer's at work,
// descriptors on their way in or out, more than 64 MiB to write.
func (c *Conn) State() (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := State{Own: c.cfg.Hello}
	if peer, ok := c.Peer(); ok {
		st.Peer = &peer
	}
	if c.err != nil {
		select {
		case <-c.done:
			st.Ended = c.err.Error()
			return st, nil
		default:
			return State{}, fmt.Errorf("ipc: the connection is about to end: %w", c.err)
		}
	}
	if c.pause == nil || !c.isStill() {
		return State{}, errNotPaused
	}
	if why := c.rooted(); len(why) > 0 {
		return State{}, errors.New("ipc: the connection can't be carried over: " + strings.Join(why, ", "))
	}
	st.NextID, st.LastPing, st.Drained, st.Refusing, st.Retired = c.nextID, c.lastPing, c.drained, c.refusing, c.retired
	c.calls.each(func(id uint32, p *pending) {
		g := GivenUp{id, firstCredit}
		if p.stream != nil {
			g.Credit = p.stream.credit
		}
		st.Calls = append(st.Calls, g)
	})
	slices.SortFunc(st.Calls, func(a, b GivenUp) int { return cmp.Compare(a.ID, b.ID) })
	now := time.Now()
	for _, p := range c.pings {
		st.Pings = append(st.Pings, SentPing{p.token, now.Sub(p.at)})
	}
	st.In = slices.Concat(c.partial.frames(c.chunk), c.in.bytes(), c.before)
	st.Got = c.got + int64(len(c.before))
	if b := c.pause.kept; b != nil {
		st.Rest = slices.Concat(b.parts[b.next:]...)
	}
	st.Urgent = slices.Clone(c.out.urgent)
	for _, m := range c.out.msgs.waiting() {
		st.Queue = append(st.Queue, m.queued())
	}
	return st, nil
}

// rooted says what can't be carried. The caller holds mu.
func (c *Conn) rooted() (why []string) {
	add := func(n int, format string, args ...any) {
		if n > 0 {
			why = append(why, fmt.Sprintf(format, append([]any{n}, args...)...))
		}
	}
	calls, pings, command := c.waiting()
	add(calls, "%d calls wait for their answer, one of them is %q", command)
	add(pings, "%d callers wait for a ping's answer")
	served, command := 0, ""
	c.serving.each(func(_ uint32, s *serving) {
		if !s.answered {
			served++
			command = s.call.Command
		}
	})
	add(served, "%d calls of the worker's are at work, one of them is %q", command)
	add(len(c.arrived.fds)+len(c.partial.files), "%d descriptors that came wait for the rest of their message")
	fds, size := 0, len(c.out.urgent)
	if b := c.pause.kept; b != nil {
		fds += len(b.fds)
		for _, p := range b.parts[b.next:] {
			size += len(p)
		}
	}
	for _, m := range c.out.msgs.waiting() {
		fds += len(m.fds)
		size += len(m.payload) - m.sent
	}
	add(fds, "%d descriptors wait to be sent")
	add(max(0, size-maxCarried), "%d bytes more wait to be written than the %d that may", maxCarried)
	return why
}

// frames is the message that has begun to come in, as frames that do not end
// it, and of a frame that is read straight to where it belongs the header of
// what is missing.
func (a *assembly) frames(chunk uint32) (b []byte) {
	if !a.active {
		return nil
	}
	h, rest := a.first, a.buf
	h.Flags |= FlagMore
	var name string
	if a.command != nil {
		name = a.command.name
	}
	for first := true; first || len(rest) > 0; first = false {
		n := min(len(rest), int(chunk)-len(name))
		b = AppendFrame(b, Frame{Header: h, Name: []byte(name), Payload: rest[:n]})
		rest, name, h.Arg, h.NFDs = rest[n:], "", 0, 0
	}
	if a.direct {
		h.NLen, h.Length = 0, uint32(a.missing)
		if !a.more {
			h.Flags &^= FlagMore
		}
		b = h.append(b)
	}
	return b
}

func (m *outgoing) queued() Queued {
	q := Queued{Header: m.Header, Name: m.name, Payload: m.payload[m.sent:], Begun: m.begun, Cancel: m.cancel, Answers: m.answers}
	if m.begun { // and so it goes on with a continuation
		q.Name, q.Header.Arg, q.Header.NFDs = "", 0, 0
	}
	return q
}

// Continue is NewConn for a connection that was paused in another program, or in
// this one, and whose State is st. It says no HELLO, and that of cfg counts for
// nothing: what was said before holds. OnOpen is called, and for what was heard
// before neither OnHello nor OnReady. Byte offsets in a [ProtocolError] count
// from the connection's first byte, as before; within a message that had begun to
// come they may be off by some headers. f may be nil if the connection had ended:
// so it has here, and OnClose is not called again.
func Continue(f *os.File, cfg Config, st State) (*Conn, error) {
	if err := st.check(cfg.Role); err != nil {
		f.Close() // nil is none
		return nil, err
	}
	cfg.Hello = st.Own
	if st.Ended != "" {
		f.Close()
		return endedConn(cfg, st), nil
	}
	c, err := makeConn(f, cfg)
	if err != nil {
		return nil, err
	}
	if err := c.adopt(st); err != nil {
		f.Close()
		return nil, err
	}
	if cfg.OnOpen != nil {
		cfg.OnOpen(c)
	}
	c.Resume()
	return c, nil
}

// check says what keeps st from being gone on with.
func (st State) check(role Role) error {
	if role != Supervisor {
		return fmt.Errorf("ipc: only a supervisor's end can be continued, Config.Role is %v", role)
	}
	bad := st.Own.check()
	if bad == "" && st.Peer != nil {
		bad = st.Peer.check()
	}
	if bad == "" && st.Ended == "" && st.NextID%2 != uint32(role)%2 {
		bad = fmt.Sprintf("the next call's id is %d", st.NextID)
	}
	if bad != "" {
		return fmt.Errorf("ipc: State: %s", bad)
	}
	return nil
}

// endedConn is a connection that has ended before.
func endedConn(cfg Config, st State) *Conn {
	c := &Conn{cfg: cfg, err: errors.New(st.Ended), done: make(chan struct{}), greeted: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.cancel(c.err)
	c.adoptPeer(st)
	if cfg.OnOpen != nil {
		cfg.OnOpen(c)
	}
	close(c.done)
	return c
}

func (c *Conn) adoptPeer(st State) {
	if st.Peer != nil {
		c.peer, c.heard = *st.Peer, true
		close(c.greeted)
	}
}

// adopt takes over what st says: c is paused, as the connection was. Nobody else
// has it yet.
func (c *Conn) adopt(st State) error {
	c.adoptPeer(st)
	c.nextID, c.lastPing, c.drained, c.retired = st.NextID, st.LastPing, st.Drained, st.Retired
	c.before = st.In
	c.got = st.Got - int64(len(st.In))
	c.read = c.got
	now := time.Now()
	for _, p := range st.Pings {
		c.pings = append(c.pings, ping{token: p.Token, at: now.Add(-p.Age)})
	}
	for _, g := range st.Calls {
		if c.calls.get(g.ID) != nil {
			return fmt.Errorf("ipc: State: call %d is there twice", g.ID)
		}
		p := pendings.Get().(*pending)
		p.given, p.stream = true, &inflow{credit: g.Credit}
		p.msg = outgoing{Header: Header{Type: TypeCall, ID: g.ID}, begun: true, whole: true}
		c.calls.put(g.ID, p)
	}
	c.out.urgent = st.Urgent
	for _, q := range st.Queue {
		if err := c.adoptQueued(q); err != nil {
			return err
		}
	}
	c.pause = &pausing{reader: true}
	if len(st.Rest) > 0 {
		b := batches.Get().(*batch)
		b.parts, b.next = append(b.parts[:0], st.Rest), 0
		c.out.writing, c.out.current, c.pause.kept = true, b, b
	}
	if st.Refusing {
		c.Refuse()
	}
	return nil
}

// adoptQueued queues what waited to be written.
func (c *Conn) adoptQueued(q Queued) error {
	m := &outgoing{}
	switch q.Header.Type {
	case 0:
		c.unwritten += q.Answers
	case TypeCall:
		p := c.calls.get(q.Header.ID)
		if p == nil || !q.Begun || !p.msg.whole {
			return fmt.Errorf("ipc: State: call %d is queued and not open", q.Header.ID)
		}
		m = &p.msg
	case TypeData:
		c.out.data += cost(len(q.Name), len(q.Payload), 0)
	case TypeResult, TypeError:
		if c.serving.get(q.Header.ID) != nil {
			return fmt.Errorf("ipc: State: call %d is answered twice", q.Header.ID)
		}
		s := newServing()
		s.id, s.answered = q.Header.ID, true
		s.call = &Call{conn: c}
		s.call.ctx.parent = c.ctx
		c.serving.put(s.id, s)
		m = &s.out
		m.served = s
	case TypeDrain:
	default:
		return fmt.Errorf("ipc: State: %v is queued", q.Header.Type)
	}
	*m = outgoing{Header: q.Header, name: q.Name, payload: q.Payload, served: m.served, answers: q.Answers, begun: q.Begun, cancel: q.Cancel}
	c.out.msgs.push(m)
	return nil
}
