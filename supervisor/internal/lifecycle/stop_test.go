package lifecycle

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// plainUp is the rows that bring slot 1's first process to ready as a plain
// worker, with policy auto.
func plainUp() []row {
	return rows(boot(1), row{ev: spawned(1)}, row{at: time.Second, want: "1 ready", next: never})
}

func TestStopSequence(t *testing.T) {
	const s = time.Second
	ready := rows(boot(1), up(0, 1, 1))
	drained := rows(ready, row{at: 10 * s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping", next: 16 * s, reason: "stopped by hand"})
	stuck := rows(drained,
		row{at: 16 * s, want: "SIGTERM 1#1", next: 18 * s},
		row{at: 18 * s, want: "1#1 kill; SIGKILL 1#1", next: 23 * s})
	playAll(t, []script{
		{name: "it goes on DRAIN", rows: rows(drained,
			row{at: 11 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done", next: never})},
		{name: "it goes on the signal", rows: rows(stuck[:len(stuck)-1],
			row{at: 17 * s, ev: killed(1, syscall.SIGTERM), want: "1#1 exit; 1 stopped; op 1: done", next: never})},
		{name: "it goes on SIGKILL", rows: rows(stuck,
			row{at: 18 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; 1 stopped; op 1: done", next: never})},
		{name: "SIGKILL is repeated", rows: rows(stuck,
			row{at: 23 * s, want: "1#1 kill; SIGKILL 1#1", next: 28 * s},
			row{at: 28 * s, want: "1#1 kill; SIGKILL 1#1", next: 33 * s},
			row{at: 29 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; 1 stopped; op 1: done"})},
		{name: "a plain worker has the signal at once", policy: auto, rows: rows(plainUp(),
			row{at: 10 * s, ev: order(1, Stop, 1), want: "SIGTERM 1#1; 1 stopping", next: 18 * s},
			row{at: 18 * s, want: "1#1 kill; SIGKILL 1#1"})},
		{name: "its own signal", policy: func(p *Policy) { p.Auto, p.StopSignal = true, syscall.SIGQUIT }, rows: rows(plainUp(),
			row{at: 10 * s, ev: order(1, Stop, 1), want: "SIGQUIT 1#1; 1 stopping"})},
		{name: "starting, before HELLO", rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, ev: order(1, Stop, 1), want: "SIGTERM 1#1; 1 stopping", next: 9 * s},
			row{at: s, ev: greeted(1), next: 9 * s},
			row{at: s, ev: saidReady(1), next: 9 * s})},
		{name: "starting, after HELLO", rows: rows(boot(1),
			row{ev: spawned(1)},
			row{ev: greeted(1)},
			row{at: s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping", next: 7 * s},
			row{at: s, ev: saidReady(1), next: 7 * s})},
		{name: "suspect", policy: pinged, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 2500 * ms, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping", next: 8500 * ms})},
		{name: "hung: the deadline stays", policy: func(p *Policy) { pinged(p); p.Failures = 1 }, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 3 * s, want: "1#1 hung; SIGTERM 1#1; 1 stopping", next: 11 * s},
			row{at: 10 * s, ev: order(1, Stop, 1), next: 11 * s, reason: "stopped by hand"},
			row{at: 11 * s, want: "1#1 kill; SIGKILL 1#1"},
			row{at: 11 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; 1 stopped; op 1: done"})},
	})
}

// Stopped while Spawn has not been answered: the answer begins the stop.
func TestStopWhileOrdered(t *testing.T) {
	const s = time.Second
	asked := rows(boot(1), row{at: s, ev: order(1, Stop, 1), want: "1 stopping", next: never})
	playAll(t, []script{
		{name: "then it is there", rows: rows(asked,
			row{at: 3 * s, ev: spawned(1), want: "SIGTERM 1#1", next: 11 * s},
			row{at: 4 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done"})},
		{name: "then it is not", rows: rows(asked,
			row{at: 3 * s, ev: notSpawned(1), want: "1#1 exit; 1 stopped; op 1: done", next: never})},
		{name: "started again before that", rows: rows(asked,
			row{at: 2 * s, ev: order(2, Start, 1), next: never},
			row{at: 3 * s, ev: spawned(1), want: "SIGTERM 1#1", next: 11 * s},
			row{at: 4 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting; op 1: failed"})},
		{name: "shutdown at once", rows: rows(boot(1),
			row{at: s, ev: Shutdown{Now: true}, want: "1 stopping", next: never},
			row{at: 3 * s, ev: spawned(1), want: "1#1 kill; SIGKILL 1#1", next: 8 * s},
			row{at: 3 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; 1 stopped; finished", next: never})},
		{name: "shutdown, then at once", rows: rows(boot(1),
			row{at: s, ev: Shutdown{}, want: "1 stopping"},
			row{at: 2 * s, ev: Shutdown{Now: true}},
			row{at: 3 * s, ev: spawned(1), want: "1#1 kill; SIGKILL 1#1"})},
		{name: "shutdown, and it is never there", rows: rows(boot(1),
			row{at: s, ev: Shutdown{}, want: "1 stopping"},
			row{at: 3 * s, ev: notSpawned(1), want: "1#1 exit; 1 stopped; finished"})},
	})
}

func TestStopWithoutAProcess(t *testing.T) {
	const s = time.Second
	backoff := rows(boot(1),
		row{ev: notSpawned(1), want: "1#1 exit; spawn 1#2; 1 starting"},
		row{ev: notSpawned(2), want: "1#2 exit; 1 backoff", next: 100 * ms})
	stopped := rows(backoff, row{at: 50 * ms, ev: order(1, Stop, 1), want: "1 stopped; op 1: done", next: never, reason: "stopped by hand"})
	not := func(p *Policy) { p.Never = true }
	playAll(t, []script{
		{name: "backoff", rows: stopped},
		{name: "stopped", rows: rows(stopped, row{at: s, ev: order(2, Stop, 1), want: "op 2: unchanged"})},
		{name: "failed", policy: not, rows: rows(boot(1),
			row{ev: notSpawned(1), want: "1#1 exit; 1 failed"},
			row{at: s, ev: order(1, Stop, 1), want: "1 stopped; op 1: done"})},
		{name: "done", policy: not, rows: rows(boot(1), row{ev: spawned(1)},
			row{ev: exited(1, 0), want: "1#1 exit; 1 done"},
			row{at: s, ev: order(1, Stop, 1), want: "1 stopped; op 1: done"})},
		{name: "it stays so", rows: rows(stopped, row{at: time.Hour, want: ""})},
	})
}

func TestShutdown(t *testing.T) {
	const s = time.Second
	three := rows(boot(3), up(0, 1, 1),
		row{ev: spawnedIn(2, 1)},
		row{ev: SpawnFailed{web(3, 1), "no"}, want: "3#1 exit; spawn 3#2; 3 starting"},
		row{ev: SpawnFailed{web(3, 2), "no"}, want: "3#2 exit; 3 backoff", next: 100 * ms})
	begun := rows(three,
		row{at: 50 * ms, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping; SIGTERM 2#1; 2 stopping; 3 stopped", next: 6050 * ms})
	playAll(t, []script{
		{name: "over when the last has gone", slots: 3, rows: rows(begun,
			row{at: s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped"},
			row{at: s, ev: exitedIn(1, 1, 0), want: "1#1 exit; 1 stopped; finished", next: never, reason: "shutdown"},
			row{at: s, ev: Shutdown{}},
			row{at: s, ev: Shutdown{Now: true}, next: never})},
		{name: "asked twice", slots: 3, rows: rows(begun,
			row{at: s, ev: Shutdown{}, next: 6050 * ms})},
		{name: "then at once", slots: 3, rows: rows(begun,
			row{at: s, ev: Shutdown{Now: true}, want: "1#1 kill; SIGKILL 1#1; 2#1 kill; SIGKILL 2#1", next: 6 * s})},
		{name: "at once", slots: 3, rows: rows(three,
			row{at: 50 * ms, ev: Shutdown{Now: true},
				want: "drain 1#1 6s; 1 stopping; 1#1 kill; SIGKILL 1#1; SIGTERM 2#1; 2 stopping; 2#1 kill; SIGKILL 2#1; 3 stopped"})},
		{name: "with nothing there", rows: rows(boot(1),
			row{ev: notSpawned(1), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{ev: notSpawned(2), want: "1#2 exit; 1 backoff"},
			row{ev: Shutdown{}, want: "1 stopped; finished"})},
		{name: "an exit meanwhile starts nothing", rows: rows(boot(1), up(0, 1, 1),
			row{at: s, ev: order(1, Restart, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: Shutdown{}, want: "op 1: failed"},
			row{at: s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; finished"})},
		{name: "orders meanwhile", rows: rows(boot(1), up(0, 1, 1),
			row{at: s, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: order(1, Start, 1), want: "op 1: failed"},
			row{at: s, ev: order(2, Restart, 1), want: "op 2: failed"},
			row{at: s, ev: order(3, Stop, 1)},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 3: done; finished"})},
	})
}

// Each SIGKILL says what came before it.
func TestKillSaysWhy(t *testing.T) {
	m := New(func() float64 { return 0.5 })
	m.Add(Slot{"web", 1}, basic(), epoch)
	m.Step(epoch, Boot{})
	m.Step(epoch, spawned(1))
	m.Step(epoch, order(1, Stop, 1))
	for _, want := range []string{"still there 8s after the stop began", "still there after SIGKILL, pid 101"} {
		var said string
		for _, e := range m.Step(m.Next(), Tick{}) {
			if a, ok := e.(Announce); ok && a.Kind == KindKill {
				said = a.Text
			}
		}
		if !strings.Contains(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
	}
}
