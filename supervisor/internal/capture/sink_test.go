package capture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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
	s := NewSink(g, nil)
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
	s := NewSink(&signalling{Writer: w, under: under}, nil)
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
	s := NewSink(g, nil)
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

// disk is a writer that is full until there is room. Of what does not fit it takes
// the beginning.
type disk struct {
	record
	full  atomic.Bool
	takes int           // bytes, while it is full
	tried chan struct{} // has room for many: a Write has failed
}

func (d *disk) Write(b []byte) (int, error) {
	if !d.full.Load() {
		return d.record.Write(b)
	}
	n, _ := d.record.Write(b[:min(d.takes, len(b)-1)])
	d.tried <- struct{}{}
	return n, syscall.ENOSPC
}

// has fails unless each of the lines was written, and once.
func (d *disk) has(t *testing.T, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if n := bytes.Count(d.all, []byte(l)); n != 1 {
			t.Errorf("%q is there %d times in %q", l, n, d.all)
		}
	}
}

// countIs waits for so many lines to be dropped.
func countIs(t *testing.T, s *Sink, prefix string, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Dropped(prefix) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %s are dropped, want %d", s.Dropped(prefix), prefix, want)
		}
	}
}

// A writer that fails, a full disk for one, does not end the draining. What it has
// not taken is counted, and told once it takes lines again.
func TestFailingWriterDropsCountsAndTells(t *testing.T) {
	d := &disk{tried: make(chan struct{}, 1000)}
	d.full.Store(true)
	told := make(chan error, 1000)
	s := NewSink(d, func(err error) { told <- err })
	for range 3 {
		s.line("web/1", []byte("lost"))
		s.line("web/2", []byte("lost"))
		<-d.tried
	}
	countIs(t, s, "web/1", 3)
	countIs(t, s, "web/2", 3)
	if err := <-told; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("told %v", err)
	}
	tries := len(d.tried)
	d.full.Store(false)
	s.line("web/1", []byte("kept"))
	if err := <-told; err != nil {
		t.Errorf("told %v", err)
	}
	s.Close()
	await(t, "the sink", s.Done())
	d.has(t, "web/1 | kept\n", "web/1 | [brood: 3 lines dropped here: the output could not be written]\n",
		"web/2 | [brood: 3 lines dropped here: the output could not be written]\n")
	if s.Dropped("web/1") != 3 || len(told) != 0 {
		t.Errorf("%d dropped, told %d times more", s.Dropped("web/1"), len(told))
	}
	if tries > 3 { // of the six lines each is tried once at the most, and three have been waited for
		t.Errorf("%d writes without a line", tries)
	}
}

// The lines that a failing writer did take whole are not dropped; a notice that was
// lost is told again, with its count.
func TestFailingWriterTakesSome(t *testing.T) {
	d := &disk{takes: len("web/1 | one\nweb/1 | tw"), tried: make(chan struct{}, 1000)}
	d.full.Store(true)
	s := newSink(d, nil)
	for _, text := range []string{"one", "two", "three"} {
		s.line("web/1", []byte(text))
	}
	s.dropped["web/2"] = 7
	go s.run()
	<-d.tried
	countIs(t, s, "web/1", 2)
	d.full.Store(false)
	s.line("web/1", []byte("four"))
	s.Close()
	await(t, "the sink", s.Done())
	d.has(t, "web/1 | one\n", "web/1 | four\n", "web/1 | [brood: 2 lines dropped here: the output could not be written]\n",
		"web/2 | [brood: 7 lines dropped here: the output could not be written]\n")
	if n := s.Dropped("web/2"); n != 0 {
		t.Errorf("a notice was counted as %d lines", n)
	}
}
