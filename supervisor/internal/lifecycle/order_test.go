package lifecycle

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStart(t *testing.T) {
	const s = time.Second
	ready := rows(boot(1), up(0, 1, 1))
	stopping := rows(ready, row{at: s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping"})
	stopped := rows(stopping, row{at: s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done"})
	backoff := rows(boot(1),
		row{ev: notSpawned(1), want: "1#1 exit; spawn 1#2; 1 starting"},
		row{ev: notSpawned(2), want: "1#2 exit; 1 backoff", next: 100 * ms})
	playAll(t, []script{
		{name: "ready", rows: rows(ready, row{at: s, ev: order(1, Start, 1), want: "op 1: unchanged"})},
		{name: "starting: it is waited for", rows: rows(boot(1),
			row{ev: order(1, Start, 1)},
			row{ev: spawned(1)},
			row{ev: greeted(1)},
			row{ev: saidReady(1), want: "1 ready; op 1: done"})},
		{name: "stopped", rows: rows(stopped,
			row{at: 2 * s, ev: order(2, Start, 1), want: "spawn 1#2; 1 starting", reason: "started by hand"},
			up(2*s, 1, 2)[:2],
			row{at: 2 * s, ev: saidReady(2), want: "1 ready; op 2: done", next: never})},
		{name: "stopped, and it dies for good", policy: func(p *Policy) { p.GiveUp = []int{78} }, rows: rows(stopped,
			row{at: 2 * s, ev: order(2, Start, 1), want: "spawn 1#2; 1 starting"},
			row{at: 2 * s, ev: spawned(2)},
			row{at: 2 * s, ev: exited(2, 78), want: "1#2 exit; 1 failed; op 2: failed"})},
		{name: "backoff: it waits no longer", rows: rows(backoff,
			row{at: 50 * ms, ev: order(1, Start, 1), want: "spawn 1#3; 1 starting", next: never},
			row{at: 50 * ms, ev: notSpawned(3), want: "1#3 exit; spawn 1#4; 1 starting"}, // as the first restart
			row{at: 50 * ms, ev: notSpawned(4), want: "1#4 exit; 1 backoff; op 1: failed", next: 150 * ms})},
		{name: "during a stop", rows: rows(stopping,
			row{at: 2 * s, ev: order(2, Start, 1), next: 7 * s},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting; op 1: failed", reason: "started by hand"},
			up(3*s, 1, 2)[:2],
			row{at: 3 * s, ev: saidReady(2), want: "1 ready; op 2: done"})},
		{name: "during a stop, then stopped again", rows: rows(stopping,
			row{at: 2 * s, ev: order(2, Start, 1)},
			row{at: 2 * s, ev: order(3, Stop, 1), want: "op 2: failed", next: 7 * s},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done; op 3: done"})},
		{name: "during a stop of its own making", policy: func(p *Policy) { p.Never = true }, rows: rows(ready,
			row{at: s, ev: breached(1), want: "SIGTERM 1#1; 1 stopping"},
			row{at: 2 * s, ev: order(1, Start, 1)},
			row{at: 3 * s, ev: exited(1, 1), want: "1#1 exit; spawn 1#2; 1 starting", reason: "started by hand"},
			up(3*s, 1, 2)[:2],
			row{at: 3 * s, ev: saidReady(2), want: "1 ready; op 1: done"})},
	})
}

func TestStopTwice(t *testing.T) {
	const s = time.Second
	playAll(t, []script{{rows: rows(boot(1), up(0, 1, 1),
		row{at: s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping"},
		row{at: 2 * s, ev: order(2, Stop, 1), next: 7 * s}, // the first one's deadlines stay
		row{at: 7 * s, want: "SIGTERM 1#1", next: 9 * s},
		row{at: 8 * s, ev: order(3, Stop, 1), next: 9 * s},
		row{at: 9 * s, want: "1#1 kill; SIGKILL 1#1"},
		row{at: 9 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; 1 stopped; op 1: done; op 2: done; op 3: done"},
		row{at: 9 * s, ev: order(4, Stop, 1), want: "op 4: unchanged"})}})
}

func TestRestartOfOneSlot(t *testing.T) {
	const s = time.Second
	asked := rows(boot(1), up(0, 1, 1), row{at: s, ev: order(1, Restart, 1), want: "drain 1#1 6s; 1 stopping"})
	next := rows(asked, row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting", reason: "restarted by hand"})
	playAll(t, []script{
		{name: "ready", rows: rows(next, up(2*s, 1, 2)[:2],
			row{at: 2 * s, ev: saidReady(2), want: "1 ready; op 1: done", next: never})},
		{name: "a failure on the way out does not count", policy: func(p *Policy) { p.Never = true }, rows: rows(asked,
			row{at: 2 * s, ev: exited(1, 9), want: "1#1 exit; spawn 1#2; 1 starting"}), end: func(t *testing.T, v View) {
			if v.Restarts != 0 {
				t.Errorf("%d restarts that nobody asked for", v.Restarts)
			}
		}},
		{name: "it is not ready in time", rows: rows(next,
			row{at: 2 * s, ev: spawned(2)},
			row{at: 32 * s, want: "SIGTERM 1#2; 1 stopping; op 1: failed"})},
		{name: "it dies over and over", rows: rows(next,
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; spawn 1#3; 1 starting"},
			row{at: 2 * s, ev: notSpawned(3), want: "1#3 exit; 1 backoff; op 1: failed"})},
		{name: "twice: both have it", rows: rows(asked,
			row{at: s, ev: order(2, Restart, 1)},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"},
			up(2*s, 1, 2)[:2],
			row{at: 2 * s, ev: saidReady(2), want: "1 ready; op 1: done; op 2: done"})},
		{name: "stopped instead", rows: rows(asked,
			row{at: s, ev: order(2, Stop, 1), want: "op 1: failed", reason: "stopped by hand"},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 2: done"})},
		{name: "while it is stopped by hand", rows: rows(boot(1), up(0, 1, 1),
			row{at: s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: order(2, Restart, 1), want: "op 1: failed", next: 7 * s},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting", reason: "restarted by hand"})},
		{name: "during a stop of its own making", rows: rows(boot(1), up(0, 1, 1),
			row{at: s, ev: breached(1), want: "SIGTERM 1#1; 1 stopping"},
			row{at: 2 * s, ev: order(1, Restart, 1), next: 9 * s, reason: "restarted by hand"},
			row{at: 3 * s, ev: exited(1, 1), want: "1#1 exit; spawn 1#2; 1 starting"},
			up(3*s, 1, 2)[:2],
			row{at: 3 * s, ev: saidReady(2), want: "1 ready; op 1: done"})},
		{name: "when it was stopped", rows: rows(boot(1), up(0, 1, 1),
			row{at: s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done"},
			row{at: 2 * s, ev: order(2, Restart, 1), want: "spawn 1#2; 1 starting"})},
		{name: "while ordered", rows: rows(boot(1),
			row{at: s, ev: order(1, Restart, 1), want: "1 stopping"},
			row{at: s, ev: spawned(1), want: "SIGTERM 1#1", next: 9 * s},
			row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"})},
		{name: "in backoff", rows: rows(boot(1),
			row{ev: notSpawned(1), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{ev: notSpawned(2), want: "1#2 exit; 1 backoff"},
			row{at: 50 * ms, ev: order(1, Restart, 1), want: "spawn 1#3; 1 starting", next: never})},
	})
}

// An order of no slots is settled at once, one of several once the last is.
func TestOrderIsSettledOnce(t *testing.T) {
	const s = time.Second
	playAll(t, []script{
		{name: "of none", rows: rows(boot(1), row{ev: order(1, Stop), want: "op 1:"})},
		{name: "of several", slots: 3, rows: rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
			row{at: s, ev: order(1, Stop, 3, 1), want: "drain 3#1 6s; 3 stopping; drain 1#1 6s; 1 stopping"},
			row{at: s, ev: exitedIn(1, 1, 0), want: "1#1 exit; 1 stopped"},
			row{at: s, ev: order(2, Stop, 1, 2, 3), want: "drain 2#1 6s; 2 stopping"},
			row{at: s, ev: exitedIn(3, 1, 0), want: "3#1 exit; 3 stopped; op 1: done done"},
			row{at: s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 2: unchanged done done"})},
	})
}

// What is not done says why.
func TestOrderSaysWhyNot(t *testing.T) {
	restart := order(9, Restart, 1, 2)
	of := func(g uint64) Event { return Order{Op: 9, Verb: Stop, Slots: []Slot{{"web", 1}}, Generation: g} }
	for _, c := range []struct {
		events  []Event // the last one settles op 9
		outcome Outcome // of slot 1
		text    string  // part of why
	}{
		{[]Event{order(9, Restart, 1), exited(1, 0), spawned(2), exited(2, 78)}, OutcomeFailed, "failed: exit code 78, which means not to try again"},
		{[]Event{order(9, Restart, 1), exited(1, 0), notSpawned(2), notSpawned(3)}, OutcomeFailed, "backoff: it could not be started: no such file"},
		{[]Event{order(9, Start, 1)}, OutcomeUnchanged, "it is up"},
		{[]Event{order(1, Stop, 1), exited(1, 0), order(9, Stop, 1)}, OutcomeUnchanged, "it is down"},
		{[]Event{order(1, Stop, 1, 2), restart}, OutcomeUnchanged, "it is stopped, and stays so until it is started"},
		{[]Event{restart, order(1, Stop, 1), order(2, Stop, 2)}, OutcomeFailed, "it was stopped meanwhile"},
		{[]Event{order(9, Stop, 1), order(1, Start, 1), exited(1, 0)}, OutcomeFailed, "it was started meanwhile"},
		{[]Event{Shutdown{}, order(9, Start, 1)}, OutcomeFailed, "the supervisor is shutting down"},
		{[]Event{exited(1, 1), of(1)}, OutcomeStale, "web/1#1 is gone, web/1#2 is there"},
		{[]Event{Order{Op: 9, Verb: Restart, Slots: []Slot{{"web", 1}}, Generation: 9}}, OutcomeStale, "there has been no web/1#9 yet, web/1#1 is there"},
	} {
		p := basic()
		p.GiveUp = []int{78}
		m := New(func() float64 { return 0.5 })
		m.Add(Slot{"web", 1}, p, epoch)
		m.Add(Slot{"web", 2}, p, epoch)
		m.Step(epoch, Boot{})
		for _, r := range append(up(0, 1, 1), up(0, 2, 1)...) {
			m.Step(epoch, r.ev)
		}
		var last []Effect
		for _, ev := range c.events {
			last = m.Step(epoch, ev)
		}
		i := slices.IndexFunc(last, func(e Effect) bool { s, ok := e.(Settled); return ok && s.Op == 9 })
		if i < 0 {
			t.Errorf("%q: not settled: %s", c.text, words(last))
			continue
		}
		if r := last[i].(Settled).Results[0]; r.Slot != (Slot{"web", 1}) || r.Outcome != c.outcome || !strings.Contains(r.Text, c.text) {
			t.Errorf("%+v, want %v: %s", r, c.outcome, c.text)
		}
	}
}
