package process

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPdeathsigThread: PR_SET_PDEATHSIG fires when the thread that forked
// ends, not the program. So one thread that outlives them starts all
// processes.
func TestPdeathsigThread(t *testing.T) {
	t.Run("the trap", func(t *testing.T) {
		var p *Process
		var err error
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			defer close(done)
			p, err = Start(spec(t, "sleep", "1000"))
		}()
		<-done
		if err != nil {
			t.Fatal(err)
		}
		if e, err := p.Wait(); err != nil || e.Signal != unix.SIGKILL {
			t.Fatalf("%+v, %v, want killed with its thread", e, err)
		}
	})
	t.Run("the spawner", func(t *testing.T) {
		spawner := NewSpawner()
		const n = 50
		started := make(chan *Process, n)
		var storm sync.WaitGroup
		for range n { // each asked for by a thread that ends at once
			storm.Go(func() {
				runtime.LockOSThread()
				spawner.Do(func() {
					p, err := Start(spec(t, "sleep", "1000"))
					if err != nil {
						t.Error(err)
					}
					started <- p
				})
			})
		}
		storm.Wait()
		for range n {
			p := <-started
			if p == nil {
				continue
			}
			var ws unix.WaitStatus
			if pid, err := unix.Wait4(p.PID, &ws, unix.WNOHANG, nil); pid != 0 || err != nil {
				t.Errorf("process %d has ended: %v, %v", p.PID, ws, err)
			}
			defer func() {
				if e, err := p.Wait(); err != nil || e.Signal != unix.SIGKILL {
					t.Errorf("after the spawner: %+v, %v", e, err)
				}
			}()
		}
		spawner.Close() // which ends the thread, and with it all of them
	})
}

// What is queued runs in order, on one thread, and before Close returns.
func TestSpawnerIsOneThread(t *testing.T) {
	s := NewSpawner()
	var order, threads []int // the spawner's, until Close has returned
	for i := range 100 {
		s.Do(func() {
			order = append(order, i)
			threads = append(threads, unix.Gettid())
		})
	}
	s.Close()
	if len(order) != 100 {
		t.Fatalf("%d of 100 have run", len(order))
	}
	for i := range order {
		if order[i] != i || threads[i] != threads[0] {
			t.Fatalf("order %v on threads %v", order, threads)
		}
	}
}

// Where the poller can't watch the pidfd a thread waits, and nothing is
// reported before its time.
func TestWaitWithoutThePoller(t *testing.T) {
	p := begin(t, spec(t, "sleep", "1000"))
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(p.pidfd)
	p.pidfd = null // which Wait closes
	ended := make(chan Exit, 1)
	go func() {
		e, err := p.Wait()
		if err != nil {
			t.Error(err)
		}
		ended <- e
	}()
	select {
	case e := <-ended:
		t.Fatalf("%+v while it runs", e)
	default:
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := <-ended; e.Signal != syscall.SIGTERM {
		t.Errorf("%+v", e)
	}
}

// A start that fails leaves no descriptor behind, nor does a process that was
// waited for.
func TestNoDescriptorIsLeft(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	good, bad := spec(t, "true"), spec(t, "true")
	bad.Command = []string{"/dev/null/no"}
	once := func() {
		if _, err := Start(bad); err == nil {
			t.Fatal("started")
		}
		p, err := Start(good)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	once() // the runtime's own descriptors are made at the first use
	before := count()
	for range 20 {
		once()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}
