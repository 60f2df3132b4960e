package lifecycle

import (
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sabotage breaks a machine on purpose. The zero value leaves it whole.
type sabotage struct {
	name    string
	event   func(*world, Event) Event              // what the machine is told
	effects func(*world, Event, []Effect) []Effect // what it is seen to say
	next    func(time.Time) time.Time              // when it is looked at again
	inside  func(*Machine)                         // what becomes of it after a step
	laws    string                                 // those that may find out
}

// without drops the effects for which lost is true.
func without(lost func(Effect) bool) func(*world, Event, []Effect) []Effect {
	return func(_ *world, _ Event, effects []Effect) []Effect { return slices.DeleteFunc(effects, lost) }
}

func procs(m *Machine, f func(*proc)) {
	for _, s := range m.order {
		if s.proc != nil {
			f(s.proc)
		}
	}
}

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
			s := w.m.slots[id]
			s.waiters = slices.DeleteFunc(s.waiters, func(wt waiter) bool { return wt.op.id == 1<<60 })
		}
	}
	return ev
}

var sabotages = []sabotage{
	{name: "SIGKILL is lost", laws: "stop",
		effects: without(func(e Effect) bool { s, ok := e.(Signal); return ok && s.Signal == syscall.SIGKILL })},
	{name: "the stop signal is lost", laws: "signal",
		effects: without(func(e Effect) bool { s, ok := e.(Signal); return ok && s.Signal != syscall.SIGKILL })},
	{name: "an order's answer is lost", laws: "settled",
		effects: without(func(e Effect) bool { _, ok := e.(Settled); return ok })},
	{name: "an order is answered twice", laws: "settled",
		effects: func(_ *world, _ Event, effects []Effect) []Effect {
			for _, e := range effects {
				if s, ok := e.(Settled); ok {
					return append(effects, s)
				}
			}
			return effects
		}},
	{name: "a late exit counts for the process that is there", laws: "two live, process",
		event: func(w *world, ev Event) Event {
			if e, ok := ev.(Exited); ok && w.bySlot[e.Slot] != nil && w.process(e.ID) == nil {
				e.Generation = w.bySlot[e.Slot].generation
				return e
			}
			return ev
		}},
	{name: "a word of another generation is heard", laws: "stale",
		event: func(w *world, ev Event) Event {
			if e, ok := ev.(HungUp); ok && w.bySlot[e.Slot] != nil && w.process(e.ID) == nil {
				e.Generation = w.bySlot[e.Slot].generation
				return e
			}
			return ev
		}},
	{name: "nothing is ever due", laws: "boot, stop, wedged", next: func(time.Time) time.Time { return time.Time{} }},
	{name: "no deadline is armed", laws: "timers", inside: func(m *Machine) {
		procs(m, func(p *proc) { p.deadline = time.Time{}; m.timers.set(p.slot, p.slot.nextTimer()) })
	}},
	{name: "a timer is forgotten", laws: "timers", inside: func(m *Machine) {
		if len(m.timers) > 2 {
			m.timers.set(m.timers[2], time.Time{})
		}
	}},
	{name: "the budget is forgotten", laws: "budget", inside: func(m *Machine) {
		for _, s := range m.order {
			s.recent = nil
		}
	}},
	{name: "a pool is restarted all at once", laws: "rollout", event: impatient},
	{name: "the end is told too soon", laws: "finished",
		effects: func(_ *world, ev Event, effects []Effect) []Effect {
			if _, ok := ev.(Shutdown); ok {
				return append(effects, Finished{})
			}
			return effects
		}},
	{name: "the end is not told", laws: "wedged",
		effects: without(func(e Effect) bool { _, ok := e.(Finished); return ok })},
	{name: "an operator's word is lost", laws: "want", event: func(_ *world, ev Event) Event {
		if o, ok := ev.(Order); ok && o.Verb == Stop {
			o.Verb = Restart
			return o
		}
		return ev
	}},
	{name: "a start under way is forgotten", laws: "process", inside: func(m *Machine) {
		procs(m, func(p *proc) {
			if p.phase == ordered {
				p.slot.proc = nil
			}
		})
	}},
}

// TestSimulationFindsSabotage shows that the laws are held: a machine that
// breaks one is found out, by that law.
func TestSimulationFindsSabotage(t *testing.T) {
	for _, s := range sabotages {
		t.Run(s.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for steps := 0; steps < 100_000; {
				w := newWorld(rng, s)
				w.run(2000)
				steps += w.steps
				if w.broken != "" {
					if law, _, _ := strings.Cut(w.broken, ":"); !slices.Contains(strings.Split(s.laws, ", "), law) {
						t.Fatalf("found by another law, after %d steps: %s\n%s", steps, w.broken, w.past())
					}
					t.Logf("after %d steps: %s", steps, w.broken)
					return
				}
			}
			t.Fatal("not found out")
		})
	}
}
