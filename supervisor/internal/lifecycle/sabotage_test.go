package lifecycle

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// sabotage breaks a machine on purpose. The zero value leaves it whole.
type sabotage struct {
	name    string
	policy  func(*Policy)                          // what it goes by, instead of what was asked for
	event   func(*world, Event) Event              // what it is told
	effects func(*world, Event, []Effect) []Effect // what it is seen to say
	next    func(time.Time) time.Time              // when it is looked at again
	inside  func(*Machine)                         // what becomes of it after a step
	laws    string                                 // those that may find out
}

// without drops the effects for which lost is true.
func without(lost func(Effect) bool) func(*world, Event, []Effect) []Effect {
	return func(_ *world, _ Event, effects []Effect) []Effect { return slices.DeleteFunc(effects, lost) }
}

// twice repeats the first effect for which f is true.
func twice(f func(Effect) bool) func(*world, Event, []Effect) []Effect {
	return func(_ *world, _ Event, effects []Effect) []Effect {
		if i := slices.IndexFunc(effects, f); i >= 0 {
			return append(effects, effects[i])
		}
		return effects
	}
}

// deaf keeps events from the machine.
func deaf(to func(Event) bool) func(*world, Event) Event {
	return func(_ *world, ev Event) Event {
		if to(ev) {
			return Greeted{} // of no process
		}
		return ev
	}
}

func is[T any](x any) bool { _, ok := x.(T); return ok }

func isEffect[T Effect](e Effect) bool { return is[T](e) }
func isEvent[T Event](e Event) bool    { return is[T](e) }

func slots(f func(*slot)) func(*Machine) {
	return func(m *Machine) {
		for _, s := range m.order {
			f(s)
		}
	}
}

func procs(f func(*proc)) func(*Machine) {
	return slots(func(s *slot) {
		for _, p := range s.procs() {
			if p != nil {
				f(p)
			}
		}
	})
}

func pools(f func(*pool)) func(*Machine) {
	return func(m *Machine) {
		for _, p := range m.inOrder {
			f(p)
		}
	}
}

// TestSimulationFindsSabotage shows that the laws are held: a machine that
// breaks one is found out, by that law.
func TestSimulationFindsSabotage(t *testing.T) {
	const most = 1_000_000
	for _, s := range slices.Concat(sabotages, poolSabotages) {
		t.Run(s.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			for steps := 0; steps < most; {
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
