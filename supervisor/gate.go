package supervisor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

// gate is where commands to a pool find a worker: the least busy ready one that
// has room, else they wait in a queue of bounded length, in the order in which
// they came. Commands to a named worker do not pass it.
type gate struct {
	board *board

	mu      sync.Mutex
	busy    map[*live]int // commands that came through here and are not answered
	waiting []*ticket     // oldest first
	queued  atomic.Int32  // len(waiting), for who only looks
}

// ticket is a command that waits. room is told once, under gate.mu.
type ticket struct {
	tried []*live    // workers that it is not to be sent to again
	room  chan *live // has room for one; nil is told when no worker will come
}

func newGate(b *board) *gate { return &gate{board: b, busy: map[*live]int{}} }

// enter waits for a worker with room. leave gives it back.
func (g *gate) enter(ctx context.Context, command string, tried []*live) (*live, error) {
	refuse := func(code ipc.Code, format string, args ...any) (*live, error) {
		return nil, &ipc.CallError{
			Target: g.board.name, Command: command, Code: code, Started: ipc.StartedNo, Message: fmt.Sprintf(format, args...),
		}
	}
	limit := max(g.board.config.Load().Dispatch.Queue, 0)
	g.mu.Lock()
	l, ready, hope := g.pick(tried)
	switch {
	case l != nil:
		g.busy[l]++
		g.mu.Unlock()
		return l, nil
	case ready == 0 && !hope:
		g.mu.Unlock()
		return refuse(ipc.ErrUnavailable, "none of its %d workers is ready; see `brood status`", len(*g.board.places.Load()))
	case len(g.waiting) >= limit:
		g.mu.Unlock()
		return refuse(ipc.ErrOverloaded, "all %d ready workers are busy and %d commands wait", ready, limit)
	}
	t := &ticket{tried: tried, room: make(chan *live, 1)}
	g.waiting = append(g.waiting, t)
	g.queued.Store(int32(len(g.waiting)))
	g.serve() // a worker that has come since pick looked was not told: nobody waited
	g.mu.Unlock()
	select {
	case l := <-t.room:
		if l == nil {
			return refuse(ipc.ErrUnavailable, "the last of its workers has gone; see `brood status`")
		}
		return l, nil
	case <-ctx.Done():
	}
	g.withdraw(t)
	code := ipc.ErrCanceled
	if ctx.Err() == context.DeadlineExceeded {
		code = ipc.ErrTimeout
	}
	return refuse(code, "no worker had room in time; it was not started")
}

// withdraw takes t out of the queue. If it was just given a worker, the next
// in the queue gets that.
func (g *gate) withdraw(t *ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(w *ticket) bool { return w == t })
	g.queued.Store(int32(len(g.waiting)))
	select {
	case l := <-t.room:
		if l != nil {
			g.release(l)
		}
	default:
	}
}

// leave says that a command is over at l.
func (g *gate) leave(l *live) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(l)
}

// release frees a place at l for who waits. The caller holds mu.
func (g *gate) release(l *live) {
	if g.busy[l]--; g.busy[l] <= 0 {
		delete(g.busy, l)
	}
	g.serve()
}

// changed: a worker has come, gone, or changed its state. The loop calls it for
// every step, so with nobody waiting it costs a look.
func (g *gate) changed() {
	if g.queued.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.serve()
}

// serve gives workers with room to who waits, in order. The caller holds mu.
func (g *gate) serve() {
	still := g.waiting[:0]
	for i, t := range g.waiting {
		l, ready, hope := g.pick(t.tried)
		switch {
		case l != nil:
			g.busy[l]++
			t.room <- l
			continue
		case ready == 0 && !hope:
			t.room <- nil
			continue
		}
		if len(t.tried) == 0 { // where it finds no room nobody does
			still = append(still, g.waiting[i:]...)
			break
		}
		still = append(still, t)
	}
	clear(g.waiting[len(still):])
	g.waiting = still
	g.queued.Store(int32(len(still)))
}

// pick is the least busy ready worker with room, but for those tried. ready
// counts the ready ones, hope tells whether another may become so.
func (g *gate) pick(tried []*live) (best *live, ready int, hope bool) {
	room := g.board.config.Load().Dispatch.Concurrency
	least := 0
	for _, pl := range *g.board.places.Load() {
		v, l := pl.current()
		if v.State != lifecycle.Ready || l == nil {
			hope = hope || v.Want == lifecycle.Up && (v.State == lifecycle.Starting || v.State == lifecycle.Stopping || v.State == lifecycle.Backoff || v.Generation == 0)
			continue
		}
		if slices.Contains(tried, l) {
			continue
		}
		ready++
		busy := 0
		if v.Greeted {
			busy = l.conn.Open()
		}
		if g.busy[l] < room && (best == nil || busy < least) {
			best, least = l, busy
		}
	}
	return best, ready, hope
}

// waitingNow is how many commands wait for a worker of the pool.
func (g *gate) waitingNow() int { return int(g.queued.Load()) }
