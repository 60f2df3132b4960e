package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// TestLogRing: at least half of what may be kept is there, in order, and what is
// lost is counted exactly, whatever the lines are like.
func TestLogRing(t *testing.T) {
	for _, size := range []int{0, 1, 100, 16 << 10, keptLog / 2} {
		var r logRing
		line := strings.Repeat("x", size)
		n := keptLogLines * 3
		if size > 100 {
			n = 50
		}
		var seen, lost uint64
		next := uint64(0)
		for i := range n {
			r.add(logRecord{generation: uint64(i)}, []byte(line))
			if i%777 != 0 && i != n-1 {
				continue
			}
			lines, to, gone := r.since(nil, Target{Pool: "web", Slot: 1}, next, keptLogLines)
			seen, lost = seen+uint64(len(lines)), lost+gone
			for j, l := range lines {
				if l.Text != line || l.Generation != next+gone+uint64(j) {
					t.Fatalf("size %d: line %d is generation %d with %d bytes", size, next+gone+uint64(j), l.Generation, len(l.Text))
				}
			}
			next = to
		}
		if seen+lost != uint64(n) || next != uint64(n) || r.next() != uint64(n) {
			t.Errorf("size %d: of %d lines %d were seen and %d lost, next %d", size, n, seen, lost, next)
		}
		all, _, _ := r.since(nil, Target{}, 0, n)
		if want := min(keptLogLines/2, keptLog/2/max(size, 1)); len(all) < want {
			t.Errorf("size %d: %d lines are kept, want at least %d", size, len(all), want)
		}
		if cap(r.older.text)+cap(r.newer.text) > 2*keptLog {
			t.Errorf("size %d: the ring holds %d bytes", size, cap(r.older.text)+cap(r.newer.text))
		}
	}
}

// collect follows until text has come, and returns all that came.
func collect(t *testing.T, f *LogFollower, text string) (all []LogLine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		lines, err := f.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for %q: %v after %v", text, err, all)
		}
		all = append(all, lines...)
		for _, l := range lines {
			if l.Text == text {
				return all
			}
		}
	}
}

// TestLogsOfGenerations: what a slot printed is kept over a restart, in order,
// with who printed it and where.
func TestLogsOfGenerations(t *testing.T) {
	s := run(t, Config{Pools: []Pool{{Name: "web", Workers: 2, Command: []string{"sh", "-c",
		`echo out $BROOD_GENERATION; echo err $BROOD_GENERATION >&2; exec sleep 1000`},
		Ready: Ready{When: ReadyLog, Log: "^err"}}}})
	one := Target{Pool: "web", Slot: 1}
	f, err := s.FollowLogs(one, 10)
	if err != nil {
		t.Fatal(err)
	}
	collect(t, f, "err 1")
	if _, err := s.Restart(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	collect(t, f, "err 2")
	text := func(lines []LogLine) (out []string) {
		for _, l := range lines {
			out = append(out, fmt.Sprintf("%v#%d %v %s", l.Target(), l.Generation, l.Stderr, l.Text))
		}
		return out
	}
	for target, want := range map[string]int{"web/1": 4, "web/1#1": 2, "web/1#2": 2, "web/1#3": 0, "web": 6, "*": 6, "@1": 4} {
		to, err := ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		poll(t, "the lines of "+target, func() bool {
			lines, err := s.Logs(to, 100)
			return err == nil && len(lines) == want
		})
	}
	lines, _ := s.Logs(one, 3)
	if got := strings.Join(text(lines), "; "); len(lines) != 3 || !strings.Contains(got, "web/1#2 true err 2") {
		t.Errorf("the last three: %s", got)
	}
	if _, err := s.Logs(Target{Pool: "web", Slot: 9}, 1); !errors.Is(err, ErrNoTarget) {
		t.Errorf("of a slot that is not there: %v", err)
	}
	s.Shutdown(false)
	for err == nil {
		_, err = f.Next(t.Context())
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// TestSlowFollowerLosesLines: a worker that prints without end is not held up by
// who follows it and does not read, who is told what was lost.
func TestSlowFollowerLosesLines(t *testing.T) {
	s := run(t, Config{Pools: []Pool{pool("web", "flood-lines", 1)}, Stdout: io.Discard})
	f, err := s.FollowLogs(Target{Pool: "web"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	pl := (*s.boardOf("web").places.Load())[0]
	begin := pl.logs.next()
	poll(t, "more lines than are kept", func() bool { return pl.logs.next() > begin+10*keptLogLines })
	seen, lost := uint64(0), uint64(0)
	for lost == 0 {
		lines, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			if l.Dropped > 0 {
				lost += l.Dropped
			} else {
				seen++
			}
		}
	}
	if lost < 5*keptLogLines {
		t.Errorf("%d lines were seen and %d lost", seen, lost)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for err == nil {
		_, err = f.Next(ctx)
		if err == nil && ctx.Err() != nil {
			break // there was something to read, which is not held back
		}
	}
}

// TestFollowScaledPool: slots that come later are followed too, and the end of
// those that go is not lost.
func TestFollowScaledPool(t *testing.T) {
	s := run(t, Config{Pools: []Pool{{Name: "web", Workers: 1, Command: []string{"sh", "-c",
		`trap 'echo bye $BROOD_SLOT; exit' TERM; echo hi $BROOD_SLOT; while :; do sleep 0.05; done`},
		Ready: Ready{When: ReadyLog, Log: "^hi"}}}})
	f, err := s.FollowLogs(Target{Pool: "web"}, 10)
	if err != nil {
		t.Fatal(err)
	}
	collect(t, f, "hi 1")
	if _, err := s.Scale(t.Context(), "web", 2); err != nil {
		t.Fatal(err)
	}
	collect(t, f, "hi 2")
	if _, err := s.Scale(t.Context(), "web", 1); err != nil {
		t.Fatal(err)
	}
	collect(t, f, "bye 2")
}
