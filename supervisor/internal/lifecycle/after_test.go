package lifecycle

import (
	"testing"
	"time"
)

// The first process of cache/1, and its next.
func cache(g uint64) ID { return ID{Slot{"cache", 1}, g} }

// cacheUp is the rows that bring cache/1's process of generation g to ready,
// and what follows.
func cacheUp(at time.Duration, g uint64, want string) []row {
	return rows(
		row{at: at, ev: Spawned{cache(g), 7}},
		row{at: at, ev: Greeted{cache(g)}},
		row{at: at, ev: SaidReady{cache(g)}, want: want})
}

// onCache: web comes after cache.
var onCache = map[string][]string{"cache": nil, "web": {"cache"}}

// heldBoot is a boot with web held.
func heldBoot() row {
	return row{ev: Boot{}, want: "spawn cache/1#1; cache/1 starting", reason: "waits for pool cache", next: never}
}

func TestPoolsStartInOrder(t *testing.T) {
	const s = time.Second
	released := rows(heldBoot(), cacheUp(s, 1, "cache/1 ready; spawn 1#1; 1 starting"))
	down := rows(heldBoot(),
		row{at: s, ev: SpawnFailed{cache(1), "no"}, want: "cache/1#1 exit; spawn cache/1#2; cache/1 starting"},
		row{at: s, ev: SpawnFailed{cache(2), "no"}, want: "cache/1#2 exit; cache/1 backoff"})
	never := func(p *Policy) { p.Never = true }
	start := Order{Op: 1, Verb: Start, Slots: []Slot{{"web", 1}}}
	playAll(t, []script{
		{name: "when the one before is up", after: onCache, rows: released},
		{name: "not before", after: onCache, rows: rows(down,
			row{at: s + 100*ms, want: "spawn cache/1#3; cache/1 starting", reason: "waits for pool cache"},
			cacheUp(2*s, 3, "cache/1 ready; spawn 1#1; 1 starting"))},
		{name: "and that may go down again", after: onCache, rows: rows(released,
			row{at: 2 * s, ev: Exited{ID: cache(1), Code: 1}, want: "cache/1#1 exit; spawn cache/1#2; cache/1 starting"},
			up(2*s, 1, 1),
			row{at: 3 * s, ev: exited(1, 1), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{at: 3 * s, ev: resize(1, 2), want: "spawn 2#1; 2 starting"})},
		{name: "one that has failed holds it", after: onCache, policy: never, rows: rows(heldBoot(),
			row{at: s, ev: SpawnFailed{cache(1), "no"}, want: "cache/1#1 exit; cache/1 failed", reason: "waits for pool cache"},
			row{at: time.Hour, ev: Order{Op: 1, Verb: Start, Slots: []Slot{{"cache", 1}}}, want: "spawn cache/1#2; cache/1 starting"},
			cacheUp(time.Hour, 2, "cache/1 ready; op 1: done; spawn 1#1; 1 starting"))},
		{name: "done is up", after: onCache, policy: never, rows: rows(heldBoot(),
			row{at: s, ev: Spawned{cache(1), 7}},
			row{at: s, ev: Exited{ID: cache(1)}, want: "cache/1#1 exit; cache/1 done; spawn 1#1; 1 starting"})},
		{name: "three in a row", after: map[string][]string{"cache": nil, "queue": {"cache"}, "web": {"queue"}}, rows: rows(heldBoot2(),
			cacheUp(s, 1, "cache/1 ready; spawn queue/1#1; queue/1 starting"),
			row{at: s, ev: Spawned{queue(1), 8}},
			row{at: s, ev: Greeted{queue(1)}},
			row{at: s, ev: SaidReady{queue(1)}, want: "queue/1 ready; spawn 1#1; 1 starting"})},
		{name: "started by hand before its time", after: onCache, rows: rows(heldBoot(),
			row{at: s, ev: start, want: "spawn 1#1; 1 starting"},
			up(s, 1, 1)[:2],
			row{at: s, ev: saidReady(1), want: "1 ready; op 1: done"},
			row{at: s, ev: exited(1, 1), want: "1#1 exit; spawn 1#2; 1 starting"}, // restarts go on
			cacheUp(2*s, 1, "cache/1 ready"))},
		{name: "by hand, and it fails: not started once more", after: onCache, policy: never, rows: rows(heldBoot(),
			row{at: s, ev: start, want: "spawn 1#1; 1 starting"},
			row{at: s, ev: notSpawned(1), want: "1#1 exit; 1 failed; op 1: failed"},
			cacheUp(2*s, 1, "cache/1 ready"))},
		{name: "a restart of the pool leaves it alone", after: onCache, slots: 2, rows: rows(heldBoot(),
			row{at: s, ev: order(1, Restart, 1, 2), want: "op 1: unchanged unchanged", reason: "waits for pool cache"})},
		{name: "stopped by hand: it stays so", after: onCache, rows: rows(heldBoot(),
			row{at: s, ev: order(1, Stop, 1), want: "op 1: done", reason: "stopped by hand"},
			cacheUp(2*s, 1, "cache/1 ready"))},
		{name: "what it waits for is removed", after: onCache, rows: rows(heldBoot(),
			row{at: s, ev: RemovePool{1, "cache"}, want: "cache/1 stopping; spawn 1#1; 1 starting"})},
		{name: "what it waits for changes", after: onCache, rows: rows(heldBoot(),
			row{at: s, ev: configured(1, 1, true), want: "op 1:; spawn 1#1 v1; 1 starting"})},
		{name: "a ring: it can be started by hand", after: map[string][]string{"cache": {"web"}, "web": {"cache"}}, rows: rows(
			row{ev: Boot{}, reason: "waits for pool cache"},
			row{at: s, ev: start, want: "spawn 1#1; 1 starting"},
			up(s, 1, 1)[:2],
			row{at: s, ev: saidReady(1), want: "1 ready; op 1: done; spawn cache/1#1; cache/1 starting"})},
	})
}

func queue(g uint64) ID { return ID{Slot{"queue", 1}, g} }

func heldBoot2() row {
	return row{ev: Boot{}, want: "spawn cache/1#1; cache/1 starting", reason: "waits for pool queue"}
}

func TestMinReady(t *testing.T) {
	for _, c := range []struct{ slots, minReady, want int }{{3, 0, 1}, {3, 1, 1}, {3, 2, 2}, {3, 3, 3}, {2, 5, 2}} {
		p := basic()
		p.MinReady = c.minReady
		m := New(func() float64 { return 0.5 })
		m.Add(Slot{"after", 1}, p, epoch)
		m.Order("after", []string{"web", "nowhere"})
		for n := range c.slots {
			m.Add(Slot{"web", n + 1}, p, epoch)
		}
		m.Step(epoch, Boot{})
		ready := 0
		for n := 1; n <= c.slots && m.slots[Slot{"after", 1}].proc == nil; n++ {
			for _, r := range up(0, n, 1) {
				m.Step(epoch, r.ev)
			}
			ready++
		}
		if ready != c.want {
			t.Errorf("%+v: up with %d ready", c, ready)
		}
	}
}

// A pool that is added waits as at boot, and nobody waits for it in vain.
func TestAddedPoolWaits(t *testing.T) {
	const s = time.Second
	ready := rows(boot(1), up(0, 1, 1))
	add := func(op uint64) Event {
		return AddPool{Op: op, Pool: "cache", Slots: 1, Version: 1, Policy: basic(), After: []string{"web"}}
	}
	booting := rows(boot(1), row{ev: add(1)})
	playAll(t, []script{
		{name: "what it comes after is up", rows: rows(ready, row{ev: add(1), want: "spawn cache/1#1 v1; cache/1 starting"})},
		{name: "it boots", rows: rows(booting, up(s, 1, 1)[:2],
			row{at: s, ev: saidReady(1), want: "1 ready; spawn cache/1#1 v1; cache/1 starting"},
			cacheUp(s, 1, "cache/1 ready; op 1: done"))},
		{name: "it boots, then fails: the op is over, the pool still waits", rows: rows(booting,
			row{at: s, ev: notSpawned(1), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{at: s, ev: notSpawned(2), want: "1#2 exit; 1 backoff; op 1: failed"},
			row{at: s + 100*ms, want: "spawn 1#3; 1 starting"},
			up(2*s, 1, 3)[:2],
			row{at: 2 * s, ev: saidReady(3), want: "1 ready; spawn cache/1#1 v1; cache/1 starting"})},
		{name: "more of it, and less", rows: rows(booting,
			row{ev: Resize{2, "cache", 2}},
			row{ev: Resize{3, "cache", 1}, want: "op 2: failed; op 3: done; gone cache/2"},
			row{ev: RemovePool{4, "cache"}, want: "op 1: failed; op 4: done; gone cache/1"})},
		{name: "another one while its slots leave", rows: rows(ready,
			row{ev: add(1), want: "spawn cache/1#1 v1; cache/1 starting"},
			row{ev: RemovePool{2, "cache"}, want: "cache/1 stopping; op 1: failed"},
			row{ev: exited(1, 1), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{ev: AddPool{Op: 3, Pool: "cache", Slots: 1, Version: 2, Policy: basic(), After: []string{"web"}}},
			row{ev: SpawnFailed{cache(1), "no"}, want: "cache/1#1 exit; cache/1 stopped; op 2: failed"},
			up(0, 1, 2)[:2],
			row{ev: saidReady(2), want: "1 ready; spawn cache/1#2 v2; cache/1 starting"})},
		{name: "the same, and what it waits for is there first", rows: rows(ready,
			row{ev: add(1), want: "spawn cache/1#1 v1; cache/1 starting"},
			row{ev: RemovePool{2, "cache"}, want: "cache/1 stopping; op 1: failed"},
			row{ev: exited(1, 1), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{ev: AddPool{Op: 3, Pool: "cache", Slots: 1, Version: 2, Policy: basic(), After: []string{"web"}}},
			up(0, 1, 2),
			row{ev: SpawnFailed{cache(1), "no"}, want: "cache/1#1 exit; spawn cache/1#2 v2; cache/1 starting; op 2: failed"})},
	})
}

func TestPoolsStopInReverse(t *testing.T) {
	const s = time.Second
	both := rows(heldBoot(), cacheUp(0, 1, "cache/1 ready; spawn 1#1; 1 starting"), up(0, 1, 1))
	begun := rows(both, row{at: s, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping"})
	ring := rows(
		row{ev: Boot{}},
		row{ev: Order{Op: 1, Verb: Start, Slots: []Slot{{"cache", 1}, {"web", 1}}}, want: "spawn cache/1#1; cache/1 starting; spawn 1#1; 1 starting"},
		row{ev: Spawned{cache(1), 7}},
		row{ev: spawned(1)})
	playAll(t, []script{
		{name: "the one before goes last", after: onCache, rows: rows(begun,
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; drain cache/1#1 6s; cache/1 stopping"},
			row{at: 3 * s, ev: Exited{ID: cache(1)}, want: "cache/1#1 exit; cache/1 stopped; finished"})},
		{name: "three in a row", after: map[string][]string{"cache": nil, "queue": {"cache"}, "web": {"queue"}}, rows: rows(heldBoot2(),
			row{ev: Order{Op: 1, Verb: Start, Slots: []Slot{{"queue", 1}, {"web", 1}}}, want: "spawn queue/1#1; queue/1 starting; spawn 1#1; 1 starting"},
			row{ev: Shutdown{}, want: "1 stopping"},
			row{ev: notSpawned(1), want: "1#1 exit; 1 stopped; queue/1 stopping; op 1: failed failed"},
			row{ev: SpawnFailed{queue(1), "no"}, want: "queue/1#1 exit; queue/1 stopped; cache/1 stopping"},
			row{ev: SpawnFailed{cache(1), "no"}, want: "cache/1#1 exit; cache/1 stopped; finished"})},
		{name: "a rollout ends, and nothing is started", after: onCache, rows: rows(both,
			row{at: s, ev: Order{Op: 1, Verb: Restart, Slots: []Slot{{"cache", 1}}, Roll: true}, want: "drain cache/1#1 6s; cache/1 stopping"},
			row{at: s, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: Exited{ID: cache(1)}, want: "cache/1#1 exit; cache/1 stopped; op 1: failed"})},
		{name: "it dies before its turn: nothing is started", after: onCache, rows: rows(begun,
			row{at: 2 * s, ev: Exited{ID: cache(1), Code: 1}, want: "cache/1#1 exit; cache/1 stopped"},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; finished"})},
		{name: "it waits to be tried again, and the one before it is going: nothing is started", after: onCache, policy: surge, rows: rows(both,
			row{at: s, ev: Order{Op: 1, Verb: Restart, Slots: []Slot{{"cache", 1}}, Roll: true}, want: "spawn cache/1#2; cache/1#2 beside"},
			cacheUp(s, 2, "cache/1#2 swap; drain cache/1#1 6s"),
			row{at: s, ev: Exited{ID: cache(2), Code: 1}, want: "cache/1#2 exit; spawn cache/1#3; cache/1 starting; cache/1#2 rollout; op 1: failed"},
			row{at: s, ev: SpawnFailed{cache(3), "no"}, want: "cache/1#3 exit; cache/1 backoff"},
			row{at: s, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping; cache/1 stopping"},
			row{at: 3 * s, ev: Exited{ID: cache(1)}, want: "cache/1#1 exit; cache/1 stopped"})},
		{name: "nothing runs in the one after", after: onCache, rows: rows(heldBoot(),
			row{ev: Spawned{cache(1), 7}},
			row{at: s, ev: Shutdown{}, want: "SIGTERM cache/1#1; cache/1 stopping", reason: "shutdown"},
			row{at: s, ev: Exited{ID: cache(1)}, want: "cache/1#1 exit; cache/1 stopped; finished"})},
		{name: "now: all at once", after: onCache, rows: rows(begun,
			row{at: s, ev: Shutdown{Now: true}, want: "1#1 kill; SIGKILL 1#1; drain cache/1#1 6s; cache/1 stopping; cache/1#1 kill; SIGKILL cache/1#1"})},
		{name: "a ring is stopped all at once", after: map[string][]string{"cache": {"web"}, "web": {"cache"}}, rows: rows(ring,
			row{at: s, ev: Shutdown{}, want: "SIGTERM 1#1; 1 stopping; SIGTERM cache/1#1; cache/1 stopping; op 1: failed failed"},
			row{at: s, ev: exited(1, 0), want: "1#1 exit; 1 stopped"},
			row{at: s, ev: Exited{ID: cache(1)}, want: "cache/1#1 exit; cache/1 stopped; finished"})},
		{name: "after itself", after: map[string][]string{"web": {"web"}, "cache": nil}, rows: rows(
			row{ev: Boot{}, want: "spawn cache/1#1; cache/1 starting", reason: "waits for pool web"},
			row{ev: order(1, Start, 1), want: "spawn 1#1; 1 starting"},
			row{ev: spawned(1)},
			row{ev: Shutdown{}, want: "SIGTERM 1#1; 1 stopping; op 1: failed; cache/1 stopping"})},
	})
}
