package process

import (
	"runtime"
	"sync"
)

// Spawner starts processes one after the other from one thread that lives as
// long as it does, because PR_SET_PDEATHSIG fires when the *thread* that
// forked dies.
type Spawner struct {
	mu     sync.Mutex
	wake   sync.Cond
	queue  []func()
	closed bool
	done   chan struct{}
}

// NewSpawner starts the thread. Close ends it.
func NewSpawner() *Spawner {
	s := &Spawner{done: make(chan struct{})}
	s.wake.L = &s.mu
	go s.run()
	return s
}

// Do has f, which may call Start, run on the thread. It does not wait. What is
// queued is bounded by the caller, who has one start under way per slot.
func (s *Spawner) Do(f func()) {
	s.mu.Lock()
	s.queue = append(s.queue, f)
	s.mu.Unlock()
	s.wake.Signal()
}

// Close runs what is queued and ends the thread, and with it, on Linux, every
// process that it started and that still lives.
func (s *Spawner) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wake.Signal()
	<-s.done
}

func (s *Spawner) run() {
	// Never unlocked: when the goroutine returns the runtime ends the thread.
	runtime.LockOSThread()
	defer close(s.done)
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed {
			s.wake.Wait()
		}
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		f := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.mu.Unlock()
		f()
	}
}
