package capture

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// maxQueued bounds what waits for a slow writer, in bytes.
const maxQueued = 1 << 20

// separator is between a line's prefix, which does not have it, and its text.
var separator = []byte(" | ")

// maxPiece is how much is written at a time, in bytes, unless one line is longer:
// what a pipe takes whole or not at all (PIPE_BUF, pipe(7)).
const maxPiece = 4096

// Sink passes lines on to a writer that may be slow or stuck, or fail. What finds
// no room, or can't be written, is dropped and counted by prefix; the count is told
// as soon as lines are written again.
type Sink struct {
	w      io.Writer
	failed func(error)   // may be nil
	wake   chan struct{} // has room for one
	quit   chan struct{}
	done   chan struct{}
	stop   sync.Once

	mu      sync.Mutex
	queue   []byte
	batch   []byte            // was queued, and is being written: what is left of it
	under   int               // bytes of batch that the Write under way has; 0: there is none
	whole   []byte            // what batch is a part of; used again for the queue
	dropped map[string]uint64 // not told yet
	total   map[string]uint64
	notices int               // bytes at the end of batch that tell of what was dropped
	telling map[string]uint64 // what they tell
	fault   error             // of the last Write
	broken  bool              // a Write has failed since the last notices
	paused  bool
	still   chan struct{} // closed when the Write under way has returned; nil: nobody waits for it
}

// NewSink starts the goroutine that writes. Close ends it. That goroutine calls
// failed, which may be nil, with the error when writing begins to fail, and with nil
// when it works again.
func NewSink(w io.Writer, failed func(error)) *Sink {
	s := newSink(w, failed)
	go s.run()
	return s
}

func newSink(w io.Writer, failed func(error)) *Sink {
	return &Sink{
		w: w, failed: failed, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		dropped: map[string]uint64{}, total: map[string]uint64{}, telling: map[string]uint64{},
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
	s.queue = append(append(s.queue, prefix...), separator...)
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
			n, err := s.w.Write(b) // a full disk must not stop the draining
			if s.wrote(n, err) && s.failed != nil {
				s.failed(err)
			}
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

// wrote strikes off what next has given out, of which n bytes are written, and
// counts the lines that are not. It reports whether this is the first failure, or the
// end of it.
func (s *Sink) wrote(n int, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.lose(n)
		s.broken = true
	}
	news := (err == nil) != (s.fault == nil)
	s.fault = err
	s.batch, s.under = s.batch[s.under:], 0
	s.notices = min(s.notices, len(s.batch))
	if s.still != nil {
		close(s.still)
		s.still = nil
	}
	return news
}

// lose counts the lines of the piece that have not been written to their end. What
// a notice was about is to be told again. The caller holds mu.
func (s *Sink) lose(written int) {
	written = min(max(written, 0), s.under) // whatever a Writer says
	from := bytes.LastIndexByte(s.batch[:written], '\n') + 1
	for line := range bytes.Lines(s.batch[from:s.under]) {
		before, _, _ := bytes.Cut(line, separator)
		prefix := string(before)
		if from >= len(s.batch)-s.notices {
			s.dropped[prefix] += s.telling[prefix]
		} else {
			s.dropped[prefix]++
			s.total[prefix]++
		}
		from += len(line)
	}
}

// take moves the queue out, and behind it what was dropped since the last time;
// while writing fails that waits for a line, so that it is not tried on and on.
// The caller holds mu.
func (s *Sink) take() {
	s.whole, s.queue = s.queue, s.whole[:0]
	lines := len(s.whole)
	if lines == 0 && s.fault != nil {
		return
	}
	why := "the output was not read fast enough"
	if s.broken {
		why = "the output could not be written"
	}
	for prefix, n := range s.dropped {
		s.whole = fmt.Appendf(s.whole, "%s%s[brood: %d lines dropped here: %s]\n", prefix, separator, n, why)
	}
	clear(s.telling)
	s.dropped, s.telling, s.broken = s.telling, s.dropped, false
	s.batch, s.notices = s.whole, len(s.whole)-lines
}
