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
	policy  *Policy // of the version, as it was asked for
	version uint64
	running bool // the machine has been told so
	pid     int

	sdk          bool // it says HELLO
	bad          bool // it is of a version that hardly ever becomes ready
	silent       bool // it does not answer pings
	still        bool // its beat stands still
	deafToDrain  bool
	deafToSignal bool
	stuck        int // SIGKILLs that do nothing, as in uninterruptible sleep

	// What the laws remember of it.
	hello             bool
	began             time.Time     // of its stop as far as can be seen; zero: none
	stopIn            time.Duration // so long it may take, as of its beginning
	bootBy            time.Time     // when its boot must be over
	readyAt           time.Time
	ripens            bool      // it has been ready
	ripe              time.Time // when it is old enough to be recycled, unless its policy has been amended since
	aliveAt           time.Time // its last word to its watchdog
	spared            bool      // it has been excused, and has given no sign of life since
	excused           int       // the step in which it was
	drained, signaled bool
	dumped, killed    bool
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
func (w *world) order(e Spawn, p *Policy, bad bool) *fake {
	r := w.rng
	f := &fake{
		id: e.ID, version: e.Version, w: w, policy: p, pid: 100 + w.seq, bad: bad,
		sdk: !odds(r, 4), silent: odds(r, w.trouble), still: odds(r, w.trouble), deafToDrain: odds(r, 4), deafToSignal: odds(r, 4),
	}
	if odds(r, 40) {
		f.stuck = r.IntN(4)
	}
	wait := upTo(r, 50*time.Millisecond)
	if odds(r, 50) {
		wait = upTo(r, 2*time.Minute)
	}
	if odds(r, w.trouble) {
		f.later(wait, SpawnFailed{e.ID, "no"})
	} else {
		f.later(wait, Spawned{e.ID, f.pid})
	}
	return f
}

// live is what a process that has just started will do of itself.
func (f *fake) live() {
	r := f.w.rng
	if f.policy.Watchdog {
		f.later(upTo(r, f.policy.Beat), SaidAlive{f.id})
	}
	if f.bad {
		switch r.IntN(4) {
		case 0:
			return
		case 1, 2:
			f.later(upTo(r, f.policy.Boot), Exited{ID: f.id, Code: r.IntN(2)})
		}
	}
	hello := upTo(r, 200*time.Millisecond)
	if odds(r, 8) {
		hello = upTo(r, 5*time.Second)
	}
	if f.sdk {
		f.later(hello, Greeted{f.id})
	}
	if f.sdk && !odds(r, f.w.trouble) || f.policy.Probed {
		f.later(hello+upTo(r, f.policy.Boot/2), SaidReady{f.id})
	}
	if odds(r, 8) {
		f.later(upTo(r, f.policy.Boot), Extended{f.id, upTo(r, 2*f.policy.Boot)})
	}
	if odds(r, 4) {
		f.later(upTo(r, 5*time.Minute), Due{f.id, "it has had enough"})
	}
	switch r.IntN(f.w.trouble) {
	case 0:
		f.exit(upTo(r, time.Millisecond))
	case 1:
		f.exit(upTo(r, f.policy.Boot))
	case 2, 3:
		f.exit(upTo(r, 5*time.Minute))
	case 4:
		f.later(upTo(r, time.Minute), HungUp{f.id, odds(r, 2), "hung up"})
	case 5:
		f.later(upTo(r, time.Minute), SaidStopping{f.id})
	}
}

// exit is its end, by its own hand. Other words of it may come after.
func (f *fake) exit(in time.Duration) {
	f.later(in, Exited{ID: f.id, Code: f.w.rng.IntN(4)})
}

// fed: its watchdog has had a word, and the next one may come in time.
func (f *fake) fed() {
	r := f.w.rng
	f.aliveAt = f.w.now
	if f.policy.Watchdog && !odds(r, 4*f.w.trouble) {
		f.later(upTo(r, f.policy.Beat*17/16), SaidAlive{f.id})
	}
}

// pong is its answer to a ping.
func (f *fake) pong() Event {
	beat := time.Duration(-1)
	if f.policy.Beat > 0 {
		beat = upTo(f.w.rng, f.policy.Beat)
		if f.still {
			beat *= 2
		}
	}
	return Ponged{f.id, beat}
}

// carryOut does to the process what the effect says.
func (f *fake) carryOut(e Effect) {
	r := f.w.rng
	switch e := e.(type) {
	case Ping:
		if f.silent && !odds(r, 8) {
			return
		}
		f.later(upTo(r, f.policy.PingTimeout*17/16), f.pong())
		if odds(r, 8) {
			f.later(upTo(r, f.policy.PingTimeout*3), f.pong())
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
	switch r.IntN(12) {
	case 0:
		return Spawned{id, 1}
	case 1:
		return SpawnFailed{id, "no"}
	case 2:
		return Greeted{id}
	case 3:
		return SaidReady{id}
	case 4:
		return Ponged{id, upTo(r, time.Minute) - 1}
	case 5:
		return HungUp{id, odds(r, 2), "hung up"}
	case 6:
		return SaidAlive{id}
	case 7:
		return SaidStopping{id}
	case 8:
		return Extended{id, upTo(r, time.Minute)}
	case 9, 10:
		return Due{id, "it has had enough"}
	}
	return Exited{ID: id, Code: r.IntN(3)}
}

// anyPolicy is a pool's configuration at random.
func anyPolicy(r *rand.Rand) *Policy {
	pick := func(ds ...time.Duration) time.Duration { return ds[r.IntN(len(ds))] }
	p := &Policy{
		Boot: pick(500*ms, 5*time.Second, 30*time.Second),
		Ping: pick(-1, 200*ms, 2*time.Second), PingTimeout: pick(100*ms, time.Second, 3*time.Second), Failures: 1 + r.IntN(3),
		Observe: odds(r, 4), OnFailureOnly: odds(r, 4), Never: odds(r, 8),
		BackoffMin: pick(10*ms, 100*ms, time.Second), BackoffMax: pick(time.Second, 30*time.Second),
		Stable: pick(time.Second, 10*time.Second), Budget: []int{-1, 0, 1, 5, 20}[r.IntN(5)], Window: pick(time.Second, time.Minute, time.Hour),
		StopSignal: syscall.SIGTERM, StopTimeout: pick(100*ms, 3*time.Second, 10*time.Second),
		RestartEvery: pick(0, 500*ms, 5*time.Second), RestartBurst: 1 + r.IntN(3),
		Surge: r.IntN(3), Unavailable: r.IntN(3), Soak: pick(0, 0, 500*ms, 3*time.Second),
		Age: pick(0, 0, 20*time.Second, 10*time.Minute), Jitter: []float64{0, 0.1, 1}[r.IntN(3)], MinReady: r.IntN(4),
	}
	switch r.IntN(4) {
	case 0:
		p.Auto = true
	case 1:
		p.Alive = true
	case 2:
		p.Probed = true
	}
	if odds(r, 3) {
		p.GiveUp = []int{3}
	}
	if odds(r, 3) {
		p.Beat = pick(300*ms, 5*time.Second)
		p.Watchdog = odds(r, 2)
	}
	if odds(r, 3) {
		p.Dump = syscall.SIGQUIT
	}
	return p
}
