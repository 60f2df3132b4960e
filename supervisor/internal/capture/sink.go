package capture

import (
	"fmt"
	"io"
	"sync"
)

// maxQueued bounds what waits for a slow writer, in bytes.
const maxQueued = 1 << 20

// Sink passes lines on to a writer that may be slow or stuck. What finds no
// room is dropped and counted by prefix; the count is told as soon as there is
// room again.
type Sink struct {
	w    io.Writer
	wake chan struct{} // has room for one
	quit chan struct{}
	done chan struct{}
	stop sync.Once

	mu      sync.Mutex
	queue   []byte
	dropped map[string]uint64 // not told yet
	total   map[string]uint64
}

// NewSink starts the goroutine that writes. Close ends it.
func NewSink(w io.Writer) *Sink {
	s := &Sink{
		w: w, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		dropped: map[string]uint64{}, total: map[string]uint64{},
	}
	go s.run()
	return s
}

// line queues one line or counts it as dropped. It never waits.
func (s *Sink) line(prefix string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue)+len(prefix)+len(b)+4 > maxQueued {
		s.dropped[prefix]++
		s.total[prefix]++
		return
	}
	s.queue = fmt.Appendf(s.queue, "%s | ", prefix)
	s.queue = append(append(s.queue, b...), '\n')
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Dropped is how many lines of prefix were dropped in all.
func (s *Sink) Dropped(prefix string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total[prefix]
}

// Done is closed when the writer has returned after Close.
func (s *Sink) Done() <-chan struct{} { return s.done }

// Close lets the writer finish what is queued. It does not wait: a writer that
// is stuck in Write would never come back. Done tells.
func (s *Sink) Close() { s.stop.Do(func() { close(s.quit) }) }

func (s *Sink) run() {
	defer close(s.done)
	var spare []byte
	for {
		spare = s.take(spare[:0])
		if len(spare) > 0 {
			_, _ = s.w.Write(spare) // a full disk must not stop the draining
			continue
		}
		select {
		case <-s.wake:
		case <-s.quit:
			if spare = s.take(spare[:0]); len(spare) > 0 {
				_, _ = s.w.Write(spare) // nobody is left to tell
			}
			return
		}
	}
}

// take moves the queue out, and behind it what was dropped since the last time.
func (s *Sink) take(into []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	into, s.queue = s.queue, into
	for prefix, n := range s.dropped {
		into = fmt.Appendf(into, "%s | [brood: %d lines dropped here: the output was not read fast enough]\n", prefix, n)
	}
	clear(s.dropped)
	return into
}
