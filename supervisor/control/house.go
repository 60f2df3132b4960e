package control

import (
	"context"
	"sync"
	"time"

	"example.com/brood/supervisor/control/api"
)

// Limits is how many connections there may be at once.
type Limits struct {
	// MaxConnections is the most in all. 0: 1024. A quarter of the descriptors
	// that this process may have open (RLIMIT_NOFILE) bounds it in any case.
	MaxConnections int
	// MaxPerUser is the most of one user; root and the supervisor's own are
	// bounded by MaxConnections alone. 0: 256.
	MaxPerUser int
}

const (
	defaultConnections = 1024
	defaultPerUser     = 256
	fewestConnections  = 8
	// lobbyTime is how long a connection that came to a full house may last.
	lobbyTime = 2 * time.Second
	// admitTime is how long a privileged newcomer waits for a place there.
	admitTime = 10 * time.Second
	// lookAtMost is how many idle guests are looked at to find one that may be
	// evicted.
	lookAtMost = 16
)

// withDefaults fills in what is not said. files is how many descriptors the
// process may have open.
func (l Limits) withDefaults(files int) Limits {
	if l.MaxConnections <= 0 {
		l.MaxConnections = defaultConnections
	}
	l.MaxConnections = max(min(l.MaxConnections, files/4), fewestConnections)
	if l.MaxPerUser <= 0 {
		l.MaxPerUser = defaultPerUser
	}
	l.MaxPerUser = min(l.MaxPerUser, l.MaxConnections-l.reserved())
	return l
}

// reserved is how many places only root and the supervisor's own user may take.
func (l Limits) reserved() int { return max(l.MaxConnections/16, 2) }

// lobby is how many guests there may be beyond MaxConnections, for a look at
// health and status. A quarter of its places are reserved.
func (l Limits) lobby() int { return min(max(l.MaxConnections/16, 4), 64) }

// A house knows every connection to the control socket, and who has to leave
// when it is full: the guest who has been idle longest. Where nobody is idle, a
// newcomer waits in the lobby; it is served what answers from memory, and nothing
// else, unless there is room by then.
//
// The lock is held for counting and linking alone.
type house struct {
	limits Limits
	owner  int // the supervisor's uid

	// attend goes on with a guest who was parked. It is set before there is any.
	attend func(*guest)

	mu      sync.Mutex
	all     int // guests with a place
	inLobby int
	waiting guestList // guests of the lobby who have not asked for anything yet
	users   map[int]*tenant
	guests  map[*guest]struct{}
	clock   uint64 // counts moments at which a guest became idle
	closed  bool

	left    chan struct{} // takes a token when a guest has left
	closing chan struct{} // closed with closed
	gate
}

// tenant is one uid and its guests.
type tenant struct {
	n    int       // with a place
	idle guestList // of these, the longest idle first
}

// count is how many guests there are, and how many there may be.
func (h *house) count() (n, limit int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.guests), h.limits.MaxConnections
}

func newHouse(l Limits, owner, files int) *house {
	return &house{
		limits: l.withDefaults(files), owner: owner,
		users: map[int]*tenant{}, guests: map[*guest]struct{}{}, left: make(chan struct{}, 1), closing: make(chan struct{}),
		gate: newGate(),
	}
}

// privileged users have places of their own, and no limit for one user.
func (h *house) privileged(uid int) bool { return uid == 0 || uid == h.owner }

// admit finds a place for g, who has just come, or is false: there is none, and g
// is closed, or stands at the door while a hold is on. For a privileged user it
// waits, for admitTime at most, where even the lobby is full of guests who are being
// served.
func (h *house) admit(g *guest) bool {
	var deadline time.Time
	for {
		evicted, ok := h.tryAdmit(g)
		if evicted != nil {
			evicted.UnixConn.Close()
		}
		if ok {
			return true
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(admitTime)
		}
		if h.privileged(g.uid()) && h.awaitRoom(deadline) {
			continue
		}
		switch {
		case h.isClosing():
			g.UnixConn.Close() // it is no fuller than before
		case h.standAtDoor(g):
		default:
			refuse(g.UnixConn)
		}
		return false
	}
}

func (h *house) isClosing() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// awaitRoom waits until somebody has left. A hold ends it.
func (h *house) awaitRoom(deadline time.Time) bool {
	left := time.Until(deadline)
	if left <= 0 {
		return false
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-h.left:
		return true
	case <-h.onHold():
		return false
	case <-h.closing:
		return false
	case <-t.C:
		return false
	}
}

// tryAdmit gives g a place, or one in the lobby, perhaps at the cost of another
// guest, which the caller closes.
func (h *house) tryAdmit(g *guest) (evicted *guest, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, false
	}
	if !h.hasRoom(g) {
		evicted = h.evict(g)
	}
	switch {
	case h.hasRoom(g):
		h.all++
		h.userOf(g).n++
	case h.inLobby < h.lobbyFor(g):
		h.enterLobby(g)
	default:
		if evicted == nil {
			evicted = h.evictFromLobby(g)
		}
		if h.inLobby >= h.lobbyFor(g) {
			return evicted, false
		}
		h.enterLobby(g)
	}
	h.guests[g] = struct{}{}
	h.link(g)
	return evicted, true
}

func (h *house) enterLobby(g *guest) {
	g.limited = true
	g.timer = time.AfterFunc(lobbyTime, func() { h.showOut(g) })
	h.inLobby++
}

// showOut ends g's time in the lobby. One that has asked, and is not served yet for
// want of CPU, may stay.
func (h *house) showOut(g *guest) {
	h.mu.Lock()
	stays := g.gone || !g.limited || g.parked // the second has found a place just now; release sets the third's clock anew
	if !stays && !g.busy && g.hasAsked() {
		stays = true
		g.timer.Reset(lobbyTime)
	}
	h.mu.Unlock()
	if !stays {
		g.Close()
	}
}

// lobbyFor is how many guests there may be in the lobby for g to be let in.
func (h *house) lobbyFor(g *guest) int {
	n := h.limits.lobby()
	if !h.privileged(g.uid()) {
		n -= n / 4
	}
	return n
}

func (h *house) userOf(g *guest) *tenant {
	u := h.users[g.uid()]
	if u == nil {
		u = &tenant{}
		h.users[g.uid()] = u
	}
	return u
}

func (h *house) hasRoom(g *guest) bool {
	if h.privileged(g.uid()) {
		return h.all < h.limits.MaxConnections
	}
	return h.all < h.limits.MaxConnections-h.limits.reserved() && h.perUser(g) < h.limits.MaxPerUser
}

func (h *house) perUser(g *guest) int {
	if u := h.users[g.uid()]; u != nil {
		return u.n
	}
	return 0
}

// evict takes its place from the guest that has been idle longest: from one of
// the newcomer's own user if that has too many, and never from a privileged user
// for another. One that has sent something which nobody has read yet is not idle.
func (h *house) evict(g *guest) *guest {
	privileged := h.privileged(g.uid())
	return h.evictOf(func() *guest {
		if !privileged && h.perUser(g) >= h.limits.MaxPerUser {
			return h.users[g.uid()].idle.first
		}
		return h.longestIdle(privileged)
	})
}

func (h *house) evictOf(longestIdle func() *guest) *guest {
	for range lookAtMost {
		g := longestIdle()
		if g == nil {
			return nil
		}
		if !g.hasAsked() {
			h.remove(g)
			return g
		}
		h.unlink(g)
		h.link(g)
	}
	return nil
}

func (h *house) longestIdle(all bool) *guest {
	var oldest *guest
	for uid, u := range h.users {
		if first := u.idle.first; first != nil && (all || !h.privileged(uid)) && (oldest == nil || first.at < oldest.at) {
			oldest = first
		}
	}
	return oldest
}

// evictFromLobby turns away the guest that has said nothing there for longest.
func (h *house) evictFromLobby(newcomer *guest) *guest {
	all := h.privileged(newcomer.uid())
	for g := h.waiting.first; g != nil; g = g.next {
		if (all || !h.privileged(g.uid())) && !g.hasAsked() {
			h.remove(g)
			return g
		}
	}
	return nil
}

// makeRoom evicts the guest that has been idle longest, whoever it is, and reports
// whether there was one: descriptors have run out.
func (h *house) makeRoom() bool {
	h.mu.Lock()
	var g *guest
	if !h.isHeld() {
		g = h.evictOf(func() *guest { return h.longestIdle(true) })
	}
	h.mu.Unlock()
	if g == nil {
		return false
	}
	g.UnixConn.Close()
	return true
}

// begin says that g has a request. It is false if g was evicted before: nothing
// may be done then. A guest in the lobby takes a place that has become free.
func (h *house) begin(g *guest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.gone {
		return false
	}
	if g.busy {
		return true
	}
	g.busy = true
	g.asked.Store(false)
	h.unlink(g)
	if g.limited && h.hasRoom(g) {
		g.timer.Stop()
		g.limited = false
		h.inLobby--
		h.all++
		h.userOf(g).n++
	}
	return true
}

// end says that the answer has gone out: g is idle from now on. It is false when
// g is to be hung up on.
func (h *house) end(g *guest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.gone || h.closed {
		return false
	}
	if g.busy {
		g.busy = false
		h.link(g)
	}
	return true
}

// mayNow is an error when g came to a full house and asks for more than a look.
func (g *guest) mayNow(v verb) error {
	g.house.mu.Lock()
	defer g.house.mu.Unlock()
	if !g.limited || v == "" || minRole[v] == RoleViewer {
		return nil
	}
	return failf(api.CodeOverloaded, "there are too many connections to the control socket, %d; only what looks is answered now, such as health and status", g.house.all)
}

// isGone reports whether g was evicted or has left.
func (g *guest) isGone() bool {
	g.house.mu.Lock()
	defer g.house.mu.Unlock()
	return g.gone
}

func (h *house) leave(g *guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !g.gone {
		h.remove(g)
	}
}

// remove strikes g out. Its socket is closed by the caller.
func (h *house) remove(g *guest) {
	g.gone = true
	h.forget(g)
	if !g.busy {
		h.unlink(g)
	}
	if g.limited {
		g.timer.Stop()
		h.inLobby--
	} else {
		h.all--
		u := h.userOf(g)
		if u.n--; u.n == 0 {
			delete(h.users, g.uid())
		}
	}
	delete(h.guests, g)
	select {
	case h.left <- struct{}{}:
	default:
	}
}

// link puts g, which is idle from now on, at the end of its list.
func (h *house) link(g *guest) {
	h.clock++
	g.at = h.clock
	h.listOf(g).push(g)
}

func (h *house) unlink(g *guest) { h.listOf(g).unlink(g) }

func (h *house) listOf(g *guest) *guestList {
	if g.limited {
		return &h.waiting
	}
	return &h.userOf(g).idle
}

// close lets nobody in any more, and hangs up on those who are idle, or on all.
func (h *house) close(all bool) {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.closing)
	}
	var out []*guest
	for g := range h.guests {
		if all || !g.busy && !g.hasAsked() {
			out = append(out, g)
		}
	}
	for _, g := range out {
		h.remove(g)
	}
	h.mu.Unlock()
	for _, g := range out {
		g.UnixConn.Close()
	}
}

// awaitEmpty waits until everybody has left.
func (h *house) awaitEmpty(ctx context.Context) error {
	for {
		h.mu.Lock()
		n := len(h.guests)
		h.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-h.left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// guestList links the idle guests of a user, the longest idle first.
type guestList struct{ first, last *guest }

func (l *guestList) push(g *guest) {
	g.prev, g.next = l.last, nil
	if l.last == nil {
		l.first = g
	} else {
		l.last.next = g
	}
	l.last = g
}

func (l *guestList) unlink(g *guest) {
	if g.prev == nil {
		l.first = g.next
	} else {
		g.prev.next = g.next
	}
	if g.next == nil {
		l.last = g.prev
	} else {
		g.next.prev = g.prev
	}
	g.prev, g.next = nil, nil
}
