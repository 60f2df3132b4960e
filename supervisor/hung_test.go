package supervisor

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/ipc"
)

// of picks the events of one process.
func of(slot int, generation uint64) func(Event) bool {
	return func(e Event) bool { return e.Slot == slot && e.Generation == generation }
}

// inOrder waits for events of these kinds (and for a state, that begin so),
// among those that which picks, in this order, others between them or not. The
// status shows a change before its event is there.
func inOrder(t *testing.T, s *Supervisor, which func(Event) bool, kinds ...string) []Event {
	t.Helper()
	var found []Event
	follow(t, s, strings.Join(kinds, ", "), func(e Event) bool {
		kind, text, _ := strings.Cut(kinds[len(found)], " ")
		if which(e) && string(e.Kind) == kind && strings.HasPrefix(e.Text, text) {
			found = append(found, e)
		}
		return len(found) == len(kinds)
	})
	return found
}

// watched is a pool of two whose pings find a worker that hangs within
// seconds.
func watched() Pool {
	p := echoes(2)
	p.Health = Health{Ping: 100 * time.Millisecond, Timeout: time.Second, Failures: 2}
	p.Stop.Timeout = time.Second
	return p
}

// freeze has the first worker hang as only a process can that is stopped, and
// waits until it is: until then it may answer a ping.
func freeze(t *testing.T, s *Supervisor) {
	t.Helper()
	await(t, s, "all ready", allReady)
	pid := s.Status().Pools[0].Slots[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for {
		var ws syscall.WaitStatus
		_, err := syscall.Wait4(pid, &ws, syscall.WUNTRACED, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || !ws.Stopped() {
			t.Fatalf("stopping %d: %v, %v", pid, ws, err)
		}
		return
	}
}

// A worker that answers no pings is suspect, then hung, then replaced, by
// SIGKILL if need be. Nobody else is touched.
func TestHungWorkerIsReplaced(t *testing.T) {
	s := run(t, Config{Pools: []Pool{watched()}})
	freeze(t, s)
	await(t, s, "its successor", func(st Status) bool { w := st.Pools[0].Slots[0]; return w.Ready && w.Generation == 2 })
	found := inOrder(t, s, of(1, 1), "state ready", "suspect", "hung", "state stopping: no answer to 2 pings in a row", "kill", "exit killed by SIGKILL")
	if d := found[4].At.Sub(found[3].At); d < time.Second {
		t.Errorf("killed %v after the signal, which was to have a second", d)
	}
	st := s.Status().Pools[0]
	if w := st.Slots[1]; w.Generation != 1 || !w.Ready {
		t.Errorf("the other one: %+v", w)
	}
	if _, err := s.Call(within(t, time.Minute), Target{Pool: "web", Slot: 1}, "echo", ipc.Text("there")); err != nil {
		t.Error(err)
	}
}

// Stopping a worker that hangs takes as long as the stop may, and no longer.
func TestStopOfHungWorkerEnds(t *testing.T) {
	p := watched()
	p.Health.Ping = -1
	s := run(t, Config{Pools: []Pool{p}})
	freeze(t, s)
	results, err := s.Stop(within(t, time.Minute), Target{Pool: "web", Slot: 1})
	if err != nil || len(results) != 1 || results[0].Outcome != OutcomeDone {
		t.Fatalf("%+v, %v", results, err)
	}
	found := inOrder(t, s, of(1, 1), "state stopping: stopped by hand", "kill", "exit killed by SIGKILL", "state stopped")
	if d := found[1].At.Sub(found[0].At); d < time.Second || d > 10*time.Second {
		t.Errorf("killed %v after the stop began, want a second", d)
	}
}

// With action observe it is told and left alone, and may come back.
func TestHungWorkerIsObserved(t *testing.T) {
	p := watched()
	p.Health.Action = ActionObserve
	s := run(t, Config{Pools: []Pool{p}})
	freeze(t, s)
	await(t, s, "it to be unresponsive", func(st Status) bool {
		w := st.Pools[0].Slots[0]
		return w.Ready && w.Responsive != nil && !*w.Responsive
	})
	if err := syscall.Kill(s.Status().Pools[0].Slots[0].PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, s, "it to be responsive again", func(st Status) bool {
		w := st.Pools[0].Slots[0]
		return w.Ready && w.Responsive != nil && *w.Responsive
	})
	inOrder(t, s, of(1, 1), "suspect", "hung", "responsive")
	if w := s.Status().Pools[0].Slots[0]; w.Generation != 1 {
		t.Errorf("%+v", w)
	}
}
