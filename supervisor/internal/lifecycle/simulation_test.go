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
	simSteps = flag.Int("steps", 300_000, "steps of TestSimulation")
	simSeed  = flag.Uint64("seed", 0, "seed of TestSimulation; 0: any")
)

// TestSimulation has operators, processes and the clock do anything at any
// time, on fake time, and holds the laws after every step. -seed and -steps
// reproduce a run exactly.
func TestSimulation(t *testing.T) {
	seed := *simSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	steps, worlds := 0, 0
	for steps < *simSteps {
		w := newWorld(rng, sabotage{})
		w.run(50 + rng.IntN(4000))
		steps += w.steps
		worlds++
		if w.broken != "" {
			t.Fatalf("seed %d, step %d: %s\n%s", seed, steps, w.broken, w.past())
		}
	}
	t.Logf("seed %d: %d steps in %d worlds", seed, steps, worlds)
}

// world is one machine with everything around it.
type world struct {
	rng    *rand.Rand
	m      *Machine
	now    time.Time
	agenda agenda
	seq    int
	pools  [][]Slot
	places []*track
	bySlot map[Slot]*track

	lastOp    uint64
	open      map[uint64]Order // not settled yet
	shut      bool
	atOnce    bool
	finished  bool
	steps     int
	history   [64]moment // ring, of the last steps
	broken    string     // the first law found broken
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
	w := &world{rng: rng, now: epoch, bySlot: map[Slot]*track{}, open: map[uint64]Order{}, sabotaged: s}
	w.m = New(rng.Float64)
	for i := range 1 + rng.IntN(3) {
		p := anyPolicy(rng)
		var pool []Slot
		for n := range 1 + rng.IntN(4) {
			id := Slot{string(rune('a' + i)), n + 1}
			w.m.Add(id, p, w.now)
			tr := &track{slot: w.m.slots[id], want: Up}
			w.places = append(w.places, tr)
			w.bySlot[id] = tr
			pool = append(pool, id)
		}
		w.pools = append(w.pools, pool)
	}
	w.step(Boot{})
	return w
}

// run lets the world go for so many steps, then leaves it in peace until every
// order is settled, then shuts it down.
func (w *world) run(steps int) {
	for w.broken == "" && w.steps < steps && !w.finished {
		w.anything()
	}
	w.peace("every order is settled", func() bool { return len(w.open) == 0 })
	if !w.shut {
		w.step(Shutdown{Now: odds(w.rng, 2)})
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
	const longest = 6 * time.Hour
	for limit := w.now.Add(longest); w.broken == "" && !done(); {
		if w.now.After(limit) || !w.pass() {
			w.fail("wedged: it never comes that %s: open %v, next %v", what, w.open, w.next())
		}
	}
}

// anything is one step of any kind.
func (w *world) anything() {
	r := w.rng
	tr := w.places[r.IntN(len(w.places))]
	switch n := r.IntN(1000); {
	case n < 700:
		if !w.pass() {
			w.step(Tick{})
		}
	case n < 720:
		w.now = w.now.Add(upTo(r, 20*time.Millisecond)) // some time in which nothing was due
		if next := w.soonest(); !next.IsZero() && next.Before(w.now) {
			w.now = next
		}
		w.step(Tick{})
	case n < 800:
		w.stale(tr)
	case n < 860 && tr.live != nil && tr.live.running:
		ev := anyWord(r, tr.live.id)
		if _, twice := ev.(SpawnFailed); !twice {
			w.step(ev)
		}
	case n < 930:
		w.operate(tr)
	case n == 999 && odds(r, 8):
		w.step(Shutdown{Now: odds(r, 3)})
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

// operate gives an order, at random.
func (w *world) operate(tr *track) {
	r := w.rng
	w.lastOp++
	o := Order{Op: w.lastOp, Verb: [...]Verb{Start, Stop, Restart, Restart}[r.IntN(4)]}
	switch r.IntN(4) {
	case 0:
		o.Slots = w.pools[r.IntN(len(w.pools))]
	case 1:
		for _, p := range w.pools {
			o.Slots = append(o.Slots, p...)
		}
	default:
		o.Slots = []Slot{tr.slot.id}
		if odds(r, 4) {
			o.Generation = tr.generation
		}
		if odds(r, 16) && tr.generation > 1 {
			o.Generation = tr.generation - 1
		}
	}
	w.step(o)
}

// stale feeds a word of a process that is not there. It must change nothing.
func (w *world) stale(tr *track) {
	r := w.rng
	id := ID{tr.slot.id, tr.generation + 1}
	switch {
	case tr.live == nil:
		id.Generation = 1 + r.Uint64N(tr.generation+1)
	case tr.generation > 1 && !odds(r, 8):
		id.Generation = 1 + r.Uint64N(tr.generation-1)
	case odds(r, 2):
		id.N += 100
	}
	before := tr.slot.view()
	ev := anyWord(r, id)
	if effects := w.step(ev); w.broken == "" && (len(effects) > 0 || tr.slot.view() != before) {
		w.fail("stale: %#v of a process that is not there changed something", ev)
	}
}

// step feeds the machine and looks at what it says.
func (w *world) step(ev Event) []Effect {
	w.steps++
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
	for _, e := range effects {
		w.carryOut(e)
	}
	if f := w.sabotaged.inside; f != nil {
		f(w.m)
	}
	w.check()
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
