package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/capture"
	"example.com/brood/supervisor/internal/cgroup"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/notify"
	"example.com/brood/supervisor/internal/process"
)

// readHanded makes the board what it was.
func (s *Supervisor) readHanded() error {
	var v carried
	ok, err := s.cfg.Handover.Get(handed, &v)
	if !ok || err != nil {
		return err
	}
	s.carried = &v
	s.lastOp.Store(v.LastOp)
	s.lastVersion.Store(v.LastVersion)
	s.logs.seq.Store(v.LastLine)
	s.events.ring, s.events.next = v.Events, v.NextEvent
	var boards []*board
	for _, p := range v.Machine.Pools {
		config := v.config(p.Name, p.Version)
		if config == nil {
			return fmt.Errorf("supervisor: what was handed over lacks version %d of pool %s", p.Version, p.Name)
		}
		b := newBoard(*config, len(p.Slots))
		for _, d := range v.Declared {
			if d.Name == p.Name {
				b.asked.Store(int64(d.Workers))
			}
		}
		boards = append(boards, b)
	}
	for _, p := range v.Places {
		i := slices.IndexFunc(boards, func(b *board) bool { return b.name == p.Slot.Pool })
		if i < 0 || p.Slot.N < 1 || p.Slot.N > len(*boards[i].places.Load()) {
			return fmt.Errorf("supervisor: what was handed over has no slot %v", p.Slot)
		}
		(*boards[i].places.Load())[p.Slot.N-1].takeUp(p)
	}
	s.pools.Store(&boards)
	return nil
}

// config is a version of a pool; nil: there is none.
func (v *carried) config(pool string, version uint64) *Pool {
	for i := range v.Versions {
		if k := &v.Versions[i]; k.Pool == pool && k.Number == version {
			return &k.Config
		}
	}
	return nil
}

func (pl *place) takeUp(v keptPlace) {
	pl.exits.Store(&v.Exits)
	pl.served.Store(v.Served)
	pl.logs.newer.first = v.Line
	for _, l := range slices.Backward(v.Lines) {
		pl.logs.add(logRecord{at: l.At, seq: l.Seq, generation: l.Generation, stderr: l.Stderr}, l.Text)
	}
}

// beginHanded makes what Run needs from what was handed over.
func (s *Supervisor) beginHanded() (err error) {
	v, in := s.carried, s.cfg.Handover
	s.started.Store(&v.Started)
	s.stdout = capture.AdoptSink(s.cfg.Stdout, s.outputFails("stdout"), v.Stdout)
	s.stderr = capture.AdoptSink(s.cfg.Stderr, s.outputFails("stderr"), v.Stderr)
	if err := s.sockets.adopt(in, v.Sockets); err != nil {
		return err
	}
	for _, l := range v.Lives {
		leaders.Adopt(l.PID)
	}
	if v.Notify != nil {
		if s.notifyDir, err = notify.AdoptDir(in, *v.Notify); err != nil {
			return err
		}
	}
	if v.Cgroups != nil {
		s.cgroupsAsked = true
		if s.cgroups, err = cgroup.AdoptTree(in, *v.Cgroups); err != nil {
			s.cfg.Log.Warn("workers started from now on run without cgroups of their own", "error", err)
		}
	}
	return nil
}

// takeUp makes the machine and the processes what they were.
func (l *loop) takeUp() error {
	v := l.carried
	for i := range v.Versions {
		k := &v.Versions[i]
		l.versions[version{k.Pool, k.Number}] = &launch{pool: &k.Config}
	}
	policies := map[version]*lifecycle.Policy{}
	policyOf := func(pool string, number uint64) *lifecycle.Policy {
		name := version{pool, number}
		from := l.versions[name]
		if from == nil {
			return nil
		}
		if policies[name] == nil {
			policies[name] = from.pool.policy()
		}
		return policies[name]
	}
	var err error
	if l.machine, err = lifecycle.TakeUp(v.Machine, policyOf, l.sys.chance, time.Now()); err != nil {
		return err
	}
	for _, b := range l.boards() {
		for _, pl := range *b.places.Load() {
			l.places[pl.id] = pl
		}
	}
	for _, k := range v.Lives {
		pl := l.places[k.ID.Slot]
		from := l.versions[version{k.ID.Pool, k.Version}]
		if pl == nil || from == nil {
			return fmt.Errorf("there is no slot or version %d for %v", k.Version, k.ID)
		}
		p := l.takeUpLive(k, from, pl)
		l.lives[k.ID] = p
		pl.live.Store(p)
	}
	l.machine.Views(func(v lifecycle.View) { l.places[v.Slot].view.Store(&v) })
	return nil
}

// takeUpLive goes on with a process. What can't be gone on with is its end, or
// that of its connection.
func (s *Supervisor) takeUpLive(k keptLive, from *launch, pl *place) *live {
	in := s.cfg.Handover
	l := &live{
		id: k.ID, launch: from, board: pl.board, place: pl, pid: k.PID, started: time.Now().Add(-k.Up), gone: make(chan struct{}),
		outSink: s.stdout, errSink: s.stderr, killed: k.Killed, saidReady: k.SaidReady, otherMain: k.OtherMain,
	}
	l.served.Store(k.Served)
	l.stopAsked.Store(k.StopAsked)
	l.status.Store(k.Status)
	if p := k.Pong; p != nil {
		l.pong.Store(&pong{p.Pong, p.RTT, time.Now().Add(-p.Age)})
	}
	fault := func(what string, err error) {
		s.cfg.Log.Error("it could not be gone on with after the upgrade", "worker", l.id.String(), "what", what, "error", err)
	}
	var err error
	if l.out, err = capture.AdoptStream(in, k.Out, s.stdout); err != nil {
		fault("its standard output", err)
	}
	if l.err, err = capture.AdoptStream(in, k.Err, s.stderr); err != nil {
		fault("its standard error", err)
	}
	if k.Notify != nil {
		if l.notify, err = notify.AdoptSocket(in, *k.Notify); err != nil {
			fault("its notify socket", err)
		}
	}
	if k.Cgroup != nil && s.cgroups != nil {
		if l.cgroup, err = s.cgroups.Adopt(*k.Cgroup); err != nil {
			fault("its cgroup", err)
		}
	}
	l.family = s.orphans.Family(l.origin())
	if err := s.takeUpConn(l, k); err != nil {
		l.conn = brokenLink{err}
		fault("its connection", err)
		s.wg.Go(func() {
			s.post(lifecycle.HungUp{ID: l.id, Breach: true, Reason: "its connection did not survive the upgrade: " + err.Error()}, l)
		})
	}
	proc, err := process.Adopt(k.PID)
	if err != nil { // its exit status went to nobody
		fault("its process", err)
		l.proc = endedProcess{}
		s.wg.Go(func() { s.exited(l, process.Exit{Code: -1}) })
		return l
	}
	l.proc = proc
	s.attend(l, proc, k.Awaited)
	return l
}

// takeUpConn goes on with a connection.
func (s *Supervisor) takeUpConn(l *live, k keptLive) error {
	var f *os.File
	if k.ConnFD >= 0 {
		var err error
		if f, err = s.cfg.Handover.File(k.ConnFD, "worker-socketpair"); err != nil {
			return err
		}
	}
	cfg := s.connConfig(l)
	cfg.OnOpen = func(c *ipc.Conn) { l.conn = c }
	_, err := ipc.Continue(f, cfg, k.Conn)
	return err
}

// catchUp makes the pools what this program's configuration says, where that is
// another than they were handed over with.
func (s *Supervisor) catchUp(ctx context.Context) {
	if !slices.ContainsFunc(s.plan(s.cfg.Pools), func(c Change) bool { return c.Kind != ChangeNone }) {
		return
	}
	changes, err := s.Reload(ctx, s.cfg)
	if err != nil && !errors.Is(err, ErrStopping) {
		s.cfg.Log.Error("the pools go on as they were before the upgrade", "error", err)
	}
	for _, c := range changes {
		switch {
		case c.Kind == ChangeNone:
		case c.Failed():
			s.cfg.Log.Error("after the upgrade", "pool", c.Pool, "kind", string(c.Kind), "outcome", c.Trouble())
		default:
			s.cfg.Log.Info("after the upgrade", "pool", c.Pool, "kind", string(c.Kind), "fields", c.Fields)
		}
	}
}

// brokenLink is a connection that could not be gone on with.
type brokenLink struct{ err error }

// state is that of a connection that has ended.
func (b brokenLink) state() ipc.State { return ipc.State{Ended: b.err.Error()} }

func (b brokenLink) lost(command string) error {
	return &ipc.CallError{Command: command, Code: ipc.ErrLost, Message: b.err.Error(), Started: ipc.StartedNo}
}

func (b brokenLink) Call(_ context.Context, command string, _ ipc.Message) (ipc.Message, error) {
	return ipc.Message{}, b.lost(command)
}

func (b brokenLink) CallStream(_ context.Context, command string, _ ipc.Message, _ func(ipc.Piece) error) (ipc.Message, error) {
	return ipc.Message{}, b.lost(command)
}

func (b brokenLink) Ping(context.Context) (time.Duration, ipc.Pong, error) {
	return 0, ipc.Pong{}, b.lost("ping")
}

func (brokenLink) SendPing() (uint32, error) { return 0, ipc.ErrClosed }
func (brokenLink) Drain(time.Duration) error { return ipc.ErrClosed }
func (brokenLink) Peer() (ipc.Hello, bool)   { return ipc.Hello{}, false }
func (brokenLink) Open() int                 { return 0 }
func (brokenLink) Done() <-chan struct{}     { return ended }
func (brokenLink) Close() error              { return nil }

var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// endedProcess is one that can't be signalled any more.
type endedProcess struct{}

func (endedProcess) Signal(syscall.Signal) error       { return process.ErrEnded }
func (endedProcess) SignalLeader(syscall.Signal) error { return process.ErrEnded }
