package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/brood/supervisor/control/api"
)

// A hold is a moment in which nothing is under way on the control socket, so that
// another program may take the place of this one. Who comes waits in the kernel's
// queue, and what they say in their sockets; a guest between two requests is parked:
// no goroutine waits for it, and no byte of it is lost. When the hold is over
// all goes on, here or in the next program.

// holder is a listener that stops accepting for a hold.
type holder interface {
	// hold returns when no connection is between accept(2) and its place.
	hold(ctx context.Context) error
	release()
}

// Hold has nothing new begun, and returns when nothing is under way but the request
// for the upgrade that it is for. Who follows events or logs has their answer ended
// after a whole item, and who waits for an event is answered, once nothing else is
// under way.
//
// When ctx ends before that all goes on as if Hold had not been called, and the
// error says what was still under way. Else it does so with [Server.Release].
func (s *Server) Hold(ctx context.Context) error {
	if !s.holding.CompareAndSwap(false, true) {
		return failf(api.CodeConflict, "the control socket is held already")
	}
	if err := s.hold(ctx); err != nil {
		s.Release()
		return err
	}
	return nil
}

func (s *Server) hold(ctx context.Context) error {
	s.house.shut()
	for _, l := range s.holders() {
		if err := l.hold(ctx); err != nil {
			return fmt.Errorf("a control socket does not stop accepting: %w", err)
		}
	}
	return s.house.awaitQuiet(ctx)
}

// Release ends a hold. It does nothing where there is none.
func (s *Server) Release() {
	if !s.holding.Load() {
		return
	}
	strangers := s.house.open()
	for _, l := range s.holders() {
		l.release()
	}
	s.holding.Store(false)
	for _, a := range strangers {
		s.welcome(a)
	}
}

func (s *Server) holders() (all []holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if h, ok := l.(holder); ok {
			all = append(all, h)
		}
	}
	return all
}

// gate is the part of a house that a hold needs. All but held is guarded by house.mu,
// which is held too where held is written.
type gate struct {
	held     atomic.Bool
	on       chan struct{} // closed with held
	stirred  chan struct{} // takes a token when there may be less under way
	entering int           // connections that have been accepted and have no place yet
	parked   int
	upgrades int // guests that have asked for the upgrade
	follows  int
	ending   bool      // who follows is to end
	door     []arrival // came while held
	heirs    []arrival // guests of the program before whose socket is not served yet
}

// arrival is a connection that has just come, or comes from the program before.
type arrival struct {
	conn *net.UnixConn
	door string // the path of the socket it came in by
	said said
}

func newGate() gate { return gate{on: make(chan struct{}), stirred: make(chan struct{}, 1)} }

func (h *house) isHeld() bool { return h.held.Load() }

// onHold is closed while a hold is on.
func (h *house) onHold() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.on
}

// stir says that there may be less under way.
func (h *house) stir() {
	select {
	case h.stirred <- struct{}{}:
	default:
	}
}

// enter is called with each connection that has come, and entered when it has a
// place or is closed. It is false while a hold is on: a stands at the door then.
func (h *house) enter(a arrival) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isHeld() && !h.closed {
		h.door = append(h.door, a)
		return false
	}
	h.entering++
	return true
}

func (h *house) entered() {
	h.mu.Lock()
	h.entering--
	h.mu.Unlock()
	h.stir()
}

// standAtDoor has g, for whom there was no place, come again when the hold is over.
// It is false where none is on.
func (h *house) standAtDoor(g *guest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.isHeld() || h.closed {
		return false
	}
	h.door = append(h.door, arrival{conn: g.UnixConn, door: g.caller.door, said: g.said})
	return true
}

// shut begins a hold.
func (h *house) shut() {
	h.mu.Lock()
	h.held.Store(true)
	close(h.on)
	guests := make([]*guest, 0, len(h.guests))
	for g := range h.guests {
		guests = append(guests, g)
	}
	h.mu.Unlock()
	for _, g := range guests {
		g.kick()
	}
}

// open ends a hold, and returns who came meanwhile.
func (h *house) open() []arrival {
	h.mu.Lock()
	h.held.Store(false)
	h.on = make(chan struct{})
	h.ending = false
	parked := h.parkedGuests()
	for _, g := range parked {
		g.parked = false
		if g.limited {
			g.timer.Reset(lobbyTime)
		}
	}
	h.parked = 0
	door := h.door
	h.door = nil
	h.mu.Unlock()
	for _, g := range parked {
		h.attend(g)
	}
	return door
}

// parkedGuests are those, who has been idle longest first.
func (h *house) parkedGuests() []*guest {
	all := make([]*guest, 0, h.parked)
	for g := range h.guests {
		if g.parked {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *guest) int { return cmp.Compare(a.at, b.at) })
	return all
}

// park puts g by, which has said what is given and for which nobody waits from now
// on. Where the hold is over already, it is attended to again.
func (h *house) park(g *guest, what said) {
	g.said = what
	h.mu.Lock()
	over := !h.isHeld()
	if h.closed && !g.gone {
		h.remove(g)
	}
	gone := g.gone
	if !gone {
		if g.busy {
			g.busy = false
			h.link(g)
		}
		if !over {
			g.parked = true
			h.parked++
		}
	}
	h.mu.Unlock()
	h.stir()
	switch {
	case gone:
		g.UnixConn.Close() // which who has evicted it does as well
	case over:
		h.attend(g)
	}
}

// forget takes g, which leaves, out of the count. The lock is held.
func (h *house) forget(g *guest) {
	if g.parked {
		g.parked = false
		h.parked--
	}
	if g.upgrades {
		g.upgrades = false
		h.upgrades--
	}
	h.ended(g)
	h.stir()
}

// ended: g follows nothing any more. The lock is held.
func (h *house) ended(g *guest) {
	if g.unfollow != nil {
		g.unfollow = nil
		h.follows--
	}
}

// following is for what goes on for as long as the caller likes, and may be ended at
// any time: the context ends with the cause errHeld when a hold is to come about.
// The function is to be called when it has ended.
func (s *Server) following(ctx context.Context, c *caller) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := c.guest
	if g == nil {
		return ctx, func() { cancel(nil) }
	}
	h := g.house
	h.mu.Lock()
	if !g.gone && g.unfollow == nil {
		g.unfollow = cancel
		h.follows++
	}
	if h.ending {
		cancel(errHeld)
	}
	h.mu.Unlock()
	h.stir()
	return ctx, func() {
		h.mu.Lock()
		h.ended(g)
		h.mu.Unlock()
		cancel(nil)
	}
}

// isEnded reports whether ctx, of following, has ended for a hold.
func isEnded(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errHeld) }

// followerTime is how long a follower that is to end may take for what it is being
// sent. Who has not read for as long has fallen behind by all that a socket holds.
const followerTime = 250 * time.Millisecond

// awaitQuiet waits until nothing is under way.
func (h *house) awaitQuiet(ctx context.Context) error {
	var cut <-chan time.Time
	for {
		n, follows := h.underWay()
		switch {
		case n == 0:
			return nil
		case n == follows && cut == nil:
			h.endFollowing()
			cut = time.After(followerTime)
		}
		select {
		case <-h.stirred:
		case <-cut:
			h.cutFollowers()
			cut = time.After(followerTime)
		case <-h.closing:
			return failf(api.CodeConflict, "the control socket is being closed")
		case <-ctx.Done():
			return h.atWork()
		}
	}
}

// underWay is how much is, and how much of that follows something.
func (h *house) underWay() (n, follows int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.guests) - h.parked - h.upgrades + h.entering, h.follows
}

func (h *house) endFollowing() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ending = true
	for g := range h.guests {
		if g.unfollow != nil {
			g.unfollow(errHeld)
		}
	}
}

// cutFollowers hangs up on those who do not take what they are sent.
func (h *house) cutFollowers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for g := range h.guests {
		if g.unfollow != nil {
			_ = g.UnixConn.SetWriteDeadline(time.Unix(1, 0))
		}
	}
}

// toldAtWork is how many of those at work are named.
const toldAtWork = 3

// atWork is the error that says what is.
func (h *house) atWork() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []doing
	for g := range h.guests {
		if !g.parked && !g.upgrades {
			all = append(all, g.caller.doing())
		}
	}
	slices.SortFunc(all, func(a, b doing) int { return a.since.Compare(b.since) })
	var text []string
	for _, d := range all[:min(len(all), toldAtWork)] {
		text = append(text, d.String())
	}
	if n := len(all) + h.entering - len(text); n > 0 {
		text = append(text, fmt.Sprintf("%d more", n))
	}
	if len(text) == 0 { // it ended in this moment
		return failf(api.CodeFailed, "the control socket did not come to rest in time")
	}
	return failf(api.CodeFailed, "still under way on the control socket: %s", strings.Join(text, "; "))
}

// doing is what a caller is at work on.
type doing struct {
	caller *caller
	ask    ask       // of no verb: it is not known what it will be, or it is done
	since  time.Time // zero: as well
}

func (d doing) String() string {
	what := "a request"
	if d.ask.verb != "" {
		what = strings.TrimSpace(string(d.ask.verb) + " " + d.ask.String())
	}
	by := fmt.Sprintf(" of uid %d", d.caller.peer.UID)
	if d.caller.err != nil {
		by = ""
	}
	if d.since.IsZero() {
		return what + by
	}
	return what + by + ", since " + time.Since(d.since).Round(10*time.Millisecond).String()
}

// begins notes what c is at work on, until ends.
func (c *caller) begins(a ask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.does = doing{c, a, time.Now()}
}

func (c *caller) ends() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.does = doing{caller: c}
}

func (c *caller) doing() doing {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.does
	d.caller = c
	return d
}
