package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
	"example.com/brood/supervisor/internal/watch"
)

// next is the stream as the next program adopts it.
func next(t *testing.T, s *Stream, to *Sink) *Stream {
	t.Helper()
	var out handover.Out
	saved, err := s.Export(&out)
	if err != nil {
		t.Fatal(err)
	}
	in, saved := handovertest.Carry(t, &out, saved)
	heir, err := AdoptStream(in, saved, to)
	if err != nil {
		t.Fatal(err)
	}
	return heir
}

// vanish is what becomes of the descriptor when the program does.
func (s *Stream) vanish() {
	s.io.Lock()
	defer s.io.Unlock()
	unix.Close(s.fd)
	s.fd = -1
}

// The worker writes before, between and after, in the middle of lines, and dies.
func TestStreamIsHandedOver(t *testing.T) {
	for _, finish := range []bool{false, true} {
		t.Run(fmt.Sprintf("finish %v", finish), func(t *testing.T) {
			var before, after record
			sink, heirs := NewSink(&before, nil), NewSink(&after, nil)
			s, w := open(t, sink)
			long := strings.Repeat("x", maxLine)
			fmt.Fprint(w, "one\ntwo\n", long)
			s.readable()
			first := next(t, s, sink) // between a break and the end of the line
			s.vanish()
			fmt.Fprint(w, "\nthr")
			first.readable()
			heir := next(t, first, heirs)
			first.vanish()
			var seen []string
			heir.Each(func(line []byte) { seen = append(seen, string(line)) })
			ready := false
			heir.Until(func(line []byte) bool { ready = string(line) == "four"; return ready })
			fmt.Fprint(w, "ee\nfour")
			if finish {
				heir.Finish() // though w is open
			} else {
				w.Close()
				start(t, heir)
			}
			await(t, "the stream", heir.Done())
			if got, want := before.lines(t, sink), []string{"one", "two", long}; !slices.Equal(got, want) {
				t.Errorf("before: %d lines, want %d", len(got), len(want))
			}
			if got, want := after.lines(t, heirs), []string{"three", "four"}; !slices.Equal(got, want) || !slices.Equal(seen, want) {
				t.Errorf("after: %q, seen %q, want %q", got, seen, want)
			}
			if want := []string{"one", "two", long[:tailLine], "three", "four"}; !slices.Equal(heir.Tail(), want) || !ready {
				t.Errorf("ready %v, tail %q", ready, heir.Tail())
			}
		})
	}
}

// The next program could not be executed: this one goes on.
func TestExportChangesNothing(t *testing.T) {
	var r record
	sink := NewSink(&r, nil)
	s, w := open(t, sink)
	fmt.Fprint(w, "one\ntw")
	s.readable()
	var out handover.Out
	saved, err := s.Export(&out)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "o\nthree\n")
	w.Close()
	start(t, s)
	await(t, "the stream", s.Done())
	if got, want := r.lines(t, sink), []string{"one", "two", "three"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if string(saved.Partial) != "tw" || len(saved.Tail) != 1 {
		t.Errorf("saved %+v", saved)
	}
}

// A worker that has closed its output is still asked for its last words.
func TestEndedStreamIsHandedOver(t *testing.T) {
	sink := NewSink(&record{}, nil)
	defer sink.Close()
	s, w := open(t, sink)
	fmt.Fprint(w, "last words")
	w.Close()
	s.Finish()
	heir := next(t, s, sink)
	await(t, "the stream", heir.Done())
	set, err := watch.New()
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if err := heir.Start(set); err != nil {
		t.Error(err)
	}
	heir.Finish()
	if tail := heir.Tail(); !slices.Equal(tail, []string{"last words"}) {
		t.Errorf("tail %q", tail)
	}
}

// One whose pipe is missing has ended: what is known of it is told.
func TestStreamWithoutItsPipe(t *testing.T) {
	var r record
	sink := NewSink(&r, nil)
	lost, err := AdoptStream(nil, SavedStream{Prefix: "web/1", Partial: []byte("two"), Tail: [][]byte{[]byte("one")}}, sink)
	if !errors.Is(err, handover.ErrTaken) {
		t.Error(err)
	}
	await(t, "the stream", lost.Done())
	lost.Finish()
	if tail := lost.Tail(); !slices.Equal(tail, []string{"one", "two"}) {
		t.Errorf("tail %q", tail)
	}
	if got := r.lines(t, sink); !slices.Equal(got, []string{"two"}) {
		t.Errorf("%q", got)
	}
}

// Whatever a program with other bounds hands over, nothing is lost or outgrown.
func TestAdoptedBounds(t *testing.T) {
	var r record
	sink := NewSink(&r, nil)
	s, w := open(t, sink)
	w.Close()
	long := strings.Repeat("x", 2*maxLine)
	s.partial = []byte(long)
	for i := range 2 * tailLines {
		s.tail = append(s.tail, fmt.Append(nil, i))
	}
	heir := next(t, s, sink)
	s.vanish()
	heir.split([]byte("y\n"))
	heir.Finish()
	if got := r.lines(t, sink); !slices.Equal(got, []string{long, "y"}) {
		t.Errorf("%d lines", len(got))
	}
	if tail := heir.Tail(); len(tail) != tailLines || tail[0] != fmt.Sprint(tailLines+2) {
		t.Errorf("tail %.20q", tail)
	}
}

func brief(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// carried is saved as the next program gets it.
func carried(t *testing.T, saved SavedSink) SavedSink {
	t.Helper()
	var out handover.Out
	_, saved = handovertest.Carry(t, &out, saved)
	return saved
}

// However often a sink is handed over while lines come and are written, each
// comes once, in order.
func TestSinkIsHandedOverAsItWrites(t *testing.T) {
	var r record
	s := NewSink(&r, nil)
	var want []string
	for range 20 {
		for range 500 {
			want = append(want, fmt.Sprintf("line %d", len(want)))
			s.line("web/1", []byte(want[len(want)-1]))
		}
		if err := s.Pause(context.Background()); err != nil {
			t.Fatal(err)
		}
		saved := s.Export()
		old := s
		s = AdoptSink(&r, nil, carried(t, saved))
		old.forgetAll()
		old.Close()
		await(t, "the old sink", old.Done())
	}
	if got := r.lines(t, s); !slices.Equal(got, want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
}

// forgetAll is what the end of a program does to its sink.
func (s *Sink) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch, s.queue = nil, nil
	clear(s.dropped)
}

// A pause has nothing written, and the next program could not be executed.
func TestPausedSinkGoesOn(t *testing.T) {
	var r record
	s := NewSink(&r, nil)
	if err := s.Pause(brief(t)); err != nil {
		t.Fatal(err)
	}
	s.line("web/1", []byte("one"))
	s.run1(t)
	if saved := s.Export(); string(saved.Queue) != "web/1 | one\n" {
		t.Errorf("saved %q", saved.Queue)
	}
	s.Resume()
	s.Resume()
	if got := r.lines(t, s); !slices.Equal(got, []string{"one"}) {
		t.Errorf("%q", got)
	}
}

// run1 has the writer come round once, and find that there is a pause: wake has
// room for one, so when two more have gone in it has been round for the one before.
func (s *Sink) run1(t *testing.T) {
	t.Helper()
	for range 2 {
		select {
		case s.wake <- struct{}{}:
		case <-time.After(time.Minute):
			t.Fatal("the writer does not look")
		}
	}
}

// A Write that is stuck does not hold the pause up for ever. What it was given is
// handed over, with what is counted; and if that is not wanted all goes on.
func TestPauseOfAStuckSink(t *testing.T) {
	g := newGate()
	s := NewSink(g, nil)
	s.line("web/1", []byte("first"))
	await(t, "the wait for the writer", g.reached)
	want := []string{"first"}
	payload := strings.Repeat("x", 1024)
	for range 2 * maxQueued / 1024 {
		if dropped := s.Dropped("web/1"); dropped == 0 {
			want = append(want, payload)
		}
		s.line("web/1", []byte(payload))
	}
	dropped := s.Dropped("web/1")
	want[len(want)-1] = fmt.Sprintf("[brood: %d lines dropped here: the output was not read fast enough]", dropped)
	for range 2 {
		if err := s.Pause(brief(t)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	saved := s.Export()
	if len(saved.Queue) > maxQueued {
		t.Errorf("%d bytes are handed over", len(saved.Queue))
	}
	var r record
	heir := AdoptSink(&r, nil, carried(t, saved))
	if got := r.lines(t, heir); !slices.Equal(got, want) {
		t.Errorf("the next program: %d lines, want %d, the last %q", len(got), len(want), got[len(got)-1])
	}
	if n := heir.Dropped("web/1"); n != dropped || n == 0 {
		t.Errorf("dropped %d, then %d", dropped, n)
	}
	close(g.open)
	s.Resume()
	if err := s.Pause(context.Background()); err != nil {
		t.Error(err)
	}
	if got := g.lines(t, s); !slices.Equal(got, want) { // its Close ends the pause
		t.Errorf("this one: %d lines, want %d", len(got), len(want))
	}
}

// stuckOn names the variable by which this test's program is its own child.
const stuckOn = "CAPTURE_TEST_STUCK"

// A program that ends while its Write to a pipe is stuck has written all of what
// that had, or nothing.
func TestStuckPipeLosesAndDoublesNothing(t *testing.T) {
	var want bytes.Buffer
	for i := range 4000 {
		fmt.Fprintf(&want, "web/1 | %d %s\n", i, strings.Repeat(".", i%150))
	}
	if os.Getenv(stuckOn) != "" {
		endStuck(want.Bytes())
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var saved SavedSink
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), stuckOn+"=1")
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	state, err := os.CreateTemp(t.TempDir(), "state")
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	cmd.ExtraFiles = []*os.File{state}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(io.NewSectionReader(state, 0, 1<<30)).Decode(&saved); err != nil {
		t.Fatal(err)
	}
	heir := AdoptSink(w, nil, saved)
	heir.Close()
	go func() {
		<-heir.Done()
		w.Close()
	}()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes, want %d", len(got), want.Len())
	}
}

// endStuck writes to standard output until that is stuck, and hands over the
// rest.
func endStuck(all []byte) {
	s := NewSink(os.Stdout, nil)
	for line := range bytes.Lines(all) {
		_, text, _ := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte(" | "))
		s.line("web/1", text)
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // a moment would do, on a machine with nothing else to do
		err := s.Pause(ctx)
		cancel()
		if err != nil {
			break
		}
		s.Resume()
	}
	if err := json.NewEncoder(os.NewFile(3, "state")).Encode(s.Export()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
