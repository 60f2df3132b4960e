package lifecycle

import (
	"slices"
	"time"
)

// What the laws know of pools, slots and orders beside the machine.

// group is a pool as its operators know it.
type group struct {
	name    string
	size    int
	after   []string
	leaving bool

	// version is what the pool has, or is to have while rolling.
	version, from uint64
	rolling       bool
	policies      map[uint64]*Policy
	bad           map[uint64]bool

	released bool        // what it comes after has been up
	restarts []time.Time // spawned, that nobody asked for, under one bucket
}

func (g *group) policy() *Policy { return g.policies[g.version] }

// track is a slot.
type track struct {
	id      Slot
	g       *group
	slot    *slot // of the machine; nil until the step that makes it is over
	want    Want
	leaving bool
	live    []*fake // ordered or running
	state   State   // after the step before, or since
	counts  uint64  // the generation that counted then; 0: none
	policy  *Policy // that the slot had then
	view    View    // after the step before

	byHand    bool      // it was started whatever its pool waits for
	given     bool      // nothing ran in it when the pool was reconfigured
	reached   bool      // the rollout has come to it
	begun     bool      // or one whose place it has taken
	reachedAt int       // in this step
	loose     bool      // nothing ran in it at some time since
	taken     bool      // a rollout has taken its ready process away
	recycled  bool      // it is being recycled
	coolTill  time.Time // it is not recycled before

	seen     int         // View.Restarts after the step before
	restarts []time.Time // that nobody asked for, since the last start by hand
	rolled   *rollout    // the last one that reached it
}

// birth is a Spawn of the step at hand, and what the slot's version could be
// when it came.
type birth struct {
	tr            *track
	f             *fake
	version, from uint64
	rolling       bool
	policy        *Policy // of the pool
}

// recycle is what a slot begins to be recycled for.
type recycle struct {
	tr  *track
	why string
}

// asked is an op that is open.
type asked struct {
	ev      Event
	slots   []Slot // that it is to have results of
	refused bool   // it has one, which says why
}

func (w *world) addGroup(g *group) {
	w.groups = append(w.groups, g)
	w.byName[g.name] = g
}

// sized gives a group the tracks that it should have.
func (w *world) sized(g *group) {
	for n := 1; n <= g.size; n++ {
		id := Slot{g.name, n}
		if w.bySlot[id] == nil {
			tr := &track{id: id, g: g, want: Up, given: true, slot: w.m.slots[id], state: Stopped}
			w.tracks = append(w.tracks, tr)
			w.bySlot[id] = tr
		}
	}
}

// join finds the slots that the step has made.
func (w *world) join() {
	for _, tr := range w.tracks {
		if tr.slot == nil {
			if tr.slot = w.m.slots[tr.id]; tr.slot == nil {
				w.fail("gone: %v was not made", tr.id)
				tr.slot = &slot{m: w.m, id: tr.id}
			}
		}
	}
}

// of are the tracks of a group.
func (w *world) of(g *group, f func(*track)) {
	for _, tr := range w.tracks {
		if tr.g == g {
			f(tr)
		}
	}
}

// absence notes what the processes have to be excused for if the step comes late.
func (w *world) absence() {
	next := w.next()
	absent := w.now.Sub(later(next, w.last))
	w.last = w.now
	if next.IsZero() || absent <= lapse {
		return
	}
	w.seen[sawAbsence]++
	for _, tr := range w.tracks {
		for _, f := range tr.live {
			switch p := w.phaseOf(f); {
			case p == serving && !f.spared:
				f.spared, f.excused = true, w.steps
			case p == booting && f.running:
				f.bootBy = f.bootBy.Add(absent)
				if least := w.now.Add(min(readTime, f.policy.Boot)); !f.spared && f.bootBy.Before(least) {
					f.bootBy, f.spared = least, true
				}
			}
		}
	}
}

// before notes what an event means for the world, whatever the machine makes
// of it.
func (w *world) before(ev Event) {
	switch ev := ev.(type) {
	case Order:
		w.ordered(ev)
	case Resize:
		g := w.byName[ev.Pool]
		if w.asks(ev.Op, ev, g == nil || g.leaving) {
			w.resized(ev.Op, g, ev.To)
		}
	case AddPool:
		w.poolAdded(ev)
	case RemovePool:
		g := w.byName[ev.Pool]
		if w.asks(ev.Op, ev, g == nil || g.leaving) {
			g.leaving = true
			w.resized(ev.Op, g, 0)
		}
	case Reconfigure:
		g := w.byName[ev.Pool]
		if w.asks(ev.Op, ev, g == nil || g.leaving) {
			g.after = ev.After
			w.reconfigured(g, ev)
		}
	case Shutdown:
		w.shut, w.atOnce, w.ring = true, w.atOnce || ev.Now, w.ring || w.ringed()
	default:
		w.heard(ev)
	}
}

// heard notes what a process has said.
func (w *world) heard(ev Event) {
	switch ev := ev.(type) {
	case Spawned:
		if f := w.process(ev.ID); f != nil && !f.running {
			f.running, f.bootBy = true, w.now.Add(f.policy.Boot)
			f.live()
		}
	case SpawnFailed:
		if f := w.process(ev.ID); f != nil && !f.running {
			w.bury(f)
		}
	case Exited:
		if f := w.process(ev.ID); f != nil && f.running {
			w.bury(f)
		}
	case Greeted:
		if f := w.process(ev.ID); f != nil && !f.hello {
			f.hello = true
			if w.phaseOf(f) == serving && f.policy.Auto {
				f.bootBy = w.now.Add(f.policy.Boot)
			}
		}
	case Extended:
		if f := w.process(ev.ID); f != nil && w.phaseOf(f) == booting {
			f.bootBy = later(f.bootBy, w.now.Add(ev.By))
		}
	case SaidAlive:
		if f := w.process(ev.ID); f != nil {
			f.fed()
			f.spared = f.spared && w.phaseOf(f) != serving
		}
	case Ponged:
		if f := w.process(ev.ID); f != nil {
			f.spared = f.spared && w.phaseOf(f) != serving
		}
	}
}

// asks opens an op and reports whether it is not to be refused.
func (w *world) asks(op uint64, ev Event, refused bool) bool {
	refused = refused || w.shut
	w.open[op] = asked{ev: ev, refused: refused}
	return !refused
}

func (w *world) awaits(op uint64, id Slot) {
	a := w.open[op]
	a.slots = append(a.slots, id)
	w.open[op] = a
}

// ordered notes what an order makes of the slots' wants and budgets.
func (w *world) ordered(o Order) {
	w.open[o.Op] = asked{ev: o, slots: o.Slots}
	for _, id := range o.Slots {
		tr := w.bySlot[id]
		switch {
		case tr == nil:
		case o.Generation != 0 && o.Generation != tr.slot.shown():
		case o.Verb == Stop:
			tr.want = Down
		case w.shut, tr.leaving, o.Verb == Restart && (o.Roll || len(o.Slots) > 1):
		case o.Verb == Restart || tr.want == Down || tr.state != Ready:
			tr.want, tr.restarts, tr.byHand = Up, nil, true
		}
	}
}

func (w *world) resized(op uint64, g *group, to int) {
	g.size = to
	w.of(g, func(tr *track) {
		switch {
		case tr.id.N > to:
			tr.leaving, tr.want = true, Down
			w.awaits(op, tr.id)
		case tr.leaving: // it has another process, of what the pool has now
			tr.leaving, tr.want, tr.given, tr.reached, tr.begun, tr.restarts, tr.byHand = false, Up, true, false, false, nil, false
			w.awaits(op, tr.id)
		}
	})
	for n := 1; n <= to; n++ {
		if id := (Slot{g.name, n}); w.bySlot[id] == nil {
			w.awaits(op, id)
		}
	}
	w.sized(g)
}

func (w *world) poolAdded(ev AddPool) {
	g := w.byName[ev.Pool]
	if !w.asks(ev.Op, ev, g != nil && !g.leaving) {
		return
	}
	if g == nil {
		g = &group{name: ev.Pool, policies: map[uint64]*Policy{ev.Version: w.made}, bad: map[uint64]bool{}}
		w.addGroup(g)
	}
	g.version, g.after, g.leaving, g.rolling, g.restarts = ev.Version, ev.After, false, false, nil
	g.released = w.upAll(g)
	w.resized(ev.Op, g, ev.Slots)
}

func (w *world) reconfigured(g *group, ev Reconfigure) {
	was := g.version
	g.restarts = nil
	if ev.Roll {
		rolling := g.rolling
		if !rolling {
			g.from = g.version
		}
		g.rolling, g.version = true, ev.Version
		w.of(g, func(tr *track) {
			tr.given, tr.reached, tr.loose, tr.begun = tr.slot.idle() && !tr.leaving, false, false, tr.begun && rolling
			if !tr.leaving && !tr.given {
				w.awaits(ev.Op, tr.id)
			}
		})
		return
	}
	g.version = ev.Version
	w.of(g, func(tr *track) {
		for _, f := range tr.live {
			if f.version == was && tr.slot.version == was {
				f.version, f.policy, f.ripe = ev.Version, g.policy(), time.Time{}
			}
		}
	})
}

// passed: the slot was in this state, if only for a part of a step.
func (tr *track) passed(s State) {
	tr.taken = tr.taken && (s == Starting || s == Stopping)
	tr.loose = tr.loose || s == Stopped || s == Done
	if s != Stopping {
		tr.state = s
	}
}

// process is the live process of id, if it is there.
func (w *world) process(id ID) *fake {
	if tr := w.bySlot[id.Slot]; tr != nil {
		for _, f := range tr.live {
			if f.id == id {
				return f
			}
		}
	}
	return nil
}

func (w *world) bury(f *fake) {
	tr := w.bySlot[f.id.Slot]
	tr.live = slices.DeleteFunc(tr.live, func(l *fake) bool { return l == f })
}

// inside is what the machine has of a process; nil: nothing.
func (tr *track) inside(f *fake) *proc {
	for _, p := range tr.slot.procs() {
		if p != nil && p.id == f.id {
			return p
		}
	}
	return nil
}

func (w *world) phaseOf(f *fake) phase {
	if p := w.bySlot[f.id.Slot].inside(f); p != nil {
		return p.phase
	}
	return ordered
}

// upAll: what a group comes after is up.
func (w *world) upAll(g *group) bool {
	return !slices.ContainsFunc(g.after, func(name string) bool {
		b := w.byName[name]
		return b != nil && !w.up(b)
	})
}

func (w *world) up(g *group) bool {
	n, of := 0, 0
	w.of(g, func(tr *track) {
		if !tr.leaving {
			of++
			if tr.want == Up && (tr.slot.state == Ready || tr.slot.state == Done) {
				n++
			}
		}
	})
	return n >= min(max(g.policy().MinReady, 1), of)
}

// ringed: pools come after one another, so there is no order to stop them in.
func (w *world) ringed() bool {
	var from func(name string, depth int) bool
	from = func(name string, depth int) bool {
		g := w.byName[name]
		return g != nil && (depth == 0 || slices.ContainsFunc(g.after, func(a string) bool { return from(a, depth-1) }))
	}
	return slices.ContainsFunc(w.groups, func(g *group) bool { return from(g.name, len(w.groups)) })
}

// leaving counts the slots that are to be gone.
func (w *world) leaving() int {
	n := 0
	for _, tr := range w.tracks {
		if tr.leaving {
			n++
		}
	}
	return n
}

// lagging counts the ready processes that are not of their pool's version.
func (w *world) lagging() int {
	n := 0
	for _, tr := range w.tracks {
		if p := tr.slot.proc; p != nil && p.phase == serving && p.version != tr.g.version {
			n++
		}
	}
	return n
}
