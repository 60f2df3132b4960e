package lifecycle

import (
	"slices"
	"strings"
	"syscall"
	"time"
)

// impatient restarts the slots of an order all at once.
func impatient(w *world, ev Event) Event {
	if o, ok := ev.(Order); ok && o.Verb == Restart && len(o.Slots) > 1 {
		for _, id := range o.Slots[1:] {
			for _, e := range slices.Clone(w.m.Step(w.now, Order{Op: 1 << 60, Verb: Restart, Slots: []Slot{id}})) {
				if _, own := e.(Settled); !own {
					w.carryOut(e)
				}
			}
			delete(w.m.ops, 1<<60)
			if s := w.m.slots[id]; s != nil {
				s.waiters = slices.DeleteFunc(s.waiters, func(wt waiter) bool { return wt.op.id == 1<<60 })
			}
		}
	}
	return ev
}

// newest makes a late event one of the newest process of its slot.
func newest(w *world, id ID) ID {
	if tr := w.bySlot[id.Slot]; tr != nil && w.process(id) == nil {
		id.Generation = tr.slot.shown()
	}
	return id
}

// Those of a slot and its processes.
var sabotages = []sabotage{
	{name: "SIGKILL is lost", laws: "stop",
		effects: without(func(e Effect) bool { s, ok := e.(Signal); return ok && s.Signal == syscall.SIGKILL })},
	{name: "the stop signal is lost", laws: "signal",
		effects: without(func(e Effect) bool { s, ok := e.(Signal); return ok && s.Signal != syscall.SIGKILL })},
	{name: "an order's answer is lost", laws: "settled", effects: without(isEffect[Settled])},
	{name: "an order is answered twice", laws: "settled", effects: twice(isEffect[Settled])},
	{name: "a slot's answer is lost", laws: "settled", effects: func(_ *world, _ Event, effects []Effect) []Effect {
		for i, e := range effects {
			if s, ok := e.(Settled); ok && len(s.Results) > 0 {
				effects[i] = Settled{s.Op, s.Results[1:]}
			}
		}
		return effects
	}},
	{name: "a late exit counts for the process that is there", laws: "two live, process",
		event: func(w *world, ev Event) Event {
			if e, ok := ev.(Exited); ok {
				e.ID = newest(w, e.ID)
				return e
			}
			return ev
		}},
	{name: "a word of another generation is heard", laws: "stale",
		event: func(w *world, ev Event) Event {
			if e, ok := ev.(HungUp); ok {
				e.ID = newest(w, e.ID)
				return e
			}
			return ev
		}},
	{name: "nothing is ever due", laws: "boot, stop, wedged", next: func(time.Time) time.Time { return time.Time{} }},
	{name: "no deadline is armed", laws: "timers", inside: procs(func(p *proc) {
		p.deadline = time.Time{}
		p.slot.m.timers.set(p.slot, p.slot.nextTimer())
	})},
	{name: "a timer is forgotten", laws: "timers", inside: func(m *Machine) {
		if len(m.timers) > 2 {
			m.timers.set(m.timers[2], time.Time{})
		}
	}},
	{name: "a change is not told", laws: "view", inside: slots(func(s *slot) { s.dirty = s.dirty && s.state != Ready })},
	{name: "the budget is forgotten", laws: "budget", inside: slots(func(s *slot) { s.recent = nil })},
	{name: "the end is told too soon", laws: "finished",
		effects: func(_ *world, ev Event, effects []Effect) []Effect {
			if isEvent[Shutdown](ev) {
				return append(effects, Finished{})
			}
			return effects
		}},
	{name: "the end is not told", laws: "wedged", effects: without(isEffect[Finished])},
	{name: "an operator's word is lost", laws: "want", event: func(_ *world, ev Event) Event {
		if o, ok := ev.(Order); ok && o.Verb == Stop {
			o.Verb = Restart
			return o
		}
		return ev
	}},
	{name: "a start under way is forgotten", laws: "state, process", inside: slots(func(s *slot) {
		if s.proc != nil && s.proc.phase == ordered {
			s.proc = nil
		}
	})},
	{name: "a boot may last longer", laws: "boot", policy: func(p *Policy) { p.Boot *= 2 }},
	{name: "a boot may not last so long", laws: "boot", policy: func(p *Policy) { p.Boot /= 2 }},
	{name: "more time to boot is not given", laws: "boot", event: deaf(isEvent[Extended])},
	{name: "a stop may last longer", laws: "stop", policy: func(p *Policy) { p.StopTimeout *= 2 }},
	{name: "a dump is asked for otherwise", laws: "signal", policy: func(p *Policy) {
		if p.Dump != 0 {
			p.Dump = syscall.SIGABRT
		}
	}},
	{name: "an absence is passed over", laws: "absence, boot", inside: procs(func(p *proc) { p.spared = true })},
	{name: "a stop is put off too", laws: "stop", inside: procs(func(p *proc) {
		if p.phase > serving && p.slot.m.absent > 0 {
			p.deadline = p.deadline.Add(p.slot.m.absent)
			p.slot.m.timers.set(p.slot, p.slot.nextTimer())
		}
	})},
	{name: "the watchdog is not fed", laws: "watchdog", event: deaf(isEvent[SaidAlive])},
	{name: "a generation comes again", laws: "generation", inside: func(m *Machine) { clear(m.generations) }},
}

// Those of pools and rollouts.
var poolSabotages = []sabotage{
	{name: "a pool is restarted all at once", laws: "missing, want", event: impatient},
	{name: "too many are missing", laws: "missing", policy: func(p *Policy) { p.Unavailable += 2 }},
	{name: "too many are beside", laws: "surge", policy: func(p *Policy) { p.Surge += 2 }},
	{name: "a new one takes the place too soon", laws: "soak", policy: func(p *Policy) { p.Soak = 0 }},
	{name: "one beside is not wanted and stays", laws: "two live", inside: slots(func(s *slot) {
		if s.next != nil && !turning(s) {
			s.next.asked = false
		}
	})},
	{name: "one is beside and nobody is told", laws: "two live",
		effects: without(func(e Effect) bool { a, ok := e.(Announce); return ok && a.Kind == KindBeside })},
	{name: "an old one stays", laws: "two live", inside: slots(func(s *slot) {
		if s.old != nil {
			s.old.asked = false
		}
	})},
	{name: "a rollout is forgotten", laws: "two live, version, wedged", inside: pools(func(p *pool) { p.rollouts = nil })},
	{name: "a slot has a version too soon", laws: "version", inside: slots(func(s *slot) { s.policy, s.version = s.pool.policy, s.pool.version })},
	{name: "the way back is not gone", laws: "version", inside: pools(func(p *pool) {
		p.rollouts = slices.DeleteFunc(p.rollouts, func(r *rollout) bool { return r.aim == reverting })
	})},
	{name: "the way back is gone once and not again", laws: "version, recycle", inside: procs(func(p *proc) {
		if strings.HasPrefix(p.due, "it runs another") {
			p.due = ""
		}
	})},
	{name: "what a version has brought down stays so", laws: "reverted", inside: pools(func(p *pool) {
		for _, r := range p.rollouts {
			r.begun = nil
		}
	})},
	{name: "the way back is not told", laws: "version", effects: without(isEffect[Reverted])},
	{name: "the way back is told too often", laws: "reverted", effects: twice(isEffect[Reverted])},
	{name: "a configuration is lost", laws: "version", event: func(_ *world, ev Event) Event {
		if e, ok := ev.(Reconfigure); ok && !e.Roll {
			e.Version--
			return e
		}
		return ev
	}},
	{name: "no bucket", laws: "bucket", policy: func(p *Policy) { p.RestartEvery = 0 }},
	{name: "a bucket that leaks", laws: "bucket", policy: func(p *Policy) { p.RestartEvery /= 2 }},
	{name: "workers are recycled too young", laws: "age", policy: func(p *Policy) { p.Age /= 2 }},
	{name: "workers are recycled together", laws: "recycle", inside: pools(func(p *pool) {
		if len(p.rollouts) > 0 && p.rollouts[0].aim == recycling {
			p.rollouts[0].slots = append(p.rollouts[0].slots, p.dues...)
			p.dues = nil
		}
	})},
	{name: "a worker is recycled again at once", laws: "recycle", inside: slots(func(s *slot) {
		if p := s.proc; p != nil && p.due != "" && !p.ageAt.IsZero() && p.phase == serving {
			s.recycleNot, p.ageAt = time.Time{}, s.m.now
			s.m.timers.set(s, s.nextTimer())
		}
	})},
	{name: "who is due is forgotten", laws: "recycle", inside: pools(func(p *pool) { p.dues = nil })},
	{name: "a pool does not wait", laws: "after", inside: pools(func(p *pool) { p.after = nil })},
	{name: "a pool is up too soon", laws: "after", policy: func(p *Policy) { p.MinReady = 0 }},
	{name: "a pool waits too long", laws: "after", inside: pools(func(p *pool) {
		if p.held {
			p.after = []string{p.name}
		}
	})},
	{name: "pools are stopped in any order", laws: "after", inside: pools(func(p *pool) {
		if p.m.stopping {
			p.after = nil
		}
	})},
	{name: "a slot is gone twice", laws: "gone", effects: twice(isEffect[Gone])},
	{name: "a slot is gone and nobody is told", laws: "gone", effects: without(isEffect[Gone])},
	{name: "a slot is gone too soon", laws: "gone", effects: func(w *world, ev Event, effects []Effect) []Effect {
		if e, ok := ev.(Resize); ok && w.m.slots[Slot{e.Pool, e.To + 1}] != nil {
			return append(effects, Gone{Slot{e.Pool, e.To + 1}})
		}
		return effects
	}},
	{name: "a slot is never gone", laws: "gone", inside: pools(func(p *pool) { p.shrinking = false })},
}
