package main

import (
	"testing"
	"time"

	"example.com/brood/supervisor/control/api"
)

// TestSeenLines: a line is shown once, whatever comes again.
func TestSeenLines(t *testing.T) {
	began := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	line := func(target string, ms int) api.LogLine {
		return api.LogLine{Target: target, At: began.Add(time.Duration(ms) * time.Millisecond).Format(time.RFC3339Nano)}
	}
	seen := newSeenLines(began)
	want := func(shown bool, lines ...api.LogLine) {
		t.Helper()
		for i, l := range lines {
			if was, gap := seen.has(l); was == shown || gap {
				t.Errorf("line %d, of %s at %s: shown %v, a gap %v", i, l.Target, l.At, !was, gap)
			}
		}
	}
	a, b, c := "web/1", "web/2", "web/3"
	// What was there before is shown as it comes at first.
	want(true, line(a, -5), line(a, 1), line(b, 1), line(a, 1), line(a, 2), line(a, 2))
	seen.repeat()
	want(false, line(a, -5), line(a, 1), line(a, 1), line(b, 1), line(a, 2), line(a, 2), line(c, -1))
	want(true, line(a, 2), line(b, 1), line(c, 1), line(a, 3), line(c, 1), line(c, 2), line(a, 2)) // a clock that was set back
	seen.repeat()
	want(false, line(c, -1), line(c, 1), line(c, 1), line(c, 2), line(b, 1), line(b, 1))
	want(true, line(c, 2), line(b, 3), api.LogLine{Target: a, Dropped: 3})
	seen.repeat()
	want(false, line(b, 3))
	seen.repeat() // nothing of b has come in the round
	seen.repeat()
	want(false, line(b, 1), line(b, 3))
	want(true, line(b, 4))
	seen.repeat()
	if was, gap := seen.has(line(b, 5)); was || !gap {
		t.Errorf("shown %v, a gap %v", !was, gap)
	}
}
