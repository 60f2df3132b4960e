package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/brood/ipc"
)

// shape is what there is of a pool: each slot with its generation and, if it is
// not ready, its state.
func shape(s *Supervisor, pool string) string {
	for _, p := range s.Status().Pools {
		if p.Name != pool {
			continue
		}
		var all []string
		for _, w := range p.Slots {
			text := fmt.Sprintf("%d#%d", w.Slot, w.Generation)
			if !w.Ready {
				text += " " + string(w.State)
			}
			all = append(all, text)
		}
		return strings.Join(all, ", ")
	}
	return "none"
}

func isShape(t *testing.T, s *Supervisor, pool, want string) {
	t.Helper()
	await(t, s, pool+" to be "+want, func(Status) bool { return shape(s, pool) == want })
}

// Scale touches only what is too much or too little. A number that was given to
// a process is never given to another.
func TestScale(t *testing.T) {
	s := run(t, Config{Pools: []Pool{echoes(2), pool("other", "echo", 1)}})
	await(t, s, "all ready", allReady)
	ctx := within(t, time.Minute)
	for _, c := range []struct {
		to              int
		outcomes, shape string
	}{
		{4, "done done", "1#1, 2#1, 3#1, 4#1"},
		{4, "", "1#1, 2#1, 3#1, 4#1"},
		{1, "done done done", "1#1"},
		{3, "done done", "1#1, 2#2, 3#2"},
	} {
		results, err := s.Scale(ctx, "web", c.to)
		if err != nil || outcomes(results) != c.outcomes {
			t.Fatalf("to %d: %+v, %v, want %s", c.to, results, err, c.outcomes)
		}
		if got := shape(s, "web"); got != c.shape {
			t.Errorf("to %d: %s, want %s", c.to, got, c.shape)
		}
	}
	if got := shape(s, "other"); got != "1#1" {
		t.Errorf("the other pool: %s", got)
	}
	if _, err := s.Call(ctx, target(t, "web/3"), "echo", ipc.Text("x")); err != nil {
		t.Error(err)
	}
	var fault *FieldError
	for _, n := range []int{0, -1, 1 << 20} {
		if _, err := s.Scale(ctx, "web", n); !errors.As(err, &fault) {
			t.Errorf("to %d: %v", n, err)
		}
	}
	if _, err := s.Scale(ctx, "nobody", 1); !errors.Is(err, ErrNoTarget) {
		t.Error(err)
	}
}

// rolled is echoes with a rollout that wastes no time.
func rolled(name string, n int) Pool {
	p := pool(name, "echo", n)
	p.Rollout = besideIt
	return p
}

// A reload touches only what has changed, and says what that is, before and
// after.
func TestReload(t *testing.T) {
	before := []Pool{rolled("same", 1), rolled("kept", 1), rolled("rolled", 2), rolled("scaled", 1), rolled("gone", 1)}
	s := run(t, Config{Pools: before})
	await(t, s, "all ready", allReady)
	after := slices.Clone(before[:4])
	after[1].Stop.Timeout = time.Minute
	after[2].Env = map[string]string{"MODE": "second"}
	after[3].Workers = 2
	cfg := Config{Pools: append(after, rolled("new", 1))}
	want := "same unchanged [], kept inplace [stop], rolled roll [env], scaled scale [], new add [], gone remove []"
	told := func(changes []Change) string {
		var all []string
		for _, c := range changes {
			all = append(all, fmt.Sprint(c.Pool, " ", c.Kind, " ", c.Fields))
		}
		return strings.Join(all, ", ")
	}
	plan, err := s.Plan(cfg)
	if err != nil || told(plan) != want {
		t.Fatalf("plan: %s, %v", told(plan), err)
	}
	for _, p := range before {
		if got := shape(s, p.Name); strings.Contains(got, "#2") {
			t.Errorf("the plan has touched %s: %s", p.Name, got)
		}
	}
	ctx := within(t, time.Minute)
	changes, err := s.Reload(ctx, cfg)
	if err != nil || told(changes) != want {
		t.Fatalf("%s, %v", told(changes), err)
	}
	for _, c := range changes {
		if c.Failed() {
			t.Errorf("%+v", c)
		}
	}
	for pool, want := range map[string]string{
		"same": "1#1", "kept": "1#1", "rolled": "1#2, 2#2", "scaled": "1#1, 2#1", "new": "1#1", "gone": "none",
	} {
		isShape(t, s, pool, want)
	}
	plan, err = s.Plan(cfg)
	if err != nil || strings.Count(told(plan), string(ChangeNone)) != 5 {
		t.Errorf("once more: %s, %v", told(plan), err)
	}
	if _, err := s.Reload(ctx, Config{}); err == nil {
		t.Error("a faulty configuration was taken")
	}
}

// A failed reload leaves what ran before running, and can be tried again.
func TestReloadThatFails(t *testing.T) {
	for name, rollout := range map[string]Rollout{"beside": besideIt, "in turn": inTurn} {
		t.Run(name, func(t *testing.T) {
			good := rolled("web", 3)
			good.Rollout = rollout
			s := run(t, Config{Pools: []Pool{good}, Log: discard()})
			await(t, s, "all ready", allReady)
			bad := good
			bad.Command = []string{"sh", "-c", "exit 3"}
			changes, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{bad}})
			if err != nil || !changes[0].Failed() {
				t.Fatalf("%+v, %v", changes, err)
			}
			await(t, s, "all ready again", allReady)
			for i := range 3 {
				r, err := s.Call(within(t, time.Minute), Target{Pool: "web", Slot: 1 + i}, "echo", ipc.Text("x"))
				if err != nil {
					t.Errorf("%v: %v", r.From, err)
				}
				if w := s.Status().Pools[0].Slots[i]; i > 0 && w.Generation != 1 {
					t.Errorf("it was not reached and yet replaced: %+v", w)
				}
			}
			plan, err := s.Plan(Config{Pools: []Pool{bad}})
			if err != nil || plan[0].Kind != ChangeRoll {
				t.Errorf("the same again: %+v, %v", plan, err)
			}
			plan, err = s.Plan(Config{Pools: []Pool{good}})
			if err != nil || plan[0].Kind != ChangeNone {
				t.Errorf("what was: %+v, %v", plan, err)
			}
		})
	}
}

// One reload at a time; one that is not waited for goes on.
func TestReloadWhileAnotherIsUnderWay(t *testing.T) {
	p := rolled("web", 2)
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "all ready", allReady)
	p.Env = map[string]string{"MODE": "second"}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	changes, err := s.Reload(ended, Config{Pools: []Pool{p}})
	if err != nil || len(changes) != 1 || outcomes(changes[0].Results) != "timeout" {
		t.Errorf("%+v, %v", changes, err)
	}
	isShape(t, s, "web", "1#2, 2#2")
	<-s.Reloaded()
	s.reloading.Lock()
	if _, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{p}}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	s.reloading.Unlock()
	s.Shutdown(false)
	<-s.Done()
	p.Env = nil
	if _, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{p}}); !errors.Is(err, ErrStopping) {
		t.Error(err)
	}
}

// Who asks for a reload while another is under way is told at what pool that is. When
// it has been answered the next can begin.
func TestReloadSaysWhatIsUnderWay(t *testing.T) {
	p, open, shut := gated(t, 1)
	open()
	s := run(t, Config{Pools: []Pool{valued(p, "1")}})
	await(t, s, "all ready", allReady)
	shut()
	done := make(chan error, 1)
	go func() {
		_, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{valued(p, "2")}})
		done <- err
	}()
	await(t, s, "the rollout to begin", func(st Status) bool { return st.Pools[0].Slots[0].Next == 2 })
	if _, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{valued(p, "3")}}); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "pool web is being rolled") {
		t.Error(err)
	}
	open()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for i := range 20 {
		if _, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{valued(p, "2")}}); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

// A worker that has done its share is replaced, the new one beside it.
func TestRecycleAfterCommands(t *testing.T) {
	p := rolled("web", 2)
	p.Recycle.Commands = 5
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "all ready", allReady)
	for range 5 {
		if _, err := s.Call(within(t, time.Minute), target(t, "web/1"), "echo", ipc.Text("x")); err != nil {
			t.Fatal(err)
		}
	}
	isShape(t, s, "web", "1#2, 2#1")
	if got := leastReady(s, 2); got != 2 {
		t.Errorf("only %d of 2 were ready at one moment", got)
	}
}

// gated is a pool whose workers become ready when the file is there.
func gated(t *testing.T, n int) (p Pool, open, shut func()) {
	file := filepath.Join(t.TempDir(), "open")
	p = rolled("web", n)
	p.Ready = Ready{When: ReadyExec, Exec: []string{"test", "-e", file}}
	return p, func() {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, func() {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
}

// valued is the pool with another environment.
func valued(p Pool, v string) Pool {
	p.Env = map[string]string{"V": v}
	return p
}

// planned is what a reload would do with one pool.
func planned(t *testing.T, s *Supervisor, p Pool) ChangeKind {
	t.Helper()
	plan, err := s.Plan(Config{Pools: []Pool{p}})
	if err != nil {
		t.Fatal(err)
	}
	return plan[0].Kind
}

// A slot that an order takes out of a rollout has not come to what was asked. The
// pool has all the same, and is said to.
func TestReloadAndAnOrderMeanwhile(t *testing.T) {
	for name, meddle := range map[string]func(*Supervisor) ([]Result, error){
		"stop":  func(s *Supervisor) ([]Result, error) { return s.Stop(within(t, time.Minute), target(t, "web/3")) },
		"scale": func(s *Supervisor) ([]Result, error) { return s.Scale(within(t, time.Minute), "web", 2) },
	} {
		t.Run(name, func(t *testing.T) {
			p, open, shut := gated(t, 3)
			open()
			s := run(t, Config{Pools: []Pool{valued(p, "1")}})
			await(t, s, "all ready", allReady)
			shut()
			done := make(chan []Change, 1)
			go func() {
				changes, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{valued(p, "2")}})
				if err != nil {
					t.Error(err)
				}
				done <- changes
			}()
			await(t, s, "the rollout to begin", func(st Status) bool { return st.Pools[0].Slots[0].Next == 2 })
			if _, err := meddle(s); err != nil {
				t.Fatal(err)
			}
			open()
			changes := <-done
			if len(changes) != 1 || !changes[0].Failed() || changes[0].Reverted || outcomes(changes[0].Results) != "done done failed" {
				t.Errorf("%+v", changes)
			}
			if now, back := planned(t, s, valued(p, "2")), planned(t, s, valued(p, "1")); now != ChangeNone || back != ChangeRoll {
				t.Errorf("the same again: %s; back: %s", now, back)
			}
			if changes, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{valued(p, "1")}}); err != nil || changes[0].Failed() || shape(s, "web")[:8] != "1#3, 2#3" {
				t.Errorf("back: %+v, %v: %s", changes, err, shape(s, "web"))
			}
		})
	}
}

// What a reload adds to a pool may fail. That does not take back what it has changed.
func TestReloadThatRollsAndScales(t *testing.T) {
	p := rolled("web", 2)
	p.Command = []string{"sh", "-c", `[ $BROOD_SLOT = 3 ] && exit 3; echo up; exec sleep 1000`}
	p.Ready = Ready{When: ReadyLog, Log: "up"}
	p.Restart.When = RestartNever
	s := run(t, Config{Pools: []Pool{valued(p, "1")}, Log: discard()})
	await(t, s, "all ready", allReady)
	p.Workers = 3
	changes, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{valued(p, "2")}})
	if err != nil || !changes[0].Failed() || changes[0].Reverted || outcomes(changes[0].Results) != "done done failed" {
		t.Errorf("%+v, %v", changes, err)
	}
	if got := shape(s, "web"); got != "1#2, 2#2, 3#1 failed" {
		t.Error(got)
	}
	if now, back := planned(t, s, valued(p, "2")), planned(t, s, valued(p, "1")); now != ChangeNone || back != ChangeRoll {
		t.Errorf("the same again: %s; back: %s", now, back)
	}
}

// Pools that one reload adds are started in their order, and pools that it removes
// are stopped in it, whatever the order of the file.
func TestReloadInOrder(t *testing.T) {
	first, second := rolled("db", 1), rolled("app", 1)
	second.After = []string{"db"}
	s := run(t, Config{Pools: []Pool{echoes(1)}})
	await(t, s, "all ready", allReady)
	told := func(pools ...Pool) string {
		t.Helper()
		events, _ := s.Events(0)
		changes, err := s.Reload(within(t, time.Minute), Config{Pools: pools})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if c.Failed() {
				t.Errorf("%+v", c)
			}
		}
		events, _ = s.Events(events[len(events)-1].Seq)
		var all []string
		for _, e := range events {
			if word, _, _ := strings.Cut(e.Text, ":"); e.Kind == "state" {
				all = append(all, e.Pool+" "+word)
			}
		}
		return strings.Join(all, ", ")
	}
	if got, want := told(second, echoes(1), first), "db starting, db ready, app starting, app ready"; got != want {
		t.Errorf("added: %s, want %s", got, want)
	}
	if got, want := told(echoes(1)), "app stopping, app stopped, db stopping, db stopped"; got != want {
		t.Errorf("removed: %s, want %s", got, want)
	}
}

// A pool that does not come up can be reloaded again and again: what it goes back to
// is kept.
func TestReloadsThatFailAgainAndAgain(t *testing.T) {
	p := rolled("web", 1)
	p.Command, p.Restart.BackoffMin, p.Restart.BackoffMax = []string{"sh", "-c", "exit 3"}, time.Hour, time.Hour
	s := run(t, Config{Pools: []Pool{valued(p, "0")}, Log: discard()})
	waits := func(st Status) bool { return st.Pools[0].Slots[0].State == InBackoff }
	await(t, s, "the backoff", waits)
	for i := range 2 * keptVersions {
		changes, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{valued(p, fmt.Sprint(i+1))}})
		if err != nil || !changes[0].Reverted {
			t.Fatalf("%+v, %v", changes, err)
		}
		await(t, s, "the backoff", waits)
	}
	if got := planned(t, s, valued(p, "0")); got != ChangeNone {
		t.Errorf("what was before: %s", got)
	}
}

// atBeats waits for what is not announced. It looks whenever the loop comes round.
func atBeats(t *testing.T, s *Supervisor, ok func() bool) {
	t.Helper()
	for ctx := within(t, time.Minute); !ok(); {
		if err := s.Beat(ctx); err != nil {
			t.Fatalf("waited in vain: %v; status %+v", err, s.Status())
		}
	}
}

// A scale that is not waited for says how far each slot is that it starts or removes,
// and no other.
func TestScaleSoFar(t *testing.T) {
	p, open, shut := gated(t, 2)
	open()
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "all ready", allReady)
	shut()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	said := func(n int) string {
		t.Helper()
		results, err := s.Scale(over, "web", n)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, r := range results {
			all = append(all, fmt.Sprint(r.Slot.Target(), " ", r.Outcome))
		}
		return strings.Join(all, ", ")
	}
	if got := said(4); got != "web/3 timeout, web/4 timeout" {
		t.Errorf("up: %s", got)
	}
	atBeats(t, s, func() bool { st := s.Status().Pools[0]; return st.Workers == 4 && st.Slots[3].PID != 0 })
	if got := said(4); got != "" {
		t.Errorf("as it is: %s", got)
	}
	if got := strings.ReplaceAll(said(1), " done", " timeout"); got != "web/2 timeout, web/3 timeout, web/4 timeout" { // they may be quick
		t.Errorf("down: %s", got)
	}
	atBeats(t, s, func() bool { return shape(s, "web") == "1#1" }) // a slot is announced to be gone before it is
}

// One that is to stay after all, or is going already, is among them.
func TestScaleSoFarOfLeavingSlots(t *testing.T) {
	p := pool("web", "echo", 3)
	p.Command = []string{"sh", "-c", `trap "" TERM; echo up; while :; do sleep 1; done`}
	p.Ready, p.Stop.Timeout = Ready{When: ReadyLog, Log: "up"}, time.Hour
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "all ready", allReady)
	t.Cleanup(func() { s.Shutdown(true) })
	over, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	for _, c := range []struct {
		to   int
		want string
	}{{1, "timeout timeout"}, {1, "timeout timeout"}, {2, "timeout timeout"}, {2, "timeout"}} {
		results, err := s.Scale(over, "web", c.to)
		if err != nil || outcomes(results) != c.want {
			t.Errorf("to %d: %s, %v; want %s", c.to, outcomes(results), err, c.want)
		}
		atBeats(t, s, func() bool { return staying(*s.boardOf("web").places.Load()) == c.to })
	}
}
