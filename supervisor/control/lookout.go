package control

import (
	"net"
	"sync"
	"time"
)

// A lookout has the clients of commands watched for a hang-up, once they have
// waited for a while: most commands are done by then, and cost no more than an
// entry in a map. A ticker of its own serves all, and stops when nothing is to be
// done.
type lookout struct {
	mu      sync.Mutex
	waiting map[*watch]struct{} // not watched yet
	ticks   uint64
	running bool
}

const (
	// lookEvery is the time between two looks; a client is watched from the second
	// one on.
	lookEvery = 10 * time.Millisecond
	// lookIdle is how many looks there are in vain before the ticker stops.
	lookIdle = 100
)

// watch is a client who waits for a command.
type watch struct {
	conn *net.UnixConn
	gone func() // is called when the client has hung up both ways, or conn is closed

	since uint64        // lookout.ticks at the beginning
	ended chan struct{} // closed when the watching has; nil: it has not begun
}

// watch has w watched until unwatch. Nobody reads from w.conn meanwhile.
func (s *Server) watch(w *watch) {
	l := &s.lookout
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[*watch]struct{}{}
	}
	w.since = l.ticks
	l.waiting[w] = struct{}{}
	if !l.running {
		l.running = true
		s.receivers.Go(s.look)
	}
}

// unwatch ends the watching, and reports whether it had begun: then the read
// deadline of w.conn has passed.
func (s *Server) unwatch(w *watch) (begun bool) {
	s.lookout.mu.Lock()
	delete(s.lookout.waiting, w)
	ended := w.ended
	s.lookout.mu.Unlock()
	if ended == nil {
		return false
	}
	_ = w.conn.SetReadDeadline(time.Unix(1, 0))
	<-ended
	return true
}

// look begins to watch who has waited for long enough.
func (s *Server) look() {
	l := &s.lookout
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for idle := 0; ; {
		<-t.C
		l.mu.Lock()
		l.ticks++
		for w := range l.waiting {
			if idle = 0; w.since+1 < l.ticks {
				delete(l.waiting, w)
				s.begin(w)
			}
		}
		if idle++; len(l.waiting) == 0 && (idle > lookIdle || s.house.isClosing()) {
			l.running = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// begin watches w from now on. The lock is held, so that unwatch comes before or
// after.
func (s *Server) begin(w *watch) {
	w.ended = make(chan struct{})
	_ = w.conn.SetReadDeadline(time.Time{})
	s.receivers.Go(func() {
		defer close(w.ended)
		if awaitHangup(w.conn) {
			w.gone()
		}
	})
}
