package capture

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/brood/supervisor/internal/watch"
)

// record keeps what a sink writes.
type record struct {
	mu  sync.Mutex
	all []byte
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, b...)
	return len(b), nil
}

// lines closes the sink and returns what it has written, each line without its
// prefix.
func (r *record) lines(t *testing.T, s *Sink) []string {
	t.Helper()
	s.Close()
	await(t, "the sink", s.Done())
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, l := range strings.SplitAfter(string(r.all), "\n") {
		if l == "" {
			continue
		}
		text, ok := strings.CutPrefix(l, "web/1 | ")
		if !ok || !strings.HasSuffix(text, "\n") {
			t.Fatalf("a line of its own: %q", l)
		}
		lines = append(lines, text[:len(text)-1])
	}
	return lines
}

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for the end of %s", what)
	}
}

// start has a stream read by a set of its own.
func start(t *testing.T, s *Stream) {
	t.Helper()
	set, err := watch.New()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		set.Run()
		close(done)
	}()
	t.Cleanup(func() {
		set.Close()
		<-done
	})
	if err := s.Start(set); err != nil {
		t.Fatal(err)
	}
}

// open is a stream on a pipe, and the end to write to.
func open(t *testing.T, s *Sink) (*Stream, *os.File) {
	t.Helper()
	stream, w, err := Pipe("web/1", s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return stream, w
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, c := range []struct {
		name  string
		parts []string // as they are read
		want  []string
	}{
		{"nothing", nil, nil},
		{"one", []string{"one\n"}, []string{"one"}},
		{"several at once", []string{"one\ntwo\n\nfour\n"}, []string{"one", "two", "", "four"}},
		{"one in pieces", []string{"o", "n", "e", "\n"}, []string{"one"}},
		{"an end that is no line", []string{"one\ntw", "o"}, []string{"one", "two"}},
		{"CRLF", []string{"one\r\ntwo\r", "\n\r\n"}, []string{"one", "two", ""}},
		{"a carriage return within", []string{"10%\r20%\r\n"}, []string{"10%\r20%"}},
		{"NUL bytes and no UTF-8", []string{"a\x00b\xff\n"}, []string{"a\x00b\xff"}},
		{"just as long as may be", []string{long + "\n"}, []string{long}},
		{"just as long, the end comes later", []string{long, "\n", "two\n"}, []string{long, "two"}},
		{"twice as long", []string{long + long + "\n"}, []string{long, long}},
		{"longer", []string{long + "y\n"}, []string{long, "y"}},
		{"longer, in pieces", []string{long[:100], long[100:], "y\nz\n"}, []string{long, "y", "z"}},
		{"no end at all", []string{long, long, "y"}, []string{long, long, "y"}},
		{"an empty line after a long one", []string{long + "\n\n"}, []string{long, ""}},
		{"an empty line after a long one, later", []string{long, "\n\n"}, []string{long, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r record
			sink := NewSink(&r, nil)
			s := &Stream{prefix: "web/1", to: sink}
			for _, p := range c.parts {
				s.split([]byte(p))
			}
			if len(s.partial) > 0 {
				s.line(s.partial)
			}
			if got := r.lines(t, sink); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestStreamPassesOnWhatIsWritten(t *testing.T) {
	var r record
	sink := NewSink(&r, nil)
	s, w := open(t, sink)
	start(t, s)
	fmt.Fprint(w, "one\ntwo\r\nth")
	fmt.Fprint(w, "ree")
	w.Close()
	await(t, "the stream", s.Done())
	if got, want := r.lines(t, sink), []string{"one", "two", "three"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Wait must not hang while a grandchild holds stdout (Finish), and what the
// worker itself had written is not lost for it, however late it is read.
func TestFinishWhileSomebodyHoldsTheOtherEnd(t *testing.T) {
	var r record
	sink := NewSink(&r, nil)
	s, w := open(t, sink) // w stays open
	want := make([]string, 3000)
	for i := range want {
		want[i] = fmt.Sprintf("line %d %s", i, strings.Repeat(".", 8))
		fmt.Fprintln(w, want[i])
	}
	s.Finish() // before the first read
	await(t, "the stream", s.Done())
	if got := r.lines(t, sink); !slices.Equal(got, want) {
		t.Errorf("%d lines of %d", len(got), len(want))
	}
	if tail := s.Tail(); !slices.Equal(tail, want[len(want)-tailLines:]) {
		t.Errorf("tail %q", tail)
	}
	s.Finish() // once it has ended it does nothing
}

// Nor does a grandchild that goes on writing hold the end up.
func TestFinishWhileSomebodyWrites(t *testing.T) {
	sink := NewSink(&record{}, nil)
	defer sink.Close()
	s, w := open(t, sink)
	start(t, s)
	full := bytes.Repeat([]byte("more\n"), 4096)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := w.Write(full); err != nil { // EPIPE, once the reader has gone
				return
			}
		}
	}()
	s.Finish()
	await(t, "the stream", s.Done())
	await(t, "the writer", ended)
}

func TestTailKeepsTheLastLines(t *testing.T) {
	sink := NewSink(&record{}, nil)
	defer sink.Close()
	s := &Stream{prefix: "web/1", to: sink}
	if tail := s.Tail(); len(tail) != 0 {
		t.Errorf("before anything: %q", tail)
	}
	var want []string
	for i := range 3 * tailLines {
		l := fmt.Sprintf("%d %s", i, strings.Repeat("x", (i%3)*tailLine))
		s.split([]byte(l + "\n"))
		want = append(want, l[:min(len(l), tailLine)])
	}
	if tail := s.Tail(); !slices.Equal(tail, want[2*tailLines:]) {
		t.Errorf("got %q", tail)
	}
}

func TestFinishBeforeStart(t *testing.T) {
	sink := NewSink(&record{}, nil)
	defer sink.Close()
	s, w := open(t, sink)
	s.Finish()
	await(t, "the stream", s.Done())
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("the read end is still open")
	}
	if s.String() != "output of web/1" {
		t.Error(s.String())
	}
}
