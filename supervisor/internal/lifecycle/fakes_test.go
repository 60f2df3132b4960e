package lifecycle

import (
	"container/heap"
	"math/rand/v2"
	"syscall"
	"time"
)

// fake is a process of the simulation: what it does by itself, and what it
// does when something is done to it. Everything it says is put on the agenda,
// from which it comes later, maybe after its end, maybe twice.
type fake struct {
	id      ID
	w       *world
	policy  *Policy
	running bool // the machine has been told so
	pid     int

	sdk          bool // it says HELLO
	silent       bool // it does not answer pings
	deafToDrain  bool
	deafToSignal bool
	stuck        int // SIGKILLs that do nothing, as in uninterruptible sleep

	// What the laws remember of it.
	hello             bool
	began             time.Time // of its stop as far as can be seen; zero: none
	starting          time.Time // since when its boot clock runs
	drained, signaled bool
	killed            bool
	rank              phase // the furthest step of its stop
}

// said is something that a process, or the answer to its Spawn, will say.
type said struct {
	at  time.Time
	seq int
	by  *fake
	ev  Event
}

// agenda is a heap of what is to be said, by time, then as it was put there.
type agenda []said

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(said)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// odds is true once in so many times.
func odds(r *rand.Rand, in int) bool { return r.IntN(in) == 0 }

// upTo is a duration in [0, d], one in eight times one of the two ends.
func upTo(r *rand.Rand, d time.Duration) time.Duration {
	switch r.IntN(16) {
	case 0:
		return 0
	case 1:
		return d
	}
	return time.Duration(r.Int64N(int64(d) + 1))
}

// later puts on the agenda what f says.
func (f *fake) later(in time.Duration, ev Event) {
	f.w.seq++
	heap.Push(&f.w.agenda, said{f.w.now.Add(in), f.w.seq, f, ev})
}

// order answers a Spawn, in its own time.
func (w *world) order(id ID, p *Policy) *fake {
	r := w.rng
	f := &fake{
		id: id, w: w, policy: p, pid: 100 + w.seq,
		sdk: !odds(r, 4), silent: odds(r, 6), deafToDrain: odds(r, 4), deafToSignal: odds(r, 4),
	}
	if odds(r, 40) {
		f.stuck = r.IntN(4)
	}
	wait := upTo(r, 50*time.Millisecond)
	if odds(r, 50) {
		wait = upTo(r, 2*time.Minute)
	}
	if odds(r, 8) {
		f.later(wait, SpawnFailed{id, "no"})
	} else {
		f.later(wait, Spawned{id, f.pid})
	}
	return f
}

// live is what a process that has just started will do of itself.
func (f *fake) live() {
	r := f.w.rng
	if f.sdk {
		hello := upTo(r, 200*time.Millisecond)
		if odds(r, 8) {
			hello = upTo(r, 5*time.Second)
		}
		f.later(hello, Greeted{f.id})
		if !odds(r, 8) {
			f.later(hello+upTo(r, f.policy.Boot/2), SaidReady{f.id})
		}
	}
	switch r.IntN(8) {
	case 0:
		f.exit(upTo(r, time.Millisecond))
	case 1, 2:
		f.exit(upTo(r, f.policy.Boot))
	case 3, 4:
		f.exit(upTo(r, 5*time.Minute))
	case 5:
		f.later(upTo(r, time.Minute), HungUp{f.id, odds(r, 2), "hung up"})
	}
}

// exit is its end, by its own hand. Other words of it may come after.
func (f *fake) exit(in time.Duration) {
	f.later(in, Exited{ID: f.id, Code: f.w.rng.IntN(4)})
}

// carryOut does to the process what the effect says.
func (f *fake) carryOut(e Effect) {
	r := f.w.rng
	switch e := e.(type) {
	case Ping:
		if f.silent && !odds(r, 8) {
			return
		}
		f.later(upTo(r, f.policy.PingTimeout*5/4), Ponged{f.id, -1})
		if odds(r, 8) {
			f.later(upTo(r, f.policy.PingTimeout*3), Ponged{f.id, -1})
		}
	case Drain:
		if !f.deafToDrain {
			f.exit(upTo(r, e.Grace*5/4))
		}
	case Signal:
		switch {
		case e.Signal != syscall.SIGKILL:
			if !f.deafToSignal {
				f.later(upTo(r, f.policy.StopTimeout), Exited{ID: f.id, Code: -1, Signal: e.Signal})
			}
		case f.stuck > 0:
			f.stuck--
		default:
			f.later(upTo(r, 20*time.Millisecond), Exited{ID: f.id, Code: -1, Signal: syscall.SIGKILL})
		}
	}
}

// anyWord is something that a process may say out of turn.
func anyWord(r *rand.Rand, id ID) Event {
	switch r.IntN(8) {
	case 0:
		return Spawned{id, 1}
	case 1:
		return SpawnFailed{id, "no"}
	case 2:
		return Greeted{id}
	case 3:
		return SaidReady{id}
	case 4:
		return Ponged{id, -1}
	case 5:
		return HungUp{id, odds(r, 2), "hung up"}
	}
	return Exited{ID: id, Code: r.IntN(3)}
}

// anyPolicy is a pool's configuration at random.
func anyPolicy(r *rand.Rand) *Policy {
	pick := func(ds ...time.Duration) time.Duration { return ds[r.IntN(len(ds))] }
	p := &Policy{
		Boot: pick(500*ms, 5*time.Second, 30*time.Second),
		Ping: pick(-1, 200*ms, 2*time.Second), PingTimeout: pick(100*ms, time.Second, 3*time.Second), Failures: 1 + r.IntN(3),
		Observe: odds(r, 4), OnFailureOnly: odds(r, 6), Never: odds(r, 8),
		BackoffMin: pick(10*ms, 100*ms, time.Second), BackoffMax: pick(time.Second, 30*time.Second),
		Stable: pick(time.Second, 10*time.Second), Budget: []int{-1, 0, 1, 5, 20}[r.IntN(5)], Window: pick(time.Second, time.Minute, time.Hour),
		StopSignal: syscall.SIGTERM, StopTimeout: pick(100*ms, 3*time.Second, 10*time.Second),
	}
	switch r.IntN(3) {
	case 0:
		p.Auto = true
	case 1:
		p.Alive = true
	}
	if odds(r, 3) {
		p.GiveUp = []int{3}
	}
	return p
}
