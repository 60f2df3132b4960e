package lifecycle

import (
	"strings"
	"testing"
	"time"
)

// rolled is a pool of three, ready, whose restart was asked for at 1 s.
func rolled() []row {
	return rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
		row{at: time.Second, ev: order(1, Restart, 1, 2, 3), want: "drain 1#1 6s; 1 stopping", next: 7 * time.Second})
}

// again is the rows from the exit of slot n's process g to its successor's
// word, up to which nothing else moves.
func again(at time.Duration, n int, g uint64, spawn, ready string) []row {
	return rows(
		row{at: at, ev: exitedIn(n, g, 0), want: spawn},
		row{at: at, ev: spawnedIn(n, g+1)},
		row{at: at, ev: greetedIn(n, g+1)},
		row{at: at, ev: saidReadyIn(n, g+1), want: ready})
}

func TestRolloutGoesOneByOne(t *testing.T) {
	const s = time.Second
	playAll(t, []script{{slots: 3, rows: rows(rolled(),
		again(2*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready; drain 2#1 6s; 2 stopping"),
		again(3*s, 2, 1, "2#1 exit; spawn 2#2; 2 starting", "2 ready; drain 3#1 6s; 3 stopping"),
		again(4*s, 3, 1, "3#1 exit; spawn 3#2; 3 starting", "3 ready; op 1: done done done"),
		row{at: time.Hour})}})
}

func TestRolloutEndsAtTheFirstFailure(t *testing.T) {
	const s = time.Second
	second := rows(rolled(),
		again(2*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready; drain 2#1 6s; 2 stopping"),
		row{at: 3 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; spawn 2#2; 2 starting"})
	playAll(t, []script{
		{name: "not ready in time", slots: 3, rows: rows(second,
			row{at: 3 * s, ev: spawnedIn(2, 2), next: 33 * s},
			row{at: 33 * s, want: "SIGTERM 2#2; 2 stopping; 2#2 rollout; op 1: done failed unchanged"},
			row{at: 34 * s, ev: exitedIn(2, 2, 0), want: "2#2 exit; spawn 2#3; 2 starting"},
			up(34*s, 2, 3),
			row{at: time.Hour})},
		{name: "for good", slots: 3, policy: func(p *Policy) { p.GiveUp = []int{78} }, rows: rows(second,
			row{at: 3 * s, ev: spawnedIn(2, 2)},
			row{at: 3 * s, ev: exitedIn(2, 2, 78), want: "2#2 exit; 2 failed; 2#2 rollout; op 1: done failed unchanged"})},
		{name: "it dies once and then is ready", slots: 3, rows: rows(second,
			row{at: 3 * s, ev: spawnedIn(2, 2)},
			row{at: 3 * s, ev: exitedIn(2, 2, 1), want: "2#2 exit; spawn 2#3; 2 starting; 2#2 rollout; op 1: done failed unchanged"},
			up(3*s, 2, 3),
			row{at: time.Hour})},
	})
}

func TestRolloutAndOtherHands(t *testing.T) {
	const s = time.Second
	stop := func(n int) Event { return order(2, Stop, n) }
	playAll(t, []script{
		{name: "stopped slots stay so", slots: 3, rows: rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
			row{ev: order(2, Stop, 1, 2), want: "drain 1#1 6s; 1 stopping; drain 2#1 6s; 2 stopping"},
			row{ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped"},
			row{at: s, ev: order(1, Restart, 1, 2, 3), want: "drain 3#1 6s; 3 stopping"}, // one still stopping too
			again(2*s, 3, 1, "3#1 exit; spawn 3#2; 3 starting", "3 ready; op 1: unchanged unchanged done"),
			row{at: 3 * s, ev: exitedIn(1, 1, 0), want: "1#1 exit; 1 stopped; op 2: done done"})},
		{name: "failed ones are started in their turn", slots: 2, policy: func(p *Policy) { p.Never = true }, rows: rows(boot(2), up(0, 2, 1),
			row{ev: notSpawned(1), want: "1#1 exit; 1 failed"},
			row{at: s, ev: order(1, Restart, 1, 2), want: "spawn 1#2; 1 starting"},
			up(s, 1, 2)[:2],
			row{at: s, ev: saidReady(2), want: "1 ready; drain 2#1 6s; 2 stopping"})},
		{name: "the one under way is stopped", slots: 3, rows: rows(rolled(),
			row{at: 2 * s, ev: stop(1), want: "drain 2#1 6s; 2 stopping", next: 7 * s},
			row{at: 2 * s, ev: exitedIn(1, 1, 0), want: "1#1 exit; 1 stopped; op 2: done"},
			again(2*s, 2, 1, "2#1 exit; spawn 2#2; 2 starting", "2 ready; drain 3#1 6s; 3 stopping"),
			again(2*s, 3, 1, "3#1 exit; spawn 3#2; 3 starting", "3 ready; op 1: failed done done"))},
		{name: "one to come is stopped", slots: 3, rows: rows(rolled(),
			row{at: s, ev: stop(2), want: "drain 2#1 6s; 2 stopping"},
			again(2*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready; drain 3#1 6s; 3 stopping"))},
		{name: "one to come has died and is back by itself", slots: 3, rows: rows(rolled(),
			again(2*s, 2, 1, "2#1 exit; spawn 2#2; 2 starting", "2 ready"),
			again(3*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready; drain 3#1 6s; 3 stopping"))},
		{name: "one to come is stopped and started", slots: 2, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: order(1, Restart, 1, 2), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: stop(2), want: "drain 2#1 6s; 2 stopping"},
			row{at: s, ev: order(3, Start, 2)},
			again(2*s, 2, 1, "2#1 exit; spawn 2#2; 2 starting; op 2: failed", "2 ready; op 3: done"),
			again(3*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready; op 1: done failed"),
			row{at: time.Hour})},
		{name: "one whose work is done has had its turn", slots: 2, policy: func(p *Policy) { p.OnFailureOnly = true }, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: order(1, Restart, 1, 2), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{at: s, ev: spawned(2)},
			row{at: s, ev: exited(2, 0), want: "1#2 exit; 1 done; drain 2#1 6s; 2 stopping"})},
		{name: "a second of the same pool waits", slots: 2, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: order(1, Restart, 1, 2), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: order(2, Restart, 2, 1)},
			again(2*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready; drain 2#1 6s; 2 stopping"),
			again(3*s, 2, 1, "2#1 exit; spawn 2#2; 2 starting", "2 ready; op 1: done done; op 2: done done"))},
		{name: "shutdown", slots: 3, rows: rows(rolled(),
			row{at: 2 * s, ev: Shutdown{}, want: "drain 2#1 6s; 2 stopping; drain 3#1 6s; 3 stopping; op 1: failed failed failed"},
			row{at: 2 * s, ev: exitedIn(1, 1, 0), want: "1#1 exit; 1 stopped"})},
	})
}

// Pools do not wait for each other.
func TestRolloutOfTwoPools(t *testing.T) {
	p := basic()
	m := New(func() float64 { return 0.5 })
	var all Order
	for _, pool := range []string{"api", "web"} {
		for n := 1; n <= 2; n++ {
			id := ID{Slot{pool, n}, 1}
			m.Add(id.Slot, p, epoch)
			all.Slots = append(all.Slots, id.Slot)
		}
	}
	m.Step(epoch, Boot{})
	for _, s := range all.Slots {
		id := ID{s, 1}
		m.Step(epoch, Spawned{id, 1})
		m.Step(epoch, Greeted{id})
		m.Step(epoch, SaidReady{id})
	}
	all.Verb = Restart
	var drained []string
	for _, e := range m.Step(epoch, all) {
		if d, ok := e.(Drain); ok {
			drained = append(drained, d.ID.String())
		}
	}
	if got := strings.Join(drained, " "); got != "api/1#1 web/1#1" {
		t.Errorf("drained %s", got)
	}
}

// An order for one generation never reaches another.
func TestOrderForAGeneration(t *testing.T) {
	const s = time.Second
	only := func(op uint64, verb Verb, g uint64) Event {
		o := order(op, verb, 1).(Order)
		o.Generation = g
		return o
	}
	second := rows(boot(1), up(0, 1, 1),
		row{at: s, ev: exited(1, 1), want: "1#1 exit; spawn 1#2; 1 starting"},
		row{at: s, ev: spawned(2)})
	playAll(t, []script{
		{name: "the one before", rows: rows(second,
			row{at: s, ev: only(1, Stop, 1), want: "op 1: stale"},
			row{at: s, ev: only(2, Restart, 1), want: "op 2: stale"},
			row{at: s, ev: only(3, Start, 1), want: "op 3: stale"})},
		{name: "one to come", rows: rows(second, row{at: s, ev: only(1, Stop, 3), want: "op 1: stale"})},
		{name: "the one that is there", rows: rows(second, row{at: s, ev: only(1, Stop, 2), want: "SIGTERM 1#2; 1 stopping"})},
	})
}
