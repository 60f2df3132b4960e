package lifecycle

import (
	"testing"
	"time"
)

// due is what the shell says of a worker that has had enough.
func due(n int, g uint64) Event { return Due{web(n, g), "1000 commands"} }

func TestRecycle(t *testing.T) {
	const s = time.Second
	ready := rows(boot(2), up(0, 1, 1), up(0, 2, 1))
	surge := func(p *Policy) { p.Surge = 1 }
	recycled := rows(ready,
		row{at: s, ev: due(1, 1), want: "spawn 1#2; 1#2 beside"},
		up(s, 1, 2)[:2],
		row{at: s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"})
	playAll(t, []script{
		{name: "beside", slots: 2, policy: surge, rows: rows(recycled,
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit", next: never})},
		{name: "in place", slots: 2, rows: rows(ready,
			row{at: s, ev: due(1, 1), want: "drain 1#1 6s; 1 stopping", reason: "recycled: 1000 commands"},
			again(2*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready"),
			row{at: time.Hour}), end: func(t *testing.T, v View) {
			if v.Restarts != 0 {
				t.Errorf("%+v", v)
			}
		}},
		{name: "said twice", slots: 2, policy: surge, rows: rows(recycled,
			row{at: s, ev: due(1, 1)},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit", next: never})},
		{name: "one of a pool at a time", slots: 2, policy: func(p *Policy) { p.Surge = 2 }, rows: rows(ready,
			row{at: s, ev: due(2, 1), want: "spawn 2#2; 2#2 beside"},
			row{at: s, ev: due(1, 1)},
			up(s, 2, 2)[:2],
			row{at: s, ev: saidReadyIn(2, 2), want: "2#2 swap; drain 2#1 6s"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; spawn 1#2; 1#2 beside"})},
		{name: "a restart goes first, and makes it needless", slots: 2, policy: surge, rows: rows(ready,
			row{at: s, ev: order(1, Restart, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: due(1, 1)}, // it goes already
			again(2*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready; op 1: done"),
			row{at: time.Hour})},
		{name: "a rollout that ends before it comes there does not", slots: 2, policy: surge, rows: rows(ready,
			row{at: s, ev: order(1, Restart, 1, 2), want: "spawn 1#2; 1#2 beside"},
			row{at: s, ev: due(2, 1)},
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout; op 1: failed unchanged; spawn 2#2; 2#2 beside"})},
		{name: "stopped by hand before its turn", slots: 2, policy: surge, rows: rows(ready,
			row{at: s, ev: due(1, 1), want: "spawn 1#2; 1#2 beside"},
			row{at: s, ev: due(2, 1)},
			row{at: s, ev: order(1, Stop, 2), want: "drain 2#1 6s; 2 stopping"},
			up(s, 1, 2)[:2],
			row{at: s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit"})},
		{name: "one that is not ready is, once it is", slots: 2, policy: surge, rows: rows(boot(2),
			row{ev: spawned(1)},
			row{ev: due(1, 1)},
			row{ev: greeted(1)},
			row{ev: saidReady(1), want: "1 ready; spawn 1#2; 1#2 beside"})},
		{name: "one beside is, once it has the place", slots: 2, policy: surging, rows: rows(soaking(),
			row{at: 3 * s, ev: due(1, 2)},
			row{at: 4 * s, want: "1#2 swap; drain 1#1 6s"},
			row{at: 4 * s, ev: exited(1, 0), want: "1#1 exit; spawn 2#2; 2#2 beside"},
			row{at: 4 * s, ev: notSpawnedIn(2, 2), want: "2#2 exit; 2#2 rollout; op 1: done failed; spawn 1#3; 1#3 beside"})},
		{name: "shutdown", slots: 2, rows: rows(ready,
			row{at: s, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping; drain 2#1 6s; 2 stopping"},
			row{at: s, ev: due(1, 1), next: 7 * s})},
	})
}

// A worker whose replacement has failed serves on, and is left in peace for a
// while.
func TestRecycleFails(t *testing.T) {
	const s = time.Second
	failed := rows(boot(2), up(0, 1, 1), up(0, 2, 1),
		row{at: s, ev: due(1, 1), want: "spawn 1#2; 1#2 beside"},
		row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout", next: 62 * s})
	surge := func(p *Policy) { p.Surge = 1 }
	playAll(t, []script{
		{name: "tried again by itself", slots: 2, policy: surge, rows: rows(failed,
			row{at: 62 * s, want: "spawn 1#3; 1#3 beside"},
			row{at: 63 * s, ev: notSpawned(3), want: "1#3 exit; 1#3 rollout", next: 123 * s})},
		{name: "not before, however often it is said", slots: 2, policy: surge, rows: rows(failed,
			row{at: 3 * s, ev: due(1, 1), next: 62 * s},
			row{at: 4 * s, ev: due(1, 1), next: 62 * s})},
		{name: "nor if it was said meanwhile", slots: 2, policy: surge, rows: rows(failed[:len(failed)-1],
			row{at: s, ev: due(1, 1)},
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout", next: 62 * s})},
		{name: "the others are not kept waiting", slots: 2, policy: surge, rows: rows(failed,
			row{at: 3 * s, ev: due(2, 1), want: "spawn 2#2; 2#2 beside"})},
		{name: "another process is not to blame", slots: 2, policy: surge, rows: rows(failed,
			row{at: 3 * s, ev: exited(1, 1), want: "1#1 exit; spawn 1#3; 1 starting"},
			up(3*s, 1, 3),
			row{at: time.Hour})},
		{name: "in place: the usual restarts follow", slots: 2, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: due(1, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{at: 2 * s, ev: due(2, 1)},
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; spawn 1#3; 1 starting; 1#2 rollout"}, // slot 1 is missing still
			up(2*s, 1, 3)[:2],
			row{at: 2 * s, ev: saidReady(3), want: "1 ready; drain 2#1 6s; 2 stopping"})},
	})
}

func TestAge(t *testing.T) {
	aged := func(jitter float64) func(*Policy) {
		return func(p *Policy) { p.Surge, p.Age, p.Jitter = 1, 100*time.Second, jitter }
	}
	one := rows(boot(1), up(0, 1, 1))
	const s = time.Second
	playAll(t, []script{
		{name: "to the second", policy: aged(0), rows: rows(one, row{at: 100 * s, want: "spawn 1#2; 1#2 beside", next: never})},
		{name: "the next one's begins when it is ready", policy: aged(0), rows: rows(one,
			row{at: 100 * s, want: "spawn 1#2; 1#2 beside"},
			up(103*s, 1, 2)[:2],
			row{at: 105 * s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
			row{at: 106 * s, ev: exited(1, 0), want: "1#1 exit", next: 205 * s})},
		{name: "earliest", policy: aged(0.1), chance: 1e-12, rows: rows(one, row{at: 90 * s, want: "spawn 1#2; 1#2 beside"})},
		{name: "latest", policy: aged(0.1), chance: 1 - 1e-12, rows: rows(one, row{at: 110*s - 1, want: "spawn 1#2; 1#2 beside"})},
		{name: "it was ready, then not: from when it is again", policy: func(p *Policy) { aged(0)(p); p.Auto = true }, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, want: "1 ready", next: 101 * s},
			row{at: 5 * s, ev: greeted(1), want: "1 starting", next: 35 * s},
			row{at: 6 * s, ev: saidReady(1), want: "1 ready", next: 106 * s})},
		{name: "it fails: tried again", policy: aged(0), rows: rows(one,
			row{at: 100 * s, want: "spawn 1#2; 1#2 beside"},
			row{at: 101 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout", next: 161 * s},
			row{at: 161 * s, want: "spawn 1#3; 1#3 beside"})},
		{name: "several are not in step", slots: 3, policy: aged(0), rows: rows(boot(3), up(0, 1, 1), up(s, 2, 1), up(2*s, 3, 1),
			row{at: 100 * s, want: "spawn 1#2; 1#2 beside", next: 101 * s},
			row{at: 101 * s, next: 102 * s},
			row{at: 102 * s, next: never},
			up(103*s, 1, 2)[:2],
			row{at: 103 * s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
			row{at: 104 * s, ev: exited(1, 0), want: "1#1 exit; spawn 2#2; 2#2 beside"})},
	})
}
