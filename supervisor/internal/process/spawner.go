package process

import (
	"errors"
	"sync"
	"sync/atomic"

	"example.com/brood/supervisor/handover"
)

// Table is told of each process that is forked and reaped, so that nobody else
// reaps one. Fork calls fork, which does not wait for long.
type Table interface {
	Fork(fork func() (pid int, err error)) error
	Reap(pid int, wait func())
}

// Spawner starts processes from one thread that lives as long as it does,
// because PR_SET_PDEATHSIG fires when the *thread* that forked dies.
type Spawner struct {
	thread *thread
	table  Table

	mu     sync.Mutex
	wake   sync.Cond
	queue  []func()
	under  int      // of what was queued, how much is under way
	after  []func() // run when nothing is queued or under way
	closed bool
	idle   sync.WaitGroup // the goroutines that run what is queued
}

// sideBySide is how many of what is queued run at a time: while one's process is
// being forked, the other makes what it needs.
const sideBySide = 2

// NewSpawner starts the thread, which Close ends; in a program that came by a
// handover it is the main thread instead, see [Main]. table may be nil: then
// nobody else reaps.
func NewSpawner(table Table) *Spawner {
	s := &Spawner{thread: startThread(table), table: table}
	s.wake.L = &s.mu
	for range sideBySide {
		s.idle.Go(s.run)
	}
	return s
}

// Do has f, which may call Start, run soon: what is queued is begun in order.
// It does not wait. What is queued is bounded by the caller, who has one start
// under way per slot.
func (s *Spawner) Do(f func()) {
	s.mu.Lock()
	s.queue = append(s.queue, f)
	s.mu.Unlock()
	s.wake.Signal()
}

// maxAfter bounds what waits for a pause between starts.
const maxAfter = 64

// After has f, which does not wait, run when nothing is being started, or when
// much waits for that: for what can wait and would be in the way of a restart.
func (s *Spawner) After(f func()) {
	s.mu.Lock()
	s.after = append(s.after, f)
	due := s.due()
	s.mu.Unlock()
	runAll(due)
}

// due takes out what After was given if it is to run now. The caller holds mu.
func (s *Spawner) due() (due []func()) {
	if len(s.queue)+s.under == 0 || len(s.after) > maxAfter {
		due, s.after = s.after, nil
	}
	return due
}

func runAll(all []func()) {
	for _, f := range all {
		f()
	}
}

// Start starts a process, which on Linux dies with the Spawner's thread. When it
// returns, the program is running. It may be called from any goroutine, until
// Close.
func (s *Spawner) Start(spec Spec) (*Process, error) {
	starting.Add(1)
	defer starting.Add(-1)
	return spec.start(s.thread.fork, s.table)
}

// starting is how many processes all Spawners are starting now.
var starting atomic.Int32

// ErrStarting is in the chain of the error of Exec when a process is being
// started, which the next program would know nothing of.
var ErrStarting = errors.New("process: one is being started; try again when it runs")

// Exec has the program at path take this one's place (execve(2)), as a child of
// whose pid all that the Spawner has started lives on. It is given argv, env, but
// for what env has of [handover.Env], standard input, output and error, what out
// has, and nothing else. It begins in [Main].
//
// It returns only if that fails, and everything is as it was then. Who calls it
// sees to it that nothing happens meanwhile that the next program should know of:
// what any other goroutine does just ends. What other Spawners have started dies,
// unless they share the main thread.
//
// Signals that would end a program wait for the next one from here on, or are
// told to both. So last is called when that has begun: what this program was told
// before, and it knows by then, the next one will not be told; if last has an error
// nothing is executed. It is called by the thread that forks. There is nothing but
// Linux that Exec works on ([errors.ErrUnsupported]).
func (s *Spawner) Exec(path string, argv, env []string, out *handover.Out, last func() error) error {
	return s.thread.exec(path, argv, env, out, last)
}

// Close runs what is queued and ends the thread, and with it, on Linux, every
// process that it started and that still lives, unless it is the main thread.
func (s *Spawner) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wake.Broadcast()
	s.idle.Wait()
	s.thread.close()
}

func (s *Spawner) run() {
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
		s.under++
		s.mu.Unlock()
		f()
		s.mu.Lock()
		s.under--
		due := s.due()
		s.mu.Unlock()
		runAll(due)
	}
}
