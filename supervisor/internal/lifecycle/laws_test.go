package lifecycle

import (
	"slices"
	"strings"
	"syscall"
)

// The laws for what the machine says, as it says it.

// carryOut is the shell: it does what an effect says and holds it to the laws.
func (w *world) carryOut(e Effect) {
	switch e := e.(type) {
	case Spawn:
		w.spawned(e)
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
		w.announced(e)
	case Gone:
		w.gone(e)
	case Reverted:
		g := w.byName[e.Pool]
		if g == nil || !g.rolling || e.Version != g.from {
			w.fail("reverted: %+v, the pool is %+v", e, g)
			return
		}
		g.version, g.rolling, w.reverted, g.restarts = g.from, false, g.name, nil
		w.seen[sawReverted]++
	case Finished:
		if w.finished || !w.shut || slices.ContainsFunc(w.tracks, func(tr *track) bool { return len(tr.live) > 0 }) {
			w.fail("finished: twice, unasked, or while a process is there")
		}
		w.finished = true
	}
}

func (w *world) spawned(e Spawn) {
	tr := w.bySlot[e.Slot]
	switch {
	case tr == nil:
		w.fail("gone: %v is spawned in no slot", e.ID)
		return
	case len(tr.live) > 1:
		w.fail("two live: %v is spawned while %v and %v are there", e.ID, tr.live[0].id, tr.live[1].id)
	case e.Generation != w.generations[e.Slot]+1:
		w.fail("generation: %v after %d", e.ID, w.generations[e.Slot])
	case w.shut:
		w.fail("shutdown: %v is spawned after it", e.ID)
	case tr.want == Down:
		w.fail("want: %v is spawned, and the slot is wanted down", e.ID)
	case tr.g.policies[e.Version] == nil:
		w.fail("version: %v is spawned of version %d, which pool %s never had", e.ID, e.Version, tr.g.name)
		return
	}
	w.generations[e.Slot] = e.Generation
	f := w.order(e, tr.g.policies[e.Version], tr.g.bad[e.Version])
	tr.live = append(tr.live, f)
	w.spawns = append(w.spawns, birth{tr, f, tr.g.version, tr.g.from, tr.g.rolling, tr.g.policy()})
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
	switch {
	case e.Signal == syscall.SIGKILL:
		rank = killing
	case e.Leader:
		rank = dumping
	}
	f := w.target(e.ID, rank, e)
	if f == nil {
		return
	}
	switch {
	case rank == dumping && (f.dumped || e.Signal != f.policy.Dump || f.drained):
		w.fail("signal: %+v for a dump, twice or not as asked", e)
	case rank == terminating && (f.signaled || e.Signal != f.policy.StopSignal):
		w.fail("signal: %+v twice, or the wrong one", e)
	case rank == killing && !f.signaled && !w.atOnce:
		w.fail("signal: SIGKILL for %v, which had no chance", e.ID)
	}
	if rank == dumping {
		w.seen[sawDump]++
	}
	f.dumped = f.dumped || rank == dumping
	f.signaled = f.signaled || rank == terminating
	f.killed = f.killed || rank == killing
	f.carryOut(e)
}

// announced holds the laws of what the announcements tell of rollouts.
func (w *world) announced(e Announce) {
	tr := w.bySlot[e.Slot]
	if tr == nil {
		w.fail("gone: %+v", e)
		return
	}
	switch e.Kind {
	case KindState:
		state, _, _ := strings.Cut(e.Text, ":")
		tr.passed(State(state))
	case KindBeside:
		w.besides++
		if strings.Contains(e.Text, "recycled: ") {
			w.recycles = append(w.recycles, recycle{tr, e.Text})
		}
	case KindSwap:
		w.seen[sawSwap]++
		f := w.process(ID{e.Slot, e.Generation})
		if f == nil || len(tr.live) > 1 && f.policy.Soak > 0 && (f.readyAt.IsZero() || w.now.Sub(f.readyAt) < f.policy.Soak) {
			w.fail("soak: %+v, ready since %v", e, f)
		}
	case KindRollout:
		w.seen[sawAbort]++
		tr.recycled = false
		if strings.HasPrefix(e.Text, "recycled: ") {
			tr.coolTill = w.now.Add(recycleAgain)
		}
	case KindHung:
		f := w.process(ID{e.Slot, e.Generation})
		if f != nil && f.excused == w.steps && !strings.Contains(e.Text, "beat") {
			w.fail("absence: %+v, and it may have said something", e)
		}
		if f == nil || strings.Contains(e.Text, "WATCHDOG") && w.now.Sub(later(f.aliveAt, f.readyAt)) < f.policy.Beat {
			w.fail("watchdog: %+v, it said so at %v", e, f.aliveAt)
		}
	}
}

func (w *world) gone(e Gone) {
	tr := w.bySlot[e.Slot]
	if tr == nil || !tr.leaving || len(tr.live) > 0 {
		w.fail("gone: %+v, there is %+v", e, tr)
		return
	}
	w.seen[sawGone]++
	delete(w.bySlot, e.Slot)
	w.tracks = slices.DeleteFunc(w.tracks, func(other *track) bool { return other == tr })
}

func (w *world) settled(e Settled) {
	o, open := w.open[e.Op]
	delete(w.open, e.Op)
	if !open {
		w.fail("settled: %+v, twice or not what was asked", e)
		return
	}
	if o.refused {
		if len(e.Results) != 1 || e.Results[0].Outcome != OutcomeFailed || e.Results[0].Text == "" {
			w.fail("settled: %+v, %+v is to be refused", e, o)
		}
		return
	}
	left := slices.Clone(o.slots)
	for _, r := range e.Results {
		i := slices.Index(left, r.Slot)
		switch {
		case i < 0, r.Outcome == "":
			w.fail("settled: %+v of %+v, asked for %+v", r, e, o)
			return
		case (r.Outcome == OutcomeFailed || r.Outcome == OutcomeUnchanged) && r.Text == "":
			w.fail("settled: %+v does not say why", r)
		}
		left = slices.Delete(left, i, i+1)
		w.settledSlot(o, r)
	}
	if len(left) > 0 {
		w.fail("settled: %+v is without %v", e, left)
	}
}

// settledSlot: what is said to be done is so, unless the world may have gone on
// since its part was.
func (w *world) settledSlot(o asked, r Result) {
	tr := w.bySlot[r.Slot]
	if tr == nil || r.Outcome != OutcomeDone {
		return
	}
	s := tr.slot
	ev, ordered := o.ev.(Order)
	c, changed := o.ev.(Reconfigure)
	switch {
	case changed && w.reverted == c.Pool:
		w.fail("settled: %+v, but the configuration is reverted", r)
	case !ordered || len(ev.Slots) > 1:
	case ev.Verb == Stop && (s.state != Stopped || s.want != Down):
		w.fail("settled: %+v, but it is %v", r, s.state)
	case ev.Verb != Stop && s.proc == nil && s.state != Done:
		w.fail("settled: %+v, but it is %v", r, s.state)
	}
}
