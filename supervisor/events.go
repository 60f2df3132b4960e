package supervisor

import (
	"sync"
	"time"

	"example.com/brood/supervisor/internal/lifecycle"
)

// EventKind is what an Event is about.
type EventKind = lifecycle.Kind

// The kinds of events.
const (
	EventState      = lifecycle.KindState      // the slot has come into another state; Text begins with it
	EventExit       = lifecycle.KindExit       // a process has ended
	EventSuspect    = lifecycle.KindSuspect    // a ping was missed
	EventHung       = lifecycle.KindHung       // so many that it counts as unresponsive
	EventResponsive = lifecycle.KindResponsive // it answers again
	EventKill       = lifecycle.KindKill       // SIGKILL was sent
	EventBeside     = lifecycle.KindBeside     // a new process starts beside the one that it is to replace
	EventSwap       = lifecycle.KindSwap       // it has taken the place
	EventRollout    = lifecycle.KindRollout    // a rollout ended early
	EventGone       = lifecycle.KindGone       // the slot is no more: its pool was scaled down or removed
)

// Event is something that has happened to a slot. The slot's status shows it
// already.
type Event struct {
	Seq        uint64 // from 1, without gaps
	At         time.Time
	Pool       string
	Slot       int
	Generation uint64
	Kind       EventKind
	Text       string
}

// keptEvents is how many of the last events can be asked for.
const keptEvents = 4096

// eventLog is a ring that readers wait on.
type eventLog struct {
	mu     sync.Mutex
	ring   []Event
	next   uint64        // sequence number of the next event
	news   chan struct{} // closed and replaced when there is one
	closed bool
}

func newEventLog() *eventLog { return &eventLog{next: 1, news: make(chan struct{})} }

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq = l.next
	l.next++
	if len(l.ring) < keptEvents {
		l.ring = append(l.ring, e)
	} else {
		l.ring[(e.Seq-1)%keptEvents] = e
	}
	close(l.news)
	l.news = make(chan struct{})
}

// isClosed: no event comes any more.
func (l *eventLog) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// close wakes everybody who waits; no event comes any more.
func (l *eventLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.news)
}

// LastEvent is the number of the newest event; 0: there was none yet.
func (s *Supervisor) LastEvent() uint64 {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return s.events.next - 1
}

// Events returns the events after since, oldest first, as far back as they are
// kept (4096), and a channel that is closed when there is another, or when Run
// has returned. To follow, ask again with the last Seq after each time.
func (s *Supervisor) Events(since uint64) ([]Event, <-chan struct{}) {
	l := s.events
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.next - uint64(len(l.ring))
	var out []Event
	for seq := max(since+1, first); seq < l.next; seq++ {
		out = append(out, l.ring[(seq-1)%keptEvents])
	}
	return out, l.news
}
