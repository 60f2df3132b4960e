package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/brood/supervisor/internal/capture"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/process"
)

// Supervisor runs the pools of one Config. All methods may be called from any
// goroutine.
type Supervisor struct {
	cfg    Config
	pools  []*poolBoard
	places map[lifecycle.Slot]*place
	events *eventLog

	inputs  chan input
	done    chan struct{} // closed when the loop has ended
	started atomic.Pointer[time.Time]
	lastOp  atomic.Uint64

	// Made by Run.
	stdout, stderr *capture.Sink
	spawner        *process.Spawner
	devNull        *os.File
	wg             sync.WaitGroup // attend, output readers
}

// New checks cfg and makes a supervisor that Run starts. A faulty cfg is
// reported whole: every fault is a *[FieldError] in the joined error.
func New(cfg Config) (*Supervisor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	s := &Supervisor{
		cfg:    cfg.withDefaults(),
		places: map[lifecycle.Slot]*place{},
		events: newEventLog(),
		inputs: make(chan input, 256),
		done:   make(chan struct{}),
	}
	for _, p := range s.cfg.Pools {
		b := &poolBoard{config: p, places: make([]*place, p.Workers)}
		for i := range b.places {
			id := lifecycle.Slot{Pool: p.Name, N: i + 1}
			pl := &place{pool: b, slot: i + 1}
			pl.view.Store(&lifecycle.View{Slot: id, State: lifecycle.Stopped, Want: lifecycle.Up, Reason: "not started yet"})
			b.places[i] = pl
			s.places[id] = pl
		}
		s.pools = append(s.pools, b)
	}
	return s, nil
}

func (s *Supervisor) board(id lifecycle.Slot) *place { return s.places[id] }

// Run starts every worker and keeps them until ctx ends or Shutdown is called,
// then stops them and returns nil once none is left. It is called once.
func (s *Supervisor) Run(ctx context.Context) error {
	now := time.Now()
	if !s.started.CompareAndSwap(nil, &now) {
		return errors.New("supervisor: Run was called before")
	}
	devNull, err := os.Open(os.DevNull)
	if err != nil {
		close(s.done)
		return fmt.Errorf("supervisor: %w", err)
	}
	s.devNull = devNull
	s.stdout, s.stderr = capture.NewSink(s.cfg.Stdout), capture.NewSink(s.cfg.Stderr)
	s.spawner = process.NewSpawner()

	stop := context.AfterFunc(ctx, func() { s.Shutdown(false) })
	s.loop()
	stop()

	s.wg.Wait()
	s.spawner.Close()
	devNull.Close()
	s.closeSink(s.stdout)
	s.closeSink(s.stderr)
	s.events.close()
	return nil
}

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

// Shutdown stops every worker, after which Run returns. With now it is by
// SIGKILL at once. It does not wait and may be called again.
func (s *Supervisor) Shutdown(now bool) { s.post(lifecycle.Shutdown{Now: now}, nil) }

// Stopped is closed when Run has stopped every worker.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// input is something for the loop. live is set where the event is of a process.
type input struct {
	event lifecycle.Event
	live  *live
	reply chan<- []lifecycle.Result // of an Order; has room for one
}

// post gives the loop an event. The loop never waits for anything but its
// inputs, so this does not take long; after its end the event is dropped.
func (s *Supervisor) post(ev lifecycle.Event, l *live) {
	select {
	case s.inputs <- input{event: ev, live: l}:
	case <-s.done:
	}
}

// loop is the only owner of the machine.
type loop struct {
	*Supervisor
	machine *lifecycle.Machine
	replies map[uint64]chan<- []lifecycle.Result // by op
	over    bool
}

func (s *Supervisor) loop() {
	defer close(s.done)
	l := &loop{Supervisor: s, machine: lifecycle.New(rand.Float64), replies: map[uint64]chan<- []lifecycle.Result{}}
	now := time.Now()
	for _, b := range s.pools {
		policy := b.config.policy()
		for _, pl := range b.places {
			l.machine.Add(lifecycle.Slot{Pool: b.config.Name, N: pl.slot}, policy, now)
		}
	}
	l.step(lifecycle.Boot{})
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !l.over {
		var due <-chan time.Time
		if next := l.machine.Next(); !next.IsZero() {
			timer.Reset(time.Until(next))
			due = timer.C
		}
		select {
		case in := <-s.inputs:
			l.take(in)
		case <-due:
			l.step(lifecycle.Tick{})
		}
	}
}

func (l *loop) take(in input) {
	if in.live != nil {
		pl := l.board(in.live.id.Slot)
		switch ev := in.event.(type) {
		case lifecycle.Spawned:
			pl.live.Store(in.live)
		case lifecycle.Exited:
			exit := *in.live.ended
			exit.Exit = lifecycle.Exit{Generation: ev.Generation, PID: in.live.proc.PID, Code: ev.Code, Signal: ev.Signal, Core: ev.Core}
			pl.exit.Store(&exit)
		}
	}
	if o, ok := in.event.(lifecycle.Order); ok {
		l.replies[o.Op] = in.reply
	}
	l.step(in.event)
}

// step makes the change visible before it is announced, then carries it out.
func (l *loop) step(ev lifecycle.Event) {
	effects := l.machine.Step(time.Now(), ev)
	l.machine.Dirty(func(v lifecycle.View) {
		pl := l.board(v.Slot)
		pl.view.Store(&v)
		if v.LastExit != nil {
			e := ExitStatus{Exit: *v.LastExit}
			if old := pl.exit.Load(); old != nil && old.Generation == e.Generation {
				e.Stderr = old.Stderr
			}
			pl.exit.Store(&e)
		}
	})
	for _, e := range effects {
		l.carryOut(e)
	}
}

// carryOut never waits.
func (l *loop) carryOut(e lifecycle.Effect) {
	switch e := e.(type) {
	case lifecycle.Spawn:
		l.spawner.Do(func() { l.spawn(e.ID) })
	case lifecycle.Drain:
		l.withLive(e.ID, func(p *live) error { return p.conn.Drain(e.Grace) })
	case lifecycle.Signal:
		l.withLive(e.ID, func(p *live) error { return p.proc.Signal(e.Signal) })
	case lifecycle.Ping:
		l.withLive(e.ID, func(p *live) error {
			_, err := p.conn.SendPing()
			return err
		})
	case lifecycle.Announce:
		l.announce(e)
	case lifecycle.Settled:
		if reply := l.replies[e.Op]; reply != nil {
			reply <- e.Results
		}
		delete(l.replies, e.Op)
	case lifecycle.Finished:
		l.over = true
	}
}

// withLive acts on the process of id. A failure is of a process or connection
// that is just ending; what ended it is reported by its own event.
func (l *loop) withLive(id lifecycle.ID, act func(*live) error) {
	p := l.board(id.Slot).live.Load()
	if p == nil || p.id != id {
		return
	}
	if err := act(p); err != nil {
		l.cfg.Log.Debug("effect", "worker", id.String(), "error", err)
	}
}

// announce logs and records an event.
func (l *loop) announce(a lifecycle.Announce) {
	id := lifecycle.ID{Slot: a.Slot, Generation: a.Generation}
	l.events.add(Event{Pool: a.Pool, Slot: a.N, Generation: a.Generation, Kind: a.Kind, Text: a.Text})
	switch a.Kind {
	case lifecycle.KindExit:
		args := []any{"worker", id.String(), "how", a.Text}
		if e := l.board(a.Slot).exit.Load(); e != nil && e.Failure() && len(e.Stderr) > 0 {
			args = append(args, "stderr", strings.Join(e.Stderr, "\n"))
		}
		l.cfg.Log.Info("exit", args...)
	case lifecycle.KindState:
		if strings.HasPrefix(a.Text, string(lifecycle.Failed)) {
			l.cfg.Log.Error("state", "worker", id.String(), "is", a.Text)
			return
		}
		l.cfg.Log.Info("state", "worker", id.String(), "is", a.Text)
	default:
		l.cfg.Log.Warn(string(a.Kind), "worker", id.String(), "what", a.Text)
	}
}

// policy is what the lifecycle needs of a pool with its defaults filled in.
func (p Pool) policy() *lifecycle.Policy {
	return &lifecycle.Policy{
		Auto: p.Ready.When == ReadyAuto, Alive: p.Ready.When == ReadyAlive, Boot: p.Ready.Timeout,
		Ping: p.Health.Ping, PingTimeout: p.Health.Timeout, Failures: p.Health.Failures, Observe: p.Health.Action == ActionObserve,
		OnFailureOnly: p.Restart.When == RestartOnFailure, Never: p.Restart.When == RestartNever,
		BackoffMin: p.Restart.BackoffMin, BackoffMax: p.Restart.BackoffMax, Stable: p.Restart.Stable,
		Budget: p.Restart.Budget, Window: p.Restart.Window, GiveUp: p.Restart.GiveUpCodes,
		StopSignal: p.Stop.Signal, StopTimeout: p.Stop.Timeout,
	}
}

// Environment is what a worker of this pool gets beside the BROOD_ variables:
// the supervisor's own environment without any of those, then Env.
func (p Pool) Environment() []string { return environment(p.Env) }

// Program is the file that the pool's command names: found as the start of a
// worker finds it, in the worker's PATH or, with a slash, from Dir.
func (p Pool) Program() (string, error) {
	return process.LookPath(p.Command[0], p.Dir, p.Environment())
}

func environment(extra map[string]string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "BROOD_") })
	for k, v := range extra {
		env = append(env, k+"="+v)
	}
	return env
}
