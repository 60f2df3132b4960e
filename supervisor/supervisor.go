package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"example.com/brood/supervisor/internal/capture"
	"example.com/brood/supervisor/internal/cgroup"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/listen"
	"example.com/brood/supervisor/internal/notify"
	"example.com/brood/supervisor/internal/orphans"
	"example.com/brood/supervisor/internal/process"
	"example.com/brood/supervisor/internal/watch"
)

// Supervisor runs the pools of one Config. All methods may be called from any
// goroutine.
type Supervisor struct {
	cfg    Config // its Pools are those at the start
	pools  atomic.Pointer[[]*board]
	events *eventLog
	logs   logBell

	sampled sampler
	changes atomic.Uint64 // of what the board shows

	inputs  chan input
	beats   chan struct{} // unbuffered: taken by the loop when it comes round
	done    chan struct{} // closed when the loop has ended
	started atomic.Pointer[time.Time]
	begun   chan struct{} // closed when the loop has taken its first step, or will take none

	stopping    chan struct{} // closed by the first Shutdown
	stopOnce    sync.Once
	said        chan func() // what the loop has to log; a slow log must not hold it up
	unsaid      atomic.Int64
	lastOp      atomic.Uint64
	lastVersion atomic.Uint64

	oom     oomCounter
	sys     system
	sockets sockets
	asides  asides
	// aftermaths counts the ends of processes that have not been told to the loop,
	// or after which it is still being looked for what they have left behind.
	aftermaths atomic.Int64
	carried    *carried        // what the program before has handed over; nil: nothing
	running    context.Context // ends with the loop
	stopped    context.CancelFunc

	reloading  sync.Mutex             // held while a Reload is under way, or an upgrade is tried
	lastReload atomic.Pointer[reload] // the last that has begun; nil: there was none
	upgrading  sync.Mutex             // held while an Upgrade is under way
	exchanging sync.Mutex             // held while it is tried

	// Made by Run.
	stdout, stderr *capture.Sink
	spawner        *process.Spawner
	watched        *watch.Set // pidfds and outputs of all processes
	orphans        *orphans.Orphans
	cgroups        *cgroup.Tree // nil: there are none
	cgroupsAsked   bool
	notifyDir      *notify.Dir // nil: no pool needs it
	devNull        *os.File
	wg             sync.WaitGroup // attend, output readers
}

// leaders are the workers of all supervisors of this program: there is one
// table of pids.
var leaders orphans.Leaders

// New checks cfg and makes a supervisor that Run starts. A faulty cfg is
// reported whole: every fault is a *[FieldError] in the joined error.
func New(cfg Config) (*Supervisor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	s := &Supervisor{
		cfg:      cfg.withDefaults(),
		events:   newEventLog(),
		inputs:   make(chan input, 256),
		beats:    make(chan struct{}),
		done:     make(chan struct{}),
		begun:    make(chan struct{}),
		stopping: make(chan struct{}),
		said:     make(chan func(), keptWords),
	}
	s.sys = s.operating()
	s.oom.read = oomKills
	s.running, s.stopped = context.WithCancel(context.Background())
	s.sockets.open, s.sockets.stale = map[string]*listen.Socket{}, map[string]bool{}
	boards := make([]*board, len(s.cfg.Pools))
	for i, p := range s.cfg.Pools {
		boards[i] = newBoard(p, p.Workers)
	}
	s.pools.Store(&boards)
	if err := s.readHanded(); err != nil {
		return nil, err
	}
	return s, nil
}

// Run starts every worker and keeps them until ctx ends or Shutdown is called,
// then stops them and returns nil once none is left. It is called once.
func (s *Supervisor) Run(ctx context.Context) error {
	now := time.Now()
	if !s.started.CompareAndSwap(nil, &now) {
		return errors.New("supervisor: Run was called before")
	}
	if err := s.sys.begin(); err != nil {
		close(s.begun)
		close(s.done)
		return fmt.Errorf("supervisor: %w", errors.Join(err, s.sys.end()))
	}
	stop := context.AfterFunc(ctx, func() { s.Shutdown(false) })
	s.wg.Go(s.sys.watch)
	s.wg.Go(s.watchMemory)
	told := make(chan struct{})
	go func() {
		s.tell()
		close(told)
	}()
	if s.carried != nil {
		s.wg.Go(func() { s.catchUp(s.running) })
	}
	loopErr := s.loop()
	stop()
	s.stopped()
	s.asides.end()
	close(s.said)
	err := errors.Join(loopErr, s.sys.end())
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-told:
	case <-timer.C: // the log belongs to the caller of New, and is stuck
	}
	return err
}

// keptWords is how many lines wait for a slow log before the loop's are dropped.
const keptWords = 1024

// say has f log something. It does not wait. It is called by the loop alone.
func (s *Supervisor) say(f func()) {
	select {
	case s.said <- f:
	default:
		s.unsaid.Add(1)
	}
}

// tell logs what the loop says, in order.
func (s *Supervisor) tell() {
	for f := range s.said {
		f()
		if n := s.unsaid.Swap(0); n > 0 {
			s.cfg.Log.Warn("lines of this log were dropped: it is not written fast enough", "lines", n)
		}
	}
}

// begin makes what Run needs. What it has made is taken back by end.
func (s *Supervisor) begin() (err error) {
	s.spawner = process.NewSpawner(&leaders)
	s.oom.last = oomKills()
	if s.watched, err = watch.New(); err != nil {
		return err
	}
	if s.devNull, err = os.Open(os.DevNull); err != nil {
		return err
	}
	options := orphans.Options{Leaders: &leaders, All: s.cfg.Reaper, Log: s.cfg.Log}
	if s.carried != nil {
		if err := s.beginHanded(); err != nil {
			return err
		}
		options.Before = s.carried.Orphans
	} else {
		s.stdout, s.stderr = capture.NewSink(s.cfg.Stdout, s.outputFails("stdout")), capture.NewSink(s.cfg.Stderr, s.outputFails("stderr"))
		if _, err := s.sockets.prepare(s.cfg.Pools); err != nil {
			return err
		}
	}
	s.orphans, err = orphans.Start(options)
	if err != nil {
		s.cfg.Log.Warn("what workers leave behind is not looked after", "error", err)
	}
	return s.prepare(s.declared())
}

// prepare makes what only some pools need.
func (s *Supervisor) prepare(pools []Pool) (err error) {
	for _, p := range pools {
		if p.Ready.When == ReadyNotify && s.notifyDir == nil {
			if s.notifyDir, err = notify.NewDir(); err != nil {
				return err
			}
		}
		if p.Cgroup == (Cgroup{}) {
			continue
		}
		if !s.cgroupsAsked {
			s.cgroupsAsked = true
			if s.cgroups, err = cgroup.Open(""); err != nil {
				s.cfg.Log.Warn("workers run without cgroups of their own: their limits are not enforced", "pool", p.Name, "error", err)
			}
		}
		if s.cgroups == nil {
			continue
		}
		for _, text := range s.cgroups.Check(cgroup.Limits{MemoryMax: p.Cgroup.Memory, PIDsMax: p.Cgroup.PIDs}) {
			s.cfg.Log.Warn("cgroup", "pool", p.Name, "what", text)
		}
	}
	return nil
}

// end gives back what begin has made, once no worker is left.
func (s *Supervisor) end() error {
	s.reloading.Lock() // none is under way any more, and none begins
	defer s.reloading.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), survivorsGone)
	defer cancel()
	left, err := s.orphans.KillAll(ctx)
	for _, o := range left {
		s.cfg.Log.Warn("left behind, and killed", "process", o.String(), "worker", o.Worker)
	}
	if err != nil {
		s.cfg.Log.Error("left behind", "error", err)
	}
	s.orphans.Close()
	s.spawner.Close()
	if s.watched != nil {
		s.watched.Close()
	}
	s.wg.Wait()
	s.devNull.Close() // nil if it was never opened
	if s.notifyDir != nil {
		s.notifyDir.Close()
	}
	if s.cgroups != nil {
		if err := s.cgroups.Close(); err != nil {
			s.cfg.Log.Warn("cgroup", "error", err)
		}
	}
	s.closeSink(s.stdout)
	s.closeSink(s.stderr)
	s.events.close()
	s.logs.wake()
	return s.sockets.close()
}

// survivorsGone is how long what workers leave behind may take to be killed.
const survivorsGone = 5 * time.Second

// lastWords is how long a slow writer may take over what is queued at the end.
const lastWords = time.Second

// closeSink waits for what is queued to be written, but not for a writer that
// is stuck: it belongs to the caller of New.
func (s *Supervisor) closeSink(k *capture.Sink) {
	k.Close()
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-k.Done():
	case <-timer.C:
		s.cfg.Log.Warn("the end of the workers' output is lost: nobody reads it")
	}
}

// outputFails is told when the workers' lines can't be written to where they go,
// and when they can be again. The log may go to the same place; it is for who reads
// it elsewhere.
func (s *Supervisor) outputFails(stream string) func(error) {
	return func(err error) {
		if err != nil {
			s.cfg.Log.Warn("the workers' output can't be written; what comes is dropped and counted", "stream", stream, "error", err)
			return
		}
		s.cfg.Log.Warn("the workers' output is written again", "stream", stream)
	}
}

// Shutdown stops every worker, after which Run returns. With now it is by
// SIGKILL at once. It does not wait and may be called again.
func (s *Supervisor) Shutdown(now bool) {
	s.stopOnce.Do(func() { close(s.stopping) })
	s.post(lifecycle.Shutdown{Now: now}, nil)
}

// Begun is closed when Run has begun: what was handed over is taken up, and every
// worker that is to be started first has been ordered; or Run has failed. Who
// serves others does so from then on.
func (s *Supervisor) Begun() <-chan struct{} { return s.begun }

// Done is closed when Run has stopped every worker.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// post gives the loop an event. The loop never waits for anything but its
// inputs, so this does not take long; after its end the event is dropped.
func (s *Supervisor) post(ev lifecycle.Event, l *live) {
	s.give(input{event: ev, live: l})
}

func (s *Supervisor) give(in input) {
	select {
	case s.inputs <- in:
	case <-s.done:
		if in.then != nil {
			in.then()
		}
	}
}

// policy is what the lifecycle needs of a pool with its defaults filled in.
func (p Pool) policy() *lifecycle.Policy {
	return &lifecycle.Policy{
		Auto: p.Ready.When == ReadyAuto, Alive: p.Ready.When == ReadyAlive, Once: p.Ready.When == ReadyExit, Boot: p.Ready.Timeout,
		Ping: p.Health.Ping, PingTimeout: p.Health.Timeout, Failures: p.Health.Failures, Observe: p.Health.Action == ActionObserve,
		OnFailureOnly: p.Restart.When == RestartOnFailure, Never: p.Restart.When == RestartNever,
		BackoffMin: p.Restart.BackoffMin, BackoffMax: p.Restart.BackoffMax, Stable: p.Restart.Stable,
		Budget: p.Restart.Budget, Window: p.Restart.Window, GiveUp: p.Restart.GiveUpCodes,
		StopSignal: p.Stop.Signal, StopTimeout: p.Stop.Timeout,
		Beat: p.Health.Beat, Dump: p.Health.Dump,
		RestartEvery: every(p.Restart.Rate, p.Restart.RateWindow), RestartBurst: max(p.Restart.Rate, p.Workers),
		Surge: p.Rollout.Surge, Unavailable: p.Rollout.Unavailable, Soak: p.Rollout.Soak,
		Probed: p.Ready.probed(), Watchdog: p.Ready.When == ReadyNotify && p.Health.Beat > 0,
		Age: p.Recycle.Age, Jitter: max(p.Recycle.Jitter, 0), MinReady: p.MinReady,
	}
}

// every is the time between two of n in window; n below 0: no limit.
func every(n int, window time.Duration) time.Duration {
	if n <= 0 {
		return 0
	}
	return window / time.Duration(n)
}
