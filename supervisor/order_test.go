package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

func init() {
	testWorkers["no-second"] = func() { // serves, but slot 2 has no second generation
		if os.Getenv("BROOD_SLOT") == "2" && os.Getenv("BROOD_GENERATION") != "1" {
			os.Exit(78)
		}
		testWorkers["echo"]()
	}
}

// outcomes are those of all results, in order.
func outcomes(results []Result) string {
	var all []string
	for _, r := range results {
		all = append(all, string(r.Outcome))
	}
	return strings.Join(all, " ")
}

// leastReady follows the events and returns the fewest workers of web that
// were ready at any moment since all of them first were.
func leastReady(s *Supervisor, n int) int {
	events, _ := s.Events(0)
	ready := map[int]bool{}
	least := n
	full := false
	for _, e := range events {
		if e.Kind != EventState || e.Pool != "web" {
			continue
		}
		ready[e.Slot] = e.Text == string(IsReady)
		now := 0
		for _, r := range ready {
			if r {
				now++
			}
		}
		full = full || now == n
		if full {
			least = min(least, now)
		}
	}
	return least
}

// How a restart of a pool replaces its workers: a new one beside the old, or in
// its place.
var (
	besideIt = Rollout{Surge: 1, Soak: -1}
	inTurn   = Rollout{Unavailable: 1, Soak: -1}
)

// A restart of a pool goes one worker at a time; commands go on meanwhile and
// none is lost.
func TestRestartOfPoolRolls(t *testing.T) {
	const n = 4
	for least, rollout := range map[int]Rollout{n: besideIt, n - 1: inTurn} {
		t.Run(fmt.Sprintf("at least %d", least), func(t *testing.T) {
			p := echoes(n)
			p.Rollout = rollout
			s := run(t, Config{Pools: []Pool{p}})
			await(t, s, "all ready", allReady)
			ctx := within(t, time.Minute)
			stop := make(chan struct{})
			var senders sync.WaitGroup
			for range 4 {
				senders.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if _, err := s.Call(ctx, Target{Pool: "web"}, "echo", ipc.Text("x")); err != nil {
							t.Error(err)
						}
					}
				})
			}
			results, err := s.Restart(ctx, Target{Pool: "web"})
			close(stop)
			senders.Wait()
			if err != nil || outcomes(results) != "done done done done" {
				t.Fatalf("%+v, %v", results, err)
			}
			for i, r := range results {
				if r.Slot.Slot != i+1 || r.Slot.Generation != 2 || !r.Slot.Ready || r.Slot.Restarts != 0 {
					t.Errorf("%+v", r.Slot)
				}
			}
			if got := leastReady(s, n); got != least {
				t.Errorf("only %d of %d were ready at one moment, want %d", got, n, least)
			}
		})
	}
}

// The first worker that does not come back ends it, and the rest is left as it
// is. With the new one beside the old, so is the one that it was to replace.
func TestRestartOfPoolEndsAtTheFirstFailure(t *testing.T) {
	for least, rollout := range map[int]Rollout{4: besideIt, 3: inTurn} {
		t.Run(fmt.Sprintf("at least %d", least), func(t *testing.T) {
			p := echoes(4)
			p.Command, p.Rollout = asWorker("no-second"), rollout
			p.Restart.GiveUpCodes = []int{78}
			s := run(t, Config{Pools: []Pool{p}, Log: discard()})
			await(t, s, "all ready", allReady)
			results, err := s.Restart(within(t, time.Minute), Target{Pool: "web", All: true})
			if err != nil || outcomes(results) != "done failed unchanged unchanged" {
				t.Fatalf("%+v, %v", results, err)
			}
			if !strings.Contains(results[1].Text, "exit code 78") || !strings.Contains(results[2].Text, "left as it is: web/2") {
				t.Errorf("%q, %q", results[1].Text, results[2].Text)
			}
			second := uint64(5 - least) // the old one serves on, or there is none
			for i, want := range []uint64{2, second, 1, 1} {
				if w := s.Status().Pools[0].Slots[i]; w.Generation != want || w.Ready != (i != 1 || least == 4) {
					t.Errorf("%+v", w)
				}
			}
			if got := leastReady(s, 4); got != least {
				t.Errorf("only %d of 4 were ready at one moment, want %d", got, least)
			}
			inOrder(t, s, func(Event) bool { return true }, "rollout")
		})
	}
}

func TestStopAndStart(t *testing.T) {
	s := run(t, Config{Pools: []Pool{echoes(2), pool("other", "echo", 1)}})
	ctx := within(t, time.Minute)
	await(t, s, "all ready", allReady)
	do := func(f func(context.Context, Target) ([]Result, error), target, want string) []Result {
		t.Helper()
		to, err := ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		results, err := f(ctx, to)
		if err != nil || outcomes(results) != want {
			t.Fatalf("%s: %+v, %v, want %s", target, results, err, want)
		}
		return results
	}
	r := do(s.Stop, "web/2", "done")[0].Slot
	if r.State != Stopped || r.WantUp || r.PID != 0 || r.LastExit.Code != 0 || r.Reason != "stopped by hand" {
		t.Errorf("%+v", r)
	}
	if p := s.Status().Pools[0]; p.Wanted != 1 || p.Ready != 1 || p.Workers != 2 {
		t.Errorf("%+v", p)
	}
	do(s.Stop, "web", "done unchanged")
	do(s.Restart, "web/*", "unchanged unchanged")
	r = do(s.Restart, "web/1", "done")[0].Slot // named itself, it is started
	if !r.Ready || r.Generation != 2 || !r.WantUp {
		t.Errorf("%+v", r)
	}
	do(s.Start, "web/*", "unchanged done")
	do(s.Start, "*", "unchanged unchanged unchanged")
	do(s.Restart, "*", "done done done")
	do(s.Stop, "*", "done done done")
	for _, p := range s.Status().Pools {
		if p.Ready != 0 || p.Wanted != 0 {
			t.Errorf("%+v", p)
		}
	}
	do(s.Start, "@other/1", "done")
}

// An order whose wait is over goes on.
// TestUnfinished: of an order that is not over it is said what is known.
func TestUnfinished(t *testing.T) {
	for _, c := range []struct {
		verb lifecycle.Verb
		st   SlotStatus
		want string
	}{
		{lifecycle.Restart, SlotStatus{State: lifecycle.Ready, Generation: 2}, "not replaced yet"},
		{lifecycle.Restart, SlotStatus{State: lifecycle.Ready, Generation: 3}, "it is replaced, and the restart goes on"},
		{lifecycle.Restart, SlotStatus{State: lifecycle.Starting, Generation: 3, Reason: "restarted by hand"}, "not done yet: it is starting: restarted by hand"},
		{lifecycle.Stop, SlotStatus{State: lifecycle.Ready, Generation: 2}, "not stopped yet"},
		{lifecycle.Stop, SlotStatus{State: lifecycle.Stopping, Generation: 2}, "not done yet: it is stopping"},
	} {
		if got := unfinished(c.verb, c.st, 2); got != c.want {
			t.Errorf("%v of %+v: %q, want %q", c.verb, c.st, got, c.want)
		}
	}
}

func TestOrderTimeout(t *testing.T) {
	p := echoes(1)
	p.Stop.Timeout = time.Hour
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "all ready", allReady)
	web := Target{Pool: "web", Slot: 1}
	hang := make(chan error, 1)
	give, up := context.WithCancel(context.Background())
	go func() {
		_, err := s.Call(give, web, "hang", ipc.Message{})
		hang <- err
	}()
	poll(t, "the command", func() bool { return s.Status().Pools[0].Slots[0].Inflight == 1 })
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		verb  func(context.Context, Target) ([]Result, error)
		state State
	}{{s.Restart, Stopping}, {s.Stop, Stopping}} {
		results, err := c.verb(ended, web)
		if err != nil || outcomes(results) != "timeout" || !strings.HasPrefix(results[0].Text, "not ") {
			t.Errorf("%+v, %v", results, err)
		}
	}
	await(t, s, "the stop to begin", func(st Status) bool { return st.Pools[0].Slots[0].State == Stopping })
	up() // what it drains is done
	if err := <-hang; !errors.Is(err, ipc.ErrCanceled) {
		t.Error(err)
	}
	await(t, s, "the stop to end", func(st Status) bool { return st.Pools[0].Slots[0].State == Stopped })
	if results, err := s.Start(ended, web); err != nil || outcomes(results) != "timeout" {
		t.Errorf("%+v, %v", results, err)
	}
	await(t, s, "the start", allReady)
}

// An order for a generation that is not there is refused, however close.
func TestOrderForAStaleGeneration(t *testing.T) {
	s := run(t, Config{Pools: []Pool{echoes(1)}})
	ctx := within(t, time.Minute)
	await(t, s, "all ready", allReady)
	first := Target{Pool: "web", Slot: 1, Generation: 1}
	if results, err := s.Restart(ctx, first); err != nil || outcomes(results) != "done" {
		t.Fatalf("%+v, %v", results, err)
	}
	for name, f := range map[string]func(context.Context, Target) ([]Result, error){"start": s.Start, "stop": s.Stop, "restart": s.Restart} {
		if results, err := f(ctx, first); !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "web/1#1 is gone, web/1#2 is there") {
			t.Errorf("%s: %+v, %v", name, results, err)
		}
	}
	if w := s.Status().Pools[0].Slots[0]; w.Generation != 2 || !w.Ready {
		t.Errorf("%+v", w)
	}
	// Of many that name one generation, one has it.
	second := Target{Pool: "web", Slot: 1, Generation: 2}
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			_, err := s.Restart(ctx, second)
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil && !errors.Is(err, ErrStale) {
			t.Error(err)
		}
	}
	if w := s.Status().Pools[0].Slots[0]; w.Generation != 3 {
		t.Errorf("%d generations", w.Generation)
	}
}

func TestOrderWithoutATarget(t *testing.T) {
	s := run(t, Config{Pools: []Pool{echoes(1), pool("other", "echo", 2)}})
	for target, want := range map[string]error{
		"none": ErrNoTarget, "none/1": ErrNoTarget, "web/2": ErrNoTarget, "other/3": ErrNoTarget, "@1": ErrNotOne,
	} {
		to, err := ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stop(within(t, time.Minute), to); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", target, err, want)
		}
	}
}

// While it shuts down, and once it has, nothing is started.
func TestOrderDuringShutdown(t *testing.T) {
	p := echoes(2)
	p.Stop.Timeout = time.Hour
	s := run(t, Config{Pools: []Pool{p}})
	ctx := within(t, time.Minute)
	await(t, s, "all ready", allReady)
	held, cancel := context.WithCancel(context.Background())
	lost := make(chan error, 1)
	go func() {
		_, err := s.Call(held, Target{Pool: "web", Slot: 1}, "hang", ipc.Message{})
		lost <- err
	}()
	poll(t, "the command", func() bool { return s.Status().Pools[0].Slots[0].Inflight == 1 })
	s.Shutdown(false)
	await(t, s, "the shutdown to begin", func(st Status) bool { return st.Pools[0].Slots[0].State == Stopping })
	for name, f := range map[string]func(context.Context, Target) ([]Result, error){"start": s.Start, "restart": s.Restart} {
		results, err := f(ctx, Target{Pool: "web", Slot: 1})
		if err != nil || outcomes(results) != "failed" || results[0].Text != "the supervisor is shutting down" {
			t.Errorf("%s: %+v, %v", name, results, err)
		}
	}
	stopped := make(chan string, 1)
	go func() {
		results, err := s.Stop(ctx, Target{Pool: "web", Slot: 1})
		stopped <- fmt.Sprint(outcomes(results), err)
	}()
	cancel()
	<-lost
	// Whether it was asked before the end or after, it is told.
	if got := <-stopped; got != "done<nil>" && got != "unchanged<nil>" && got != ErrStopping.Error() {
		t.Errorf("stop: %s", got)
	}
	select {
	case <-s.Done():
	case <-ctx.Done():
		t.Fatal("the shutdown does not end")
	}
	for name, f := range map[string]func(context.Context, Target) ([]Result, error){"start": s.Start, "stop": s.Stop, "restart": s.Restart} {
		if results, err := f(ctx, Target{Pool: "web", Slot: 1}); !errors.Is(err, ErrStopping) {
			t.Errorf("%s after the end: %+v, %v", name, results, err)
		}
	}
	if w := s.Status().Pools[0].Slots[0]; w.State != Stopped || w.PID != 0 {
		t.Errorf("status after the end: %+v", w)
	}
}

// A second Shutdown, at once, does not wait for anybody.
func TestShutdownAtOnce(t *testing.T) {
	p := pool("web", "stubborn", 2)
	p.Ready.When, p.Stop.Timeout = ReadyAlive, time.Hour
	s := run(t, Config{Pools: []Pool{p}, Log: discard()})
	await(t, s, "all ready", allReady)
	s.Shutdown(false)
	await(t, s, "the shutdown to begin", func(st Status) bool { return st.Pools[0].Slots[1].State == Stopping })
	s.Shutdown(true)
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		t.Fatal("the shutdown does not end")
	}
	inOrder(t, s, of(1, 1), "state stopping: shutdown", "kill SIGKILL: shutdown at once", "exit killed by SIGKILL", "state stopped")
}
