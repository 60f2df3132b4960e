package lifecycle

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var (
	simSteps = flag.Int("steps", 0, "steps of TestSimulation; 0: a million, fewer with -short or the race detector")
	simSeed  = flag.Uint64("seed", 0, "seed of TestSimulation; 0: with -steps any, else 1")
)

// TestSimulation has operators, processes and the clock do anything at any
// time, on fake time, and holds the laws after every step. -seed and -steps
// reproduce a run exactly. Without either it tells what a change broke; with
// -steps it looks for what nobody has seen yet.
func TestSimulation(t *testing.T) {
	most, seed := *simSteps, *simSeed
	switch {
	case most > 0:
	case testing.Short() || raced:
		most = 100_000
	default:
		most = 1_000_000
	}
	switch {
	case seed != 0:
	case *simSteps > 0:
		seed = rand.Uint64()
	default:
		seed = 1
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var seen tally
	steps, worlds := 0, 0
	for steps < most {
		w := newWorld(rng, sabotage{})
		w.run(50 + rng.IntN(4000))
		steps += w.steps
		worlds++
		seen.add(w.seen)
		if w.broken != "" {
			t.Fatalf("seed %d, step %d: %s\n%s", seed, steps, w.broken, w.past())
		}
	}
	t.Logf("seed %d: %d steps in %d worlds: %v", seed, steps, worlds, seen)
	if most >= 100_000 && seen.empty() != "" {
		t.Errorf("seed %d: in %d steps there was no %s", seed, steps, seen.empty())
	}
}

// world is one machine with everything around it.
type world struct {
	rng    *rand.Rand
	m      *Machine
	now    time.Time
	last   time.Time // of the step before
	agenda agenda
	seq    int

	trouble int // a process misbehaves once in so many times, in each way
	meddle  int // an operator does something so often in a thousand steps

	groups      []*group
	byName      map[string]*group
	tracks      []*track
	bySlot      map[Slot]*track
	generations map[Slot]uint64 // last one seen in each slot that there ever was
	versions    uint64          // last one given out
	made        *Policy         // of it, if the pool was not there

	lastOp   uint64
	open     map[uint64]asked // not settled yet
	shut     bool
	atOnce   bool
	ring     bool // there was no order to stop in
	finished bool
	steps    int

	// Of the step at hand.
	spawns   []birth
	besides  int       // processes that were announced to start beside another
	recycles []recycle // that begin
	reverted string    // the pool

	history   [64]moment // ring, of the last steps
	broken    string     // the first law found broken
	seen      tally
	sabotaged sabotage
}

// moment is a step as it was.
type moment struct {
	at      time.Duration
	ev      Event
	effects []Effect
}

// newWorld makes a machine with one to three pools and boots it.
func newWorld(rng *rand.Rand, s sabotage) *world {
	w := &world{
		rng: rng, now: epoch, last: epoch, trouble: []int{8, 8, 40, 200}[rng.IntN(4)], meddle: []int{5, 20, 70}[rng.IntN(3)],
		byName: map[string]*group{}, bySlot: map[Slot]*track{}, generations: map[Slot]uint64{}, open: map[uint64]asked{}, sabotaged: s,
	}
	w.m = New(rng.Float64)
	for i := range 1 + rng.IntN(3) {
		g := &group{name: names[i], policies: map[uint64]*Policy{0: anyPolicy(rng)}, bad: map[uint64]bool{}}
		w.addGroup(g)
		handed := w.handed(g.policy())
		for n := range 1 + rng.IntN(4) {
			w.m.Add(Slot{g.name, n + 1}, handed, w.now)
			g.size = n + 1
		}
		w.sized(g)
	}
	for _, g := range w.groups {
		g.after = w.anyAfter(g.name)
		w.m.Order(g.name, g.after)
	}
	w.step(Boot{})
	return w
}

// handed is the policy that the machine gets.
func (w *world) handed(p *Policy) *Policy {
	if w.sabotaged.policy == nil {
		return p
	}
	other := *p
	w.sabotaged.policy(&other)
	return &other
}

// run lets the world go for so many steps, then leaves it in peace until every
// order is settled, then shuts it down.
func (w *world) run(steps int) {
	for w.broken == "" && w.steps < steps && !w.finished {
		if w.sabotaged.name == "" && odds(w.rng, 20) {
			w.takeUp()
		}
		w.anything()
	}
	w.peace("every order is settled", func() bool { return len(w.open) == 0 })
	if !w.shut && w.broken == "" {
		w.peace("what leaves is gone", func() bool { return w.leaving() == 0 })
		w.peace("every process is of its pool's version", func() bool { return w.lagging() == 0 })
		if w.broken == "" {
			w.step(Shutdown{Now: odds(w.rng, 2)})
		}
	}
	w.peace("the shutdown is over", func() bool { return w.finished })
	if w.broken == "" && len(w.open) > 0 {
		w.fail("settled: an order is open after the end: %v", w.open)
	}
	for range 20 { // and nothing comes after it
		if w.broken == "" {
			w.anything()
		}
	}
}

// peace lets time pass until what is so. Nothing may take longer than this.
func (w *world) peace(what string, done func() bool) {
	const longest = 48 * time.Hour
	for limit := w.now.Add(longest); w.broken == "" && !done(); {
		if w.now.After(limit) || !w.pass() {
			w.fail("wedged: it never comes that %s: open %v, next %v", what, w.open, w.next())
		}
	}
}

// pass lets time go on to the next thing that happens; false: there is none.
func (w *world) pass() bool {
	next := w.next()
	switch {
	case len(w.agenda) > 0 && (next.IsZero() || !w.agenda[0].at.After(next)):
		s := heap.Pop(&w.agenda).(said)
		w.now = later(w.now, s.at)
		w.step(s.ev)
	case next.IsZero():
		return false
	default:
		w.now = later(w.now, next)
		w.step(Tick{})
	}
	return true
}

func (w *world) next() time.Time {
	if w.sabotaged.next != nil {
		return w.sabotaged.next(w.m.Next())
	}
	return w.m.Next()
}

// soonest is when the next thing happens; zero: never.
func (w *world) soonest() time.Time {
	if len(w.agenda) > 0 {
		return earlier(w.next(), w.agenda[0].at)
	}
	return w.next()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// step feeds the machine and looks at what it says.
func (w *world) step(ev Event) []Effect {
	w.steps++
	w.spawns, w.besides, w.recycles, w.reverted = w.spawns[:0], 0, w.recycles[:0], ""
	w.absence()
	w.before(ev)
	if f := w.sabotaged.event; f != nil {
		ev = f(w, ev)
	}
	effects := w.m.Step(w.now, ev)
	if f := w.sabotaged.effects; f != nil {
		effects = f(w, ev, effects)
	}
	past := &w.history[w.steps%len(w.history)]
	past.at, past.ev, past.effects = w.now.Sub(epoch), ev, append(past.effects[:0], effects...)
	w.join()
	for _, e := range effects {
		w.carryOut(e)
	}
	if f := w.sabotaged.inside; f != nil {
		f(w.m)
	}
	w.check(ev)
	return effects
}

func (w *world) fail(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
	}
}

// inFull is an event or effect with all its fields: String tells an ID alone.
func inFull(x any) string { return strings.ReplaceAll(fmt.Sprintf("%#v", x), "lifecycle.", "") }

// past is the last steps, oldest first.
func (w *world) past() string {
	var b strings.Builder
	for i := range w.history {
		h := w.history[(w.steps+1+i)%len(w.history)]
		if h.ev != nil {
			fmt.Fprintf(&b, "%14v %s\n", h.at, inFull(h.ev))
			for _, e := range h.effects {
				fmt.Fprintf(&b, "%14s %s\n", "->", inFull(e))
			}
		}
	}
	return b.String()
}
