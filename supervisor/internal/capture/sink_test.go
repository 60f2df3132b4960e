package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// gate is a writer that is stuck until it is opened.
type gate struct {
	record
	reached chan struct{} // has room for one: somebody is stuck in it
	open    chan struct{}
}

func newGate() *gate { return &gate{reached: make(chan struct{}, 1), open: make(chan struct{})} }

func (g *gate) Write(b []byte) (int, error) {
	select {
	case g.reached <- struct{}{}:
	default:
	}
	<-g.open
	return g.record.Write(b)
}

// A sink that is stuck holds nobody up and keeps what it may; the rest is
// counted, and told as soon as it goes on.
func TestStuckSinkDropsCountsAndTells(t *testing.T) {
	g := newGate()
	s := NewSink(g)
	s.line("web/1", []byte("first"))
	await(t, "the wait for the writer", g.reached)
	const lines = 3 * maxQueued / 1024
	payload := []byte(strings.Repeat("x", 1024))
	for range lines {
		s.line("web/1", payload)
	}
	dropped := s.Dropped("web/1")
	if dropped < lines/2 || dropped >= lines {
		t.Fatalf("%d of %d dropped", dropped, lines)
	}
	s.mu.Lock()
	queued := len(s.queue)
	s.mu.Unlock()
	if queued > maxQueued {
		t.Errorf("%d bytes are queued", queued)
	}
	if n := s.Dropped("web/2"); n != 0 {
		t.Errorf("%d dropped of a stream that has said nothing", n)
	}
	close(g.open)
	got := g.lines(t, s)
	notice := fmt.Sprintf("[brood: %d lines dropped here: the output was not read fast enough]", dropped)
	if got[0] != "first" || got[len(got)-1] != notice || uint64(len(got)) != 1+lines-dropped+1 {
		t.Errorf("%d lines, the last is %q, want %q", len(got), got[len(got)-1], notice)
	}
	if s.Dropped("web/1") != dropped {
		t.Error("the count is of all time")
	}
}

// signalling is a writer that tells of the first write.
type signalling struct {
	io.Writer
	under chan struct{}
	once  sync.Once
}

func (s *signalling) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.under) })
	return s.Writer.Write(b)
}

// Once there is room again nothing is dropped.
func TestSinkRecovers(t *testing.T) {
	r, w := io.Pipe()
	under := make(chan struct{})
	s := NewSink(&signalling{Writer: w, under: under})
	s.line("web/1", []byte("first"))
	await(t, "the first write", under) // so that all the rest finds it stuck, and is taken at once
	for range 2 * maxQueued / 1024 {
		s.line("web/1", make([]byte, 1024))
	}
	before := s.Dropped("web/1")
	told := make(chan struct{})
	last := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(r)
		var text string
		for lines.Scan() {
			text = lines.Text()
			if strings.Contains(text, "lines dropped here") {
				close(told) // panics if it is told twice
			}
		}
		last <- text
	}()
	await(t, "the wait for the notice", told)
	s.line("web/1", []byte("at last"))
	s.Close()
	await(t, "the sink", s.Done())
	w.Close()
	if text := <-last; text != "web/1 | at last" {
		t.Errorf("the end is %q", text)
	}
	if after := s.Dropped("web/1"); before == 0 || after != before {
		t.Errorf("dropped %d, then %d", before, after)
	}
}

// Close does not wait for a writer that is stuck.
func TestCloseOfAStuckSink(t *testing.T) {
	g := newGate()
	s := NewSink(g)
	s.line("web/1", []byte("one"))
	await(t, "the wait for the writer", g.reached)
	s.line("web/1", []byte("two"))
	s.Close()
	s.Close()
	select {
	case <-s.Done():
		t.Fatal("done while its writer is stuck")
	default:
	}
	close(g.open)
	if got := g.lines(t, s); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

// A writer that fails, a full disk for one, does not end the draining.
func TestFailingWriter(t *testing.T) {
	f := &failing{told: make(chan struct{}, 1)}
	s := NewSink(f)
	for range 3 {
		s.line("web/1", []byte("one"))
		await(t, "a write", f.told)
	}
	s.Close()
	await(t, "the sink", s.Done())
}

type failing struct{ told chan struct{} }

func (f *failing) Write([]byte) (int, error) {
	f.told <- struct{}{}
	return 0, errors.New("no space left on device")
}
