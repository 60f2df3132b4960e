package lifecycle

import (
	"fmt"
	"slices"
	"time"
)

// names are those of the pools that there may be.
var names = []string{"a", "b", "c", "d"}

// anything is one step of any kind.
func (w *world) anything() {
	r := w.rng
	n := r.IntN(1000)
	if len(w.tracks) == 0 {
		n = min(n, w.meddle-1)
	}
	switch n -= w.meddle; {
	case n < 0:
		w.meddles()
	case n < 20:
		was := w.now
		w.now = was.Add(upTo(r, 20*time.Millisecond)) // some time in which nothing was due
		if next := w.soonest(); !next.IsZero() && next.Before(w.now) {
			w.now = later(was, next)
		}
		w.step(Tick{})
	case n < 24: // nobody was looking
		w.now = w.now.Add(upTo(r, 30*time.Second))
		if odds(r, 2) {
			w.pass() // what a process has said may be heard first
		}
		w.step(Tick{})
	case n < 100:
		w.stale(w.tracks[r.IntN(len(w.tracks))])
	case n < 120:
		if tr := w.tracks[r.IntN(len(w.tracks))]; len(tr.live) > 0 {
			w.interject(tr.live[r.IntN(len(tr.live))])
		}
	case n == 120 && odds(r, 16):
		w.step(Shutdown{Now: odds(r, 3)})
	default:
		if !w.pass() {
			w.step(Tick{})
		}
	}
}

// interject is a word of a process that is there, out of turn.
func (w *world) interject(f *fake) {
	ev := anyWord(w.rng, f.id)
	if _, no := ev.(SpawnFailed); f.running && !no {
		w.step(ev)
	}
}

// meddles is an operator's doing.
func (w *world) meddles() {
	r := w.rng
	w.lastOp++
	name := names[r.IntN(len(names))] // maybe of no pool
	if g := w.byName[name]; g == nil && odds(r, 2) || g != nil && g.leaving && odds(r, 2) || len(w.tracks) == 0 {
		v, p := w.version(name)
		w.step(AddPool{w.lastOp, name, r.IntN(5), v, w.handed(p), w.anyAfter(name)})
		return
	}
	switch n := r.IntN(100); {
	case n < 15:
		w.step(Resize{w.lastOp, name, r.IntN(6)})
	case n < 35:
		v, p := w.version(name)
		if odds(r, 4) && w.byName[name] != nil { // much as it was
			last := *w.byName[name].policy()
			last.Ping, last.Age, last.StopTimeout = p.Ping, p.Age, p.StopTimeout
			p = w.know(name, v, &last)
		}
		after := w.anyAfter(name)
		if g := w.byName[name]; g != nil && !odds(r, 4) {
			after = g.after
		}
		w.step(Reconfigure{w.lastOp, name, v, w.handed(p), after, !odds(r, 4)})
	case n < 40:
		w.step(RemovePool{w.lastOp, name})
	case n < 44:
		v, p := w.version(name)
		w.step(AddPool{w.lastOp, name, r.IntN(5), v, w.handed(p), w.anyAfter(name)})
	default:
		w.orders(w.tracks[r.IntN(len(w.tracks))])
	}
}

// version makes a configuration for a pool, one in four times a bad one.
func (w *world) version(name string) (uint64, *Policy) {
	w.versions++
	return w.versions, w.know(name, w.versions, anyPolicy(w.rng))
}

// know notes what a version of a pool is, should it come to be used.
func (w *world) know(name string, v uint64, p *Policy) *Policy {
	if g := w.byName[name]; g != nil {
		g.policies[v], g.bad[v] = p, odds(w.rng, 4)
	} else {
		w.made = p
	}
	return p
}

// anyAfter is what a pool comes after: mostly none, and mostly no ring.
func (w *world) anyAfter(name string) []string {
	var after []string
	for _, other := range names {
		if odds(w.rng, 4) && (other < name || odds(w.rng, 16)) {
			after = append(after, other)
		}
	}
	return after
}

// orders gives an order, at random.
func (w *world) orders(tr *track) {
	r := w.rng
	o := Order{Op: w.lastOp, Verb: [...]Verb{Start, Stop, Restart, Restart}[r.IntN(4)], Roll: odds(r, 4)}
	switch r.IntN(4) {
	case 0, 1:
		for _, other := range w.tracks {
			if other.g == tr.g || odds(r, 8) {
				o.Slots = append(o.Slots, other.id)
			}
		}
		if odds(r, 8) {
			slices.Reverse(o.Slots)
		}
	default:
		o.Slots = []Slot{tr.id}
		if odds(r, 4) {
			o.Generation = tr.slot.shown()
		}
		if odds(r, 16) {
			o.Generation = 1 + r.Uint64N(w.generations[tr.id]+2)
		}
	}
	if odds(r, 32) {
		o.Slots = append(o.Slots, Slot{"nowhere", 1})
	}
	w.step(o)
}

// stale feeds a word of a process that is not there. It must change nothing.
func (w *world) stale(tr *track) {
	r := w.rng
	id := ID{tr.id, r.Uint64N(w.generations[tr.id] + 3)}
	if odds(r, 8) {
		id.N += 100
	}
	if w.process(id) != nil {
		return
	}
	before := tr.slot.view()
	ev := anyWord(r, id)
	if effects := w.step(ev); w.broken == "" && (len(effects) > 0 || tr.slot.view() != before) {
		w.fail("stale: %#v of a process that is not there changed something", ev)
	}
}

// tally counts what a simulation has come by, so that it does not miss what it
// is for.
type tally [10]int

const (
	sawSwap = iota
	sawAbort
	sawReverted
	sawChanged
	sawGone
	sawRecycled
	sawReleased
	sawDump
	sawTakenUp
	sawAbsence
)

func (t *tally) add(other tally) {
	for i, n := range other {
		t[i] += n
	}
}

var tallied = [...]string{"swap", "rollout that ended early", "reverted configuration", "new configuration", "slot gone", "recycled worker", "released pool", "dump", "machine taken up", "absence"}

// empty is what was not seen; "": nothing.
func (t tally) empty() string {
	if i := slices.Index(t[:], 0); i >= 0 {
		return tallied[i]
	}
	return ""
}

func (t tally) String() string {
	text := ""
	for i, n := range t {
		text += fmt.Sprintf("; %s: %d", tallied[i], n)
	}
	return text[2:]
}
