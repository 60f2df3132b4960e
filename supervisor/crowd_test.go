package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/brood/ipc"
)

// echoes is a pool of SDK workers that nothing but the test brings down: they
// have all the time they need to start, and no budget.
func echoes(n int) Pool {
	return Pool{
		Name: "web", Command: asWorker("echo"), Workers: n,
		Ready:   Ready{When: ReadyHello, Timeout: 10 * time.Minute},
		Health:  Health{Ping: -1},
		Restart: Restart{Budget: -1, BackoffMin: time.Millisecond, BackoffMax: 10 * time.Millisecond},
		Stop:    Stop{Timeout: 20 * time.Second},
	}
}

// follow calls f with every event until it returns true.
func follow(t testing.TB, s *Supervisor, what string, f func(Event) bool) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	var seen uint64
	for {
		events, news := s.Events(seen)
		for _, e := range events {
			seen = e.Seq
			if f(e) {
				return
			}
		}
		select {
		case <-news:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// threads is how many this process has.
func threads(t testing.TB) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("no /proc here:", err)
	}
	return len(tasks)
}

// moreThreads is how many threads the Go runtime may have started beside those
// of before: it makes one whenever a system call takes long (a fork, a write to
// a pipe that is full) and never ends any. It does not grow with the workers.
const moreThreads = 16

// traffic sends commands from so many goroutines and counts how they end.
type traffic struct {
	ok, lost, unavailable atomic.Int64
	sent                  atomic.Int64
	stop                  chan struct{}
	wg                    sync.WaitGroup
}

func startTraffic(t *testing.T, s *Supervisor, goroutines, slots int) *traffic {
	tr := &traffic{stop: make(chan struct{})}
	for g := range goroutines {
		tr.wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-tr.stop:
					return
				default:
				}
				target := Target{Pool: "web"}
				if i%2 == 0 {
					target.Slot = 1 + rand.IntN(slots)
				}
				tr.one(t, s, target, fmt.Sprintf("%d.%d", g, i))
			}
		})
	}
	return tr
}

func (tr *traffic) one(t *testing.T, s *Supervisor, target Target, text string) {
	tr.sent.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := s.Call(ctx, target, "echo", ipc.Text(text))
	switch {
	case err == nil && string(r.Payload) == text:
		tr.ok.Add(1)
	case errors.Is(err, ipc.ErrLost):
		tr.lost.Add(1)
	case errors.Is(err, ipc.ErrUnavailable):
		tr.unavailable.Add(1)
	default:
		t.Errorf("%v: got %q, %v", target, r.Payload, err)
	}
}

// end waits for the commands on their way and checks that each has ended.
func (tr *traffic) end(t *testing.T) {
	close(tr.stop)
	tr.wg.Wait()
	ok, lost, unavailable, sent := tr.ok.Load(), tr.lost.Load(), tr.unavailable.Load(), tr.sent.Load()
	t.Logf("%d commands: %d ok, %d lost, %d unavailable", sent, ok, lost, unavailable)
	if ok+lost+unavailable != sent || ok == 0 {
		t.Errorf("of %d commands %d were ok, %d lost, %d unavailable", sent, ok, lost, unavailable)
	}
}

// TestEveryWorkerKilledUnderTraffic: each of many workers is killed while
// commands flow. Every command has one outcome, every slot comes back once, and
// nothing is left over.
func TestEveryWorkerKilledUnderTraffic(t *testing.T) {
	n := 200
	if testing.Short() {
		n = 20
	}
	s := run(t, Config{Pools: []Pool{echoes(n)}})
	await(t, s, "all ready", allReady)
	warm := startTraffic(t, s, 16, n)
	for warm.sent.Load() < 1000 && !t.Failed() {
		warm.one(t, s, Target{Pool: "web"}, "warm")
	}
	warm.end(t)
	before, threadsBefore := measure(), threads(t)

	tr := startTraffic(t, s, 16, n)
	for _, i := range rand.Perm(n) {
		w := s.Status().Pools[0].Slots[i]
		if !w.Ready || w.Generation != 1 {
			t.Fatalf("%v before its turn: %+v", w.Target(), w)
		}
		if err := syscall.Kill(w.PID, syscall.SIGKILL); err != nil {
			t.Fatalf("%v: %v", w.Target(), err)
		}
		tr.one(t, s, w.Target(), "are you there")
	}
	await(t, s, "all ready again", func(st Status) bool {
		for _, w := range st.Pools[0].Slots {
			if !w.Ready || w.Generation < 2 {
				return false
			}
		}
		return true
	})
	tr.end(t)
	for _, w := range s.Status().Pools[0].Slots {
		if w.Generation != 2 || w.Restarts != 1 || w.LastExit == nil || w.LastExit.Signal != syscall.SIGKILL {
			t.Errorf("%v has had more than one end: %+v, %+v", w.Target(), w, w.LastExit)
		}
	}
	if err := settled(before); err != nil {
		t.Errorf("left over: %v", err)
	}
	if now := threads(t); now > threadsBefore+moreThreads {
		t.Errorf("%d threads, before %d", now, threadsBefore)
	}
}

// TestThousandWorkersCostNoThreads: a wait is on a pidfd in the runtime's
// poller, and an idle connection or pipe holds no thread and no buffer either.
func TestThousandWorkersCostNoThreads(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand processes")
	}
	const n = 1000
	others := len(children())
	s := run(t, Config{Pools: []Pool{{
		Name: "sleep", Command: []string{"sleep", "1000"}, Workers: n,
		Ready: Ready{When: ReadyAlive, Timeout: 10 * time.Minute},
	}}})
	ready, most := 0, 0
	follow(t, s, "a thousand ready", func(e Event) bool {
		if e.Kind == EventState && e.Text == string(IsReady) {
			ready++
		}
		most = max(most, threads(t))
		return ready == n
	})
	u, rss := measure(), resident(t)
	t.Logf("%d workers: %d threads at the most, %d descriptors, %d goroutines, %d MiB resident", n, most, u.fds, u.goroutines, rss>>20)
	if most > 32 {
		t.Errorf("%d threads", most)
	}
	if u.children != others+n {
		t.Errorf("%d children, %d before", u.children, others)
	}
	if u.fds > 5*n { // four each: pidfd, connection, two pipes
		t.Errorf("%d descriptors", u.fds)
	}
}

// resident is this process's resident set in bytes.
func resident(t testing.TB) uint64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here:", err)
	}
	var size, pages uint64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}
