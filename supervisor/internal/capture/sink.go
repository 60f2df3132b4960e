package capture

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// maxQueued bounds what waits for a slow writer, in bytes.
const maxQueued = 1 << 20

// maxPiece is how much is written at a time, in bytes, unless one line is longer:
// what a pipe takes whole or not at all (PIPE_BUF, pipe(7)).
const maxPiece = 4096

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
	batch   []byte            // was queued, and is being written: what is left of it
	under   int               // bytes of batch that the Write under way has; 0: there is none
	whole   []byte            // what batch is a part of; used again for the queue
	dropped map[string]uint64 // not told yet
	total   map[string]uint64
	paused  bool
	still   chan struct{} // closed when the Write under way has returned; nil: nobody waits for it
}

// NewSink starts the goroutine that writes. Close ends it.
func NewSink(w io.Writer) *Sink {
	s := newSink(w)
	go s.run()
	return s
}

func newSink(w io.Writer) *Sink {
	return &Sink{
		w: w, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		dropped: map[string]uint64{}, total: map[string]uint64{},
	}
}

// line queues one line or counts it as dropped. It never waits.
func (s *Sink) line(prefix string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batch)+len(s.queue)+len(prefix)+len(b)+4 > maxQueued {
		s.dropped[prefix]++
		s.total[prefix]++
		return
	}
	s.queue = fmt.Appendf(s.queue, "%s | ", prefix)
	s.queue = append(append(s.queue, b...), '\n')
	s.awaken()
}

func (s *Sink) awaken() {
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

// Close lets the writer finish what is queued, and ends a pause. It does not
// wait: a writer that is stuck in Write would never come back. Done tells.
func (s *Sink) Close() {
	s.stop.Do(func() {
		s.Resume()
		close(s.quit)
	})
}

func (s *Sink) run() {
	defer close(s.done)
	for last := false; ; {
		for b := s.next(); len(b) > 0; b = s.next() {
			_, _ = s.w.Write(b) // a full disk must not stop the draining
			s.wrote()
		}
		if last {
			return
		}
		select {
		case <-s.wake:
		case <-s.quit:
			last = true
		}
	}
}

// next is what is to be written now.
func (s *Sink) next() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused {
		return nil
	}
	if len(s.batch) == 0 {
		s.take()
	}
	s.under = piece(s.batch)
	return s.batch[:s.under]
}

// piece is how much of b is written at a time: whole lines, so that nobody else
// who writes there comes in the middle of one.
func piece(b []byte) int {
	if len(b) <= maxPiece {
		return len(b)
	}
	if end := bytes.LastIndexByte(b[:maxPiece], '\n'); end >= 0 {
		return end + 1
	}
	return maxPiece + bytes.IndexByte(b[maxPiece:], '\n') + 1
}

// wrote strikes off what next has given out.
func (s *Sink) wrote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch, s.under = s.batch[s.under:], 0
	if s.still != nil {
		close(s.still)
		s.still = nil
	}
}

// take moves the queue out, and behind it what was dropped since the last time.
// The caller holds mu.
func (s *Sink) take() {
	s.whole, s.queue = s.queue, s.whole[:0]
	for prefix, n := range s.dropped {
		s.whole = fmt.Appendf(s.whole, "%s | [brood: %d lines dropped here: the output was not read fast enough]\n", prefix, n)
	}
	clear(s.dropped)
	s.batch = s.whole
}
