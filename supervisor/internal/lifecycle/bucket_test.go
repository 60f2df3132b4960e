package lifecycle

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	const s = time.Second
	// Two at once, then one every 10 s; no backoff to speak of.
	two := func(p *Policy) {
		p.RestartEvery, p.RestartBurst, p.Budget, p.BackoffMin, p.BackoffMax = 10*s, 2, -1, time.Nanosecond, time.Nanosecond
	}
	again := func(n int, g uint64) row { return row{ev: notSpawnedIn(n, g)} }
	want := func(r row, want string) row { r.want = want; return r }
	spent := rows(boot(4),
		want(again(1, 1), "1#1 exit; spawn 1#2; 1 starting"),
		want(again(2, 1), "2#1 exit; spawn 2#2; 2 starting"),
		want(again(3, 1), "3#1 exit; 3 backoff"),
		row{ev: notSpawnedIn(4, 1), want: "4#1 exit; 4 backoff", next: 10 * s})
	playAll(t, []script{
		{name: "so many at once, the others one by one", slots: 4, policy: two, rows: rows(spent,
			row{at: 10 * s, want: "spawn 3#2; 3 starting", next: 20 * s},
			row{at: 20 * s, want: "spawn 4#2; 4 starting", next: never})},
		{name: "it fills up again, but not over", slots: 4, policy: two, rows: rows(spent[:3],
			row{at: time.Hour, ev: notSpawnedIn(3, 1), want: "3#1 exit; spawn 3#2; 3 starting"},
			row{at: time.Hour, ev: notSpawnedIn(4, 1), want: "4#1 exit; spawn 4#2; 4 starting"},
			row{at: time.Hour, ev: notSpawnedIn(1, 2), want: "1#2 exit; 1 backoff"},
			row{at: time.Hour + 1, next: time.Hour + 10*s})},
		{name: "a start by hand is exempt, and gives up its place", slots: 4, policy: two, rows: rows(spent,
			row{at: s, ev: order(1, Start, 3), want: "spawn 3#2; 3 starting", next: 10 * s},
			row{at: s, ev: order(2, Restart, 1), want: "1 stopping"},
			row{at: s, ev: notSpawned(2), want: "1#2 exit; spawn 1#3; 1 starting"},
			row{at: 10 * s, want: "spawn 4#2; 4 starting", next: never})},
		{name: "stopped while it waits", slots: 4, policy: two, rows: rows(spent,
			row{at: s, ev: order(1, Stop, 3), want: "3 stopped; op 1: done", next: 10 * s},
			row{at: 10 * s, want: "spawn 4#2; 4 starting"})},
		{name: "rollouts are exempt", slots: 4, policy: two, rows: rows(spent,
			row{at: s, ev: order(1, Restart, 3, 4), want: "spawn 3#2; 3 starting"},
			up(s, 3, 2)[:2],
			row{at: s, ev: saidReadyIn(3, 2), want: "3 ready; spawn 4#2; 4 starting"})},
		{name: "backoff comes first", slots: 1, policy: func(p *Policy) { two(p); p.BackoffMin, p.BackoffMax = 30*s, 30*s }, rows: rows(boot(1),
			row{ev: notSpawned(1), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{ev: notSpawned(2), want: "1#2 exit; 1 backoff", next: 30 * s},
			row{at: 30 * s, want: "spawn 1#3; 1 starting"})},
		{name: "and then the bucket", slots: 1, policy: func(p *Policy) {
			two(p)
			p.BackoffMin, p.BackoffMax, p.RestartBurst, p.RestartEvery = s, s, 1, time.Minute
		}, rows: rows(boot(1),
			row{ev: notSpawned(1), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{ev: notSpawned(2), want: "1#2 exit; 1 backoff", next: s},
			row{at: s, next: time.Minute, reason: "the whole pool restarts too often"},
			row{at: time.Minute, want: "spawn 1#3; 1 starting", reason: "restarted after it could not be started: no such file"})},
		{name: "there is none any more", slots: 4, policy: two, rows: rows(spent,
			row{at: s, ev: configured(1, 1, false), want: "op 1:", next: s},
			row{at: s, want: "spawn 3#2 v1; 3 starting", next: s},
			row{at: s, want: "spawn 4#2 v1; 4 starting", next: never})},
	})
}

// A thousand workers that die at once, and again and again, however late the
// ticks come: over any time no more are restarted than the bucket allows.
func TestBucketHoldsOverAnyTime(t *testing.T) {
	const every, burst, workers = 100 * time.Millisecond, 5, 1000
	rng := rand.New(rand.NewPCG(1, 1))
	p := basic()
	p.RestartEvery, p.RestartBurst, p.Budget = every, burst, -1
	m := New(rng.Float64)
	for n := range workers {
		m.Add(Slot{"web", n + 1}, p, epoch)
	}
	now := epoch
	var starts []time.Time
	var queue []ID
	step := func(ev Event) {
		for _, e := range m.Step(now, ev) {
			if s, ok := e.(Spawn); ok {
				queue = append(queue, s.ID)
				starts = append(starts, now)
			}
		}
	}
	step(Boot{})
	starts = nil       // those were asked for
	var calm time.Time // from then on no tick is late
	const most = 3000
	for len(starts) < most {
		for _, id := range queue[:len(queue):len(queue)] {
			queue = queue[1:]
			step(SpawnFailed{id, "no"})
		}
		if next := m.Next(); next.After(now) {
			now = next
		}
		switch {
		case len(starts) > most/2 && calm.IsZero():
			calm = now
		case calm.IsZero() && rng.IntN(50) == 0:
			now = now.Add(time.Duration(rng.IntN(5000)) * time.Millisecond) // nobody was looking
		}
		step(Tick{})
	}
	for i := range starts {
		for j := i; j < min(i+200, len(starts)); j++ {
			if n, within := j-i+1, starts[j].Sub(starts[i]); n > burst+int(within/every) {
				t.Fatalf("%d restarts within %v", n, within)
			}
		}
	}
	if rate := most / 2 / now.Sub(calm).Seconds(); rate < 9 || rate > 10.1 {
		t.Errorf("%.1f restarts a second, 10 are allowed", rate)
	}
}
