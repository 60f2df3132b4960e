package lifecycle

import (
	"slices"
	"syscall"
	"time"
)

// track is what the laws know of a slot beside the machine.
type track struct {
	slot       *slot
	want       Want
	generation uint64
	live       *fake // ordered or running; nil: none
	state      State // after the step before

	seen     int         // View.Restarts after the step before
	restarts []time.Time // that nobody asked for, since the last start by hand
	rolled   *rollout    // the last one that reached it
	rolling  bool        // it is down because of a rollout
}

// before notes what an event means for the world, whatever the machine makes
// of it.
func (w *world) before(ev Event) {
	switch ev := ev.(type) {
	case Spawned:
		if f := w.process(ev.ID); f != nil && !f.running {
			f.running, f.starting = true, w.now
			f.live()
		}
	case SpawnFailed:
		if f := w.process(ev.ID); f != nil && !f.running {
			w.bySlot[ev.Slot].live = nil
		}
	case Exited:
		if f := w.process(ev.ID); f != nil && f.running {
			w.bySlot[ev.Slot].live = nil
		}
	case Greeted:
		if f := w.process(ev.ID); f != nil && !f.hello {
			f.hello = true
			if w.bySlot[ev.Slot].state == Ready && f.policy.Auto {
				f.starting = w.now
			}
		}
	case Order:
		w.open[ev.Op] = ev
		w.ordered(ev)
	case Shutdown:
		w.shut, w.atOnce = true, w.atOnce || ev.Now
		for _, tr := range w.places {
			tr.want = Down
		}
	}
}

// ordered notes what an order makes of the slots' wants and budgets.
func (w *world) ordered(o Order) {
	for _, id := range o.Slots {
		tr := w.bySlot[id]
		stale := o.Generation != 0 && o.Generation != tr.generation
		several := o.Verb == Restart && len(o.Slots) > 1
		switch {
		case stale, several, w.shut && o.Verb != Stop:
		case o.Verb == Stop:
			tr.want = Down
		case o.Verb == Restart || tr.want == Down || tr.state != Ready:
			tr.want, tr.restarts = Up, nil
		}
	}
}

// process is the live process of id, if that is the one there.
func (w *world) process(id ID) *fake {
	if tr := w.bySlot[id.Slot]; tr != nil && tr.live != nil && tr.live.id == id {
		return tr.live
	}
	return nil
}

// carryOut is the shell: it does what an effect says and holds it to the laws.
func (w *world) carryOut(e Effect) {
	switch e := e.(type) {
	case Spawn:
		tr := w.bySlot[e.Slot]
		switch {
		case tr.live != nil:
			w.fail("two live: %v is spawned while %v is there", e.ID, tr.live.id)
		case e.Generation != tr.generation+1:
			w.fail("generation: %v after %d", e.ID, tr.generation)
		case w.shut:
			w.fail("shutdown: %v is spawned after it", e.ID)
		case tr.want == Down:
			w.fail("want: %v is spawned, and the slot is wanted down", e.ID)
		}
		tr.generation = e.Generation
		tr.live = w.order(e.ID, tr.slot.policy)
	case Drain:
		if f := w.target(e.ID, draining, e); f != nil {
			if f.drained || !f.hello {
				w.fail("drain: %v twice, or without a connection", e.ID)
			}
			f.drained = true
			f.carryOut(e)
		}
	case Signal:
		w.signal(e)
	case Ping:
		if f := w.target(e.ID, serving, e); f != nil {
			if !f.hello {
				w.fail("ping: %v is a plain worker", e.ID)
			}
			f.carryOut(e)
		}
	case Settled:
		w.settled(e)
	case Announce:
		if e.Kind == KindRollout {
			w.bySlot[e.Slot].rolling = false
		}
	case Finished:
		if w.finished || !w.shut || slices.ContainsFunc(w.places, func(tr *track) bool { return tr.live != nil }) {
			w.fail("finished: twice, unasked, or while a process is there")
		}
		w.finished = true
	}
}

// target is the process that an effect is for, if it is there. What is done to
// it only ever goes forward.
func (w *world) target(id ID, rank phase, e Effect) *fake {
	f := w.process(id)
	switch {
	case f == nil || !f.running:
		w.fail("stale: %s is for no process that runs", inFull(e))
		return nil
	case rank < f.rank:
		w.fail("backwards: %s after step %d", inFull(e), f.rank)
	}
	f.rank = rank
	return f
}

func (w *world) signal(e Signal) {
	rank := terminating
	if e.Signal == syscall.SIGKILL {
		rank = killing
	}
	f := w.target(e.ID, rank, e)
	if f == nil {
		return
	}
	switch {
	case rank == terminating && (f.signaled || e.Signal != f.policy.StopSignal):
		w.fail("signal: %+v twice, or the wrong one", e)
	case rank == killing && !f.signaled && !w.atOnce:
		w.fail("signal: SIGKILL for %v, which had no chance", e.ID)
	}
	f.signaled = f.signaled || rank == terminating
	f.killed = f.killed || rank == killing
	f.carryOut(e)
}

func (w *world) settled(e Settled) {
	o, open := w.open[e.Op]
	delete(w.open, e.Op)
	if !open || len(e.Results) != len(o.Slots) {
		w.fail("settled: %+v, twice or not what was asked: %+v", e, o)
		return
	}
	for i, r := range e.Results {
		s := w.bySlot[r.Slot].slot
		switch {
		case r.Slot != o.Slots[i], r.Outcome == "":
			w.fail("settled: result %d of %+v", i, e)
		case r.Outcome == OutcomeFailed && r.Text == "":
			w.fail("settled: %+v does not say why", r)
		case len(o.Slots) > 1: // the world may have gone on since its part was done
		case o.Verb == Stop && r.Outcome == OutcomeDone && (s.state != Stopped || s.want != Down):
			w.fail("settled: %+v, but it is %v", r, s.state)
		case o.Verb != Stop && r.Outcome == OutcomeDone && s.proc == nil && s.state != Done:
			w.fail("settled: %+v, but it is %v", r, s.state)
		}
	}
}

// check holds every slot to the laws, after a step.
func (w *world) check() {
	if w.broken != "" {
		return
	}
	past := w.next()
	current := past.IsZero() || past.After(w.now) // nothing that is due has been left undone
	first, waiting := time.Time{}, 0
	for _, tr := range w.places {
		w.checkBooks(tr)
		w.checkTimers(tr)
		if current {
			w.checkDeadlines(tr)
		}
		w.checkBudget(tr)
		first = earlier(first, tr.slot.timerAt)
		waiting += len(tr.slot.waiters)
	}
	for _, p := range w.m.inOrder {
		for _, r := range p.rollouts {
			for _, t := range r.turns {
				w.bySlot[t.slot.id].rolledBy(r)
			}
		}
	}
	w.checkRollouts()
	left := 0
	for _, o := range w.m.ops {
		left += o.left
	}
	switch {
	case !first.Equal(w.m.Next()):
		w.fail("timers: the next is at %v, the heap says %v", first, w.m.Next())
	case left != waiting || len(w.m.ops) != len(w.open):
		w.fail("settled: %d open orders wait for %d slots, of which %d know", len(w.open), left, waiting)
	}
	for _, tr := range w.places {
		tr.state = tr.slot.state
	}
}

// rolledBy notes that a rollout has reached the slot, which forgives what was.
func (tr *track) rolledBy(r *rollout) {
	if tr.rolled != r {
		tr.rolled, tr.restarts = r, nil
	}
}

// checkRollouts: at most one slot of a pool that was ready is down because of a
// restart of several.
func (w *world) checkRollouts() {
	for _, pool := range w.pools {
		n := 0
		for _, id := range pool {
			tr := w.bySlot[id]
			o, _ := w.history[w.steps%len(w.history)].ev.(Order)
			byName := o.Verb == Restart && len(o.Slots) == 1
			if tr.state == Ready && tr.slot.state == Stopping && tr.slot.reason == "restarted by hand" && !byName {
				tr.rolling = true
			}
			switch tr.slot.state {
			case Starting, Stopping:
				tr.rolling = tr.rolling && tr.want == Up
			default:
				tr.rolling = false
			}
			if tr.rolling {
				n++
			}
		}
		if n > 1 {
			w.fail("rollout: %d slots of pool %s are down because of it", n, pool[0].Pool)
		}
	}
}
