package supervisor

import (
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// stuck is a writer that nobody reads from until it is let go.
type stuck struct{ let chan struct{} }

func (w stuck) Write(b []byte) (int, error) {
	<-w.let
	return len(b), nil
}

// TestStalledLogHoldsNothingUp: with its log and its workers' output stuck, the
// supervisor restarts, stops and answers all the same.
func TestStalledLogHoldsNothingUp(t *testing.T) {
	w := stuck{make(chan struct{})}
	p := echoes(4)
	p.Restart.Stable, p.Restart.Rate = time.Nanosecond, -1
	s := run(t, Config{Pools: []Pool{p}, Stdout: w, Stderr: w, Log: hclog.New(&hclog.LoggerOptions{Output: w})})
	defer close(w.let)
	await(t, s, "all ready", allReady)
	for n := range keptWords / 4 / 2 { // each of four workers says four lines a time: twice as many as are kept
		for _, slot := range s.Status().Pools[0].Slots {
			if err := syscall.Kill(slot.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		await(t, s, "all back", func(st Status) bool {
			for _, slot := range st.Pools[0].Slots {
				if !slot.Ready || slot.Generation < uint64(n+2) {
					return false
				}
			}
			return true
		})
		if n == 20 && testing.Short() {
			break
		}
	}
	if s.unsaid.Load() == 0 && !testing.Short() {
		t.Error("no line was dropped: the log was not stuck long enough to show anything")
	}
	results, err := s.Stop(within(t, time.Minute), Target{Pool: p.Name})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome != OutcomeDone {
			t.Errorf("%+v", r)
		}
	}
}
