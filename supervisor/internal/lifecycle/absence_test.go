package lifecycle

import (
	"testing"
	"time"
)

// A supervisor that did not run for a while has not heard what its workers have
// said meanwhile. It does not act on their silence before it can have.
func TestAbsence(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	ready := rows(boot(1), up(0, 1, 1))
	alive := SaidAlive{web(1, 1)}
	booting := rows(boot(1), row{ev: spawned(1), next: 30 * s})
	playAll(t, []script{
		{name: "the wait for a watchdog's sign begins anew", policy: watched, rows: rows(ready,
			row{at: 10 * s, late: true, next: 13 * s},
			row{at: 10 * s, ev: alive, next: 13 * s},
			row{at: 20 * s, late: true, next: 23 * s}, // it has said so in between: once more
			row{at: 23 * s, want: "1#1 hung; SIGTERM 1#1; 1 stopping", reason: "no WATCHDOG=1 within 3s"})},
		{name: "whatever is heard first", policy: watched, rows: rows(ready,
			row{at: 10 * s, late: true, ev: Extended{web(1, 1), s}, next: 13 * s},
			row{at: 10*s + 1, next: 13 * s})},
		{name: "a boot that is far from its end has the time of the absence", slots: 2, policy: watched, rows: rows(boot(2), up(0, 1, 1),
			row{ev: spawnedIn(2, 1), next: 3 * s},
			row{at: 8 * s, late: true, next: 11 * s},
			row{at: 8 * s, ev: WatchedBy{web(1, 1), 0}, next: 35 * s},
			row{at: 35 * s, want: "SIGTERM 2#1; 2 stopping"})},
		{name: "once: it hangs, and the supervisor is always late", policy: watched, rows: rows(ready,
			row{at: 4 * s, late: true, next: 7 * s},
			row{at: 8 * s, late: true, want: "1#1 hung; SIGTERM 1#1; 1 stopping"})},
		{name: "a little late is not absent", policy: watched, rows: rows(ready,
			row{at: 3*s + lapse, late: true, want: "1#1 hung; SIGTERM 1#1; 1 stopping"})},
		{name: "an answer to a ping", policy: func(p *Policy) { pinged(p); p.Failures = 1 }, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1", next: 3 * s},
			row{at: 9 * s, late: true, next: 10 * s},
			row{at: 9 * s, ev: ponged(1), want: "", next: 9 * s},
			row{at: 9 * s, want: "ping 1#1", next: 10 * s},
			row{at: 10 * s, want: "1#1 hung; SIGTERM 1#1; 1 stopping"})},
		{name: "a boot", rows: rows(booting,
			row{at: 40 * s, late: true, next: 41 * s},
			row{at: 40 * s, ev: greeted(1)},
			row{at: 40 * s, ev: saidReady(1), want: "1 ready"})},
		{name: "a boot that is not over", rows: rows(booting,
			row{at: 40 * s, late: true, next: 41 * s},
			row{at: 41 * s, want: "SIGTERM 1#1; 1 stopping", reason: "not ready within 41s"})},
		{name: "a stop is not put off", rows: rows(ready,
			row{at: s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping", next: 7 * s},
			row{at: 60 * s, late: true, want: "SIGTERM 1#1", next: 9 * s},
			row{at: 60 * s, late: true, want: "1#1 kill; SIGKILL 1#1"})},
	})
	m := New(func() float64 { return 0.5 })
	m.Add(Slot{"web", 1}, basic(), epoch)
	m.Step(epoch, Boot{})
	m.Step(epoch, Spawned{web(1, 1), 1})
	for _, c := range []struct{ at, absent time.Duration }{{40 * s, 10 * s}, {40 * s, 0}, {41*s + ms, 0}} {
		if m.Step(epoch.Add(c.at), Tick{}); m.Absence() != c.absent {
			t.Errorf("at %v it was absent for %v, want %v", c.at, m.Absence(), c.absent)
		}
	}
}
