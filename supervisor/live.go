package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/capture"
	"example.com/brood/supervisor/internal/cgroup"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/notify"
	"example.com/brood/supervisor/internal/orphans"
	"example.com/brood/supervisor/internal/process"
)

// live is one process and all that hangs on it: its connection, its output,
// its end. It is made by spawn and lets go of everything by itself once the
// process has ended.
type live struct {
	id     lifecycle.ID
	launch *launch // what it was spawned from
	board  *board  // of its pool: what is in force there
	place  *place  // its slot, which may have another process by now
	proc   handle
	pid    int
	conn   link
	out    *capture.Stream
	err    *capture.Stream

	outSink, errSink *capture.Sink

	started time.Time
	served  atomic.Int64 // commands answered
	killed  bool         // SIGKILL was sent; the loop's own

	unexplained bool // its end was by a SIGKILL that nobody here has sent; set by the loop then

	notify   *notify.Socket  // nil: it has none
	family   *orphans.Family // what it may leave behind; nil: nobody looks
	cgroup   *cgroup.Group   // nil: it has none
	cgroupFD *os.File        // while it is started
	// stopAsked: its end is part of a stop, so nothing of it may be left before
	// that is told.
	stopAsked atomic.Bool

	gone      chan struct{} // closed when the process has ended
	saidReady bool          // owned by the connection's reader
	otherMain bool          // it has named another process as its main one; owned by notify's reader
	pong      atomic.Pointer[pong]
	status    atomic.Pointer[string]
	taken     atomic.Pointer[taken]
	ended     *ExitStatus // set before the event Exited is posted
}

// pong is the last answer to a ping.
type pong struct {
	ipc.Pong
	rtt time.Duration
	at  time.Time
}

const (
	// linger is how long the output of a process that has ended is waited for,
	// and its connection if it never said HELLO. All it wrote is there already;
	// only a grandchild that holds the other end makes the wait last.
	linger = 20 * time.Millisecond
	// lastAnswers is the same for the connection of one that has: what it
	// answered before its end must not become lost because this program is slow
	// to read it.
	lastAnswers = time.Second
	// closing is how long a worker that has closed its connection may take to
	// be seen to have exited, before it counts as having hung up.
	closing = 100 * time.Millisecond
	// aftermath is how often what crashed workers have left behind is looked for.
	aftermath = 100 * time.Millisecond
	// maxStatus bounds what is kept of a worker's own words, in bytes.
	maxStatus = 256
)

// spawn starts the process of id and posts what comes of it. It is run by the
// spawner.
func (s *Supervisor) spawn(id lifecycle.ID, from *launch, pl *place) {
	if _, err := s.sys.start(id, from, pl); err != nil {
		s.post(lifecycle.SpawnFailed{ID: id, Err: "it could not be started: " + err.Error()}, nil)
	}
}

// startLive makes the pipes and the socketpair, starts the process, and closes
// the process's ends here at once.
func (s *Supervisor) startLive(id lifecycle.ID, from *launch, pl *place) (l *live, err error) {
	l = &live{id: id, launch: from, board: pl.board, place: pl, started: time.Now(), gone: make(chan struct{}), outSink: s.stdout, errSink: s.stderr}
	out, outEnd, err := capture.Pipe(id.Slot.String(), s.stdout)
	if err != nil {
		return nil, err
	}
	defer outEnd.Close()
	errs, errEnd, err := capture.Pipe(id.Slot.String(), s.stderr)
	if err != nil {
		out.Finish()
		return nil, err
	}
	defer errEnd.Close()
	parent, child, err := ipc.Pair()
	if err != nil {
		out.Finish()
		errs.Finish()
		return nil, err
	}
	defer child.Close()
	if from.pool.Ready.When == ReadyNotify {
		err = l.listenNotify(s.notifyDir)
	}
	var proc *process.Process
	if err == nil {
		proc, err = s.startProcess(l, outEnd, errEnd, child)
	}
	if err != nil {
		parent.Close()
		out.Finish()
		errs.Finish()
		l.discard()
		return nil, err
	}
	l.proc, l.pid = proc, proc.PID
	l.out, l.err = out, errs
	l.family = s.orphans.Family(l.origin())
	if _, err = ipc.NewConn(parent, s.connConfig(l)); err != nil { // this end's HELLO is at fault
		_ = proc.Signal(syscall.SIGKILL)
		leaders.Reap(l.pid, func() { _, _ = proc.Wait() })
		l.discard()
		out.Finish()
		errs.Finish()
		return nil, err
	}
	s.attend(l, proc, true)
	return l, nil
}

// listenNotify makes the worker's NOTIFY_SOCKET.
func (l *live) listenNotify(dir *notify.Dir) error {
	attr, err := l.launch.attributes()
	if err != nil {
		return err
	}
	uid, gid := -1, -1
	if c := attr.Credential; c != nil {
		uid, gid = int(c.UID), int(c.GID)
	}
	l.notify, err = dir.Listen(fmt.Sprintf("%s.%d.%d", l.id.Pool, l.id.N, l.id.Generation), uid, gid)
	return err
}

// discard gives back what was made for a process that was not started.
func (l *live) discard() {
	if l.notify != nil {
		l.notify.Abort()
	}
	if l.cgroup != nil {
		ctx, cancel := context.WithTimeout(context.Background(), groupGone)
		defer cancel()
		_ = l.cgroup.Remove(ctx) // it is empty
	}
}

// connConfig is what the supervisor's end of a connection does. Spawned is
// posted before the first byte is read, so that it comes first.
func (s *Supervisor) connConfig(l *live) ipc.Config {
	return ipc.Config{
		Role:    ipc.Supervisor,
		Hello:   ipc.Hello{Worker: l.id.Slot.String(), Generation: l.id.Generation},
		Handler: s.cfg.Handler,
		OnOpen: func(c *ipc.Conn) {
			l.conn = c
			s.post(lifecycle.Spawned{ID: l.id, PID: l.pid}, l)
		},
		OnHello: func(ipc.Hello) { s.post(lifecycle.Greeted{ID: l.id}, l) },
		OnReady: func() {
			if !l.saidReady && !l.launch.pool.Ready.probed() { // again would mean nothing, and a flood of it would be the loop's
				l.saidReady = true
				s.post(lifecycle.SaidReady{ID: l.id}, l)
			}
		},
		OnEvent: func(e ipc.Event) { s.workerEvent(l, e) },
		OnPong: func(_ uint32, rtt time.Duration, p ipc.Pong) {
			if len(p.Status) > maxStatus {
				p.Status = p.Status[:maxStatus]
			}
			l.pong.Store(&pong{p, rtt, time.Now()})
			if p.Status != "" {
				l.status.Store(&p.Status)
			}
			beat := time.Duration(-1)
			if p.BeatMS != nil {
				beat = time.Duration(*p.BeatMS) * time.Millisecond
			}
			s.post(lifecycle.Ponged{ID: l.id, Beat: beat}, l) // one at the most for each ping that was sent
		},
		OnRetire: func(reason, text string) {
			why := "it asks to be replaced: " + reason
			if text != "" {
				why += ": " + text[:min(len(text), maxStatus)]
			}
			s.post(lifecycle.Due{ID: l.id, Why: why}, l)
		},
		OnClose: func(err error) { s.connClosed(l, err) },
	}
}

func (s *Supervisor) workerEvent(l *live, e ipc.Event) {
	if e.Name == "status" {
		text := string(e.Plain()[:min(len(e.Plain()), maxStatus)])
		l.status.Store(&text)
		return
	}
	s.cfg.Log.Debug("event", "worker", l.id.String(), "name", e.Name, "payload", string(e.Payload[:min(len(e.Payload), maxStatus)]))
}

// connClosed tells the loop, unless the process is just exiting, in which case
// its exit says all there is to say, or was never more than a plain worker.
func (s *Supervisor) connClosed(l *live, err error) {
	if errors.Is(err, ipc.ErrClosed) {
		return
	}
	if errors.Is(err, ipc.ErrProtocol) {
		s.post(lifecycle.HungUp{ID: l.id, Breach: true, Reason: err.Error()}, l)
		return
	}
	if _, greeted := l.conn.Peer(); !greeted {
		return
	}
	timer := time.NewTimer(closing)
	defer timer.Stop()
	select {
	case <-l.gone:
	case <-timer.C:
		s.post(lifecycle.HungUp{ID: l.id, Reason: "it has closed its connection"}, l)
	}
}

// origin is what tells what comes from this process.
func (l *live) origin() orphans.Origin {
	o := orphans.Origin{Worker: l.id.Slot.String(), Generation: l.id.Generation, Leader: l.pid}
	if l.cgroup != nil {
		o.Cgroup = l.cgroup.Path()
	}
	return o
}

// attend follows the process to its end. awaited: it is not known to be ready.
func (s *Supervisor) attend(l *live, proc *process.Process, awaited bool) {
	if awaited {
		s.matchLines(l)
	}
	s.keepLog(l)
	for _, stream := range []*capture.Stream{l.out, l.err} {
		if stream.Ended() {
			continue
		}
		if err := stream.Start(s.watched); err != nil {
			s.cfg.Log.Error("the output is lost", "worker", l.id.String(), "error", err)
			stream.Finish()
		}
	}
	if l.notify != nil {
		s.wg.Go(func() { l.notify.Run(func(m notify.Message) { s.notified(l, m) }) })
	}
	if awaited {
		s.probe(l)
	}
	proc.OnExit(s.watched, leaders.Reap, func(exit process.Exit) { s.exited(l, exit) })
}

// exited reports the end of a process, with its last words. What it answered
// before is still read by its connection, which is given a moment for it. It is
// called by the goroutine that watches, and so does not wait.
func (s *Supervisor) exited(l *live, exit process.Exit) {
	close(l.gone)
	s.aftermaths.Add(1)
	l.ended = s.sys.last(l)
	exited := input{event: lifecycle.Exited{ID: l.id, Code: exit.Code, Signal: exit.Signal, Core: exit.Core}, live: l}
	// A stop is over when nothing is left; after a crash the next process comes
	// first, and the loop has what is left seen to behind its start.
	if !l.stopAsked.Load() {
		exited.then = func() {
			s.wg.Go(func() {
				s.letRestart()
				s.blame(l)
				s.sys.clear(l)
				s.aftermaths.Add(-1)
			})
		}
		s.give(exited)
		return
	}
	s.wg.Go(func() {
		s.sys.clear(l)
		s.give(exited)
		s.aftermaths.Add(-1)
	})
}

// letRestart puts off what is to be done about a crash besides the restart, so
// that it is not in the way of that, and many crashes share a look at /proc.
func (s *Supervisor) letRestart() {
	timer := time.NewTimer(time.Until(time.Now().Truncate(aftermath).Add(aftermath)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stopping:
	}
}

// lastWords is all that a process has printed, and whether its cgroup was out of
// memory.
func (l *live) lastWords() *ExitStatus {
	l.out.Finish()
	l.err.Finish()
	if l.notify != nil {
		l.notify.Close()
	}
	e := &ExitStatus{Stderr: l.err.Tail()}
	if l.cgroup != nil {
		n, err := l.cgroup.OOMKills()
		e.OOM = err == nil && n > 0
	}
	return e
}

// clearAfter ends the connection of a process that has ended, and kills and tells
// what it has left behind.
func (s *Supervisor) clearAfter(l *live) {
	select {
	case <-l.conn.Done():
	default:
		s.wg.Go(func() { l.closeConn() })
	}
	ctx, cancel := context.WithTimeout(context.Background(), survivorsGone)
	defer cancel()
	if l.cgroup != nil {
		_ = l.cgroup.Kill()
		if err := l.cgroup.Remove(ctx); err != nil {
			s.cfg.Log.Warn("cgroup", "worker", l.id.String(), "error", err)
		}
	}
	select {
	case <-s.stopping: // the end of Run looks after all at once
		return
	default:
	}
	left, err := l.family.End(ctx)
	for _, o := range left {
		s.cfg.Log.Warn("left behind, and killed", "worker", l.id.String(), "process", o.String())
	}
	if err != nil {
		s.cfg.Log.Warn("left behind", "worker", l.id.String(), "error", err)
	}
}

// closeConn closes the connection of a process that has ended, if it does not
// end by itself: a grandchild may hold the other end.
func (l *live) closeConn() {
	limit := linger
	if _, greeted := l.conn.Peer(); greeted {
		limit = lastAnswers
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-l.conn.Done():
	case <-timer.C:
		l.conn.Close()
	}
}

// signal sends to the process group, or to its leader alone.
func (l *live) signal(sig syscall.Signal, leader bool) error {
	if leader {
		return l.proc.SignalLeader(sig)
	}
	return l.proc.Signal(sig)
}

// answered counts a command and says when the worker has done its share.
func (l *live) answered(s *Supervisor) {
	l.place.served.Add(1)
	n, limit := l.served.Add(1), int64(l.board.config.Load().Recycle.Commands)
	if limit > 0 && n >= limit {
		s.post(lifecycle.Due{ID: l.id, Why: fmt.Sprintf("it has served %d commands", n)}, l)
	}
}

func (l *live) drops() uint64 {
	return l.outSink.Dropped(l.id.Slot.String()) + l.errSink.Dropped(l.id.Slot.String())
}

// describe adds what the worker has said of itself.
func (l *live) describe(st *SlotStatus, v *lifecycle.View) {
	if text := l.status.Load(); text != nil {
		st.Status = *text
	}
	if u := l.taken.Load(); u != nil {
		st.RSS, st.CPU, st.FDs = u.rss, u.cpu, u.fds
	}
	if !v.Greeted {
		return
	}
	hello, _ := l.conn.Peer()
	st.SDK, st.Commands = hello.SDK, hello.Commands
	st.Inflight = l.conn.Open()
	if p := l.pong.Load(); p != nil {
		responsive := !v.Hung
		st.Responsive = &responsive
		st.PingRTT = p.rtt
		if p.BeatMS != nil {
			progressing := time.Duration(*p.BeatMS)*time.Millisecond+time.Since(p.at) < maxBeat
			st.Progressing = &progressing
		}
	} else if v.Hung {
		responsive := false
		st.Responsive = &responsive
	}
}
