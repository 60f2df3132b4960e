package supervisor

import (
	"cmp"
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

var (
	simSteps = flag.Int("steps", 0, "steps of TestSimulation; 0: 50,000")
	simSeed  = flag.Uint64("seed", 0, "seed of TestSimulation's first world; 0: with -steps any, else 1")
)

// TestSimulation has workers, operators and callers do anything at any time to a
// supervisor that is whole but for its processes, and holds the laws after every
// step. Without flags it tells what a change broke; with -steps it looks for what
// nobody has seen yet.
func TestSimulation(t *testing.T) {
	most, seed := cmp.Or(*simSteps, 50_000), *simSeed
	switch {
	case seed != 0:
	case *simSteps > 0:
		seed = rand.Uint64()
	default:
		seed = 1
	}
	steps, worlds, seen := 0, 0, map[string]int{}
	for ; steps < most; seed++ {
		var w *world
		synctest.Test(t, func(t *testing.T) {
			w = newWorld(seed, simSabotage{})
			w.run(200 + w.rng.IntN(1000))
		})
		if w.broken != "" {
			t.Fatalf("seed %d, step %d: %s\n%s", seed, w.steps, w.broken, w.past)
		}
		steps, worlds = steps+w.steps, worlds+1
		for what, n := range w.seen {
			seen[what] += n
		}
	}
	t.Logf("%d steps in %d worlds, up to seed %d: %v", steps, worlds, seed-1, seen)
	for _, what := range []string{
		"command", "retried", "lost", "timeout", "canceled", "overloaded", "unavailable", "no",
		"state", "exit", "suspect", "hung", "responsive", "kill", "beside", "swap", "rollout", "gone",
	} {
		if most >= 20_000 && seen[what] == 0 {
			t.Errorf("there was no %s", what)
		}
	}
}

// TestSimulationFindsSabotage shows that the laws are held.
func TestSimulationFindsSabotage(t *testing.T) {
	for _, s := range []simSabotage{
		{name: "SIGKILL does not arrive", deafToKill: true, laws: "stop, shutdown"},
		{name: "it is said of what was started that it was not", liesOfStarts: true, laws: "retry, started"},
		{name: "a start makes two processes", startsTwo: true, laws: "live"},
		{name: "an exit is not told", forgetsExit: true, laws: "stop, shutdown, live"},
		{name: "an answer does not come, nor a deadline", swallows: true, laws: "one"},
		{name: "a place is not given back", keepsPlaces: true, laws: "gate, one"},
		{name: "late words count", lateCounts: true, laws: "late"},
	} {
		t.Run(s.name, func(t *testing.T) {
			for seed := range uint64(200) {
				var w *world
				synctest.Test(t, func(t *testing.T) {
					w = newWorld(seed, s)
					w.run(1000)
				})
				if w.broken == "" {
					continue
				}
				if law, _, _ := strings.Cut(w.broken, ":"); !slices.Contains(strings.Split(s.laws, ", "), law) {
					t.Fatalf("seed %d: found by another law: %s", seed, w.broken)
				}
				t.Logf("seed %d, step %d: %s", seed, w.steps, w.broken)
				return
			}
			t.Fatal("not found out")
		})
	}
}
