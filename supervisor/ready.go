package supervisor

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/notify"
	"example.com/brood/supervisor/internal/probe"
)

const (
	// probeEvery is the time between two checks, probeTime the longest for one.
	probeEvery = 100 * time.Millisecond
	probeTime  = 5 * time.Second
)

// probe finds out when a worker is ready where it does not say so on the
// socketpair. It ends when the worker does, or has become ready.
func (s *Supervisor) probe(l *live) {
	r := l.launch.pool.Ready
	var check probe.Check
	switch r.When {
	case ReadyExec:
		check = programCheck{s, l, r.Exec}
	case ReadyHTTP:
		check, _ = probe.ParseHTTP(r.HTTP) // Validate has parsed it
	case ReadyTCP:
		check, _ = probe.ParseTCP(r.TCP)
	default:
		return
	}
	s.wg.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-l.gone:
				cancel()
			case <-ctx.Done():
			}
		}()
		if err := probe.Run(ctx, check, probeEvery, probeTime); err != nil {
			text := fmt.Sprintf("it was not ready: %v", err)
			l.status.CompareAndSwap(nil, &text)
			return
		}
		s.post(lifecycle.SaidReady{ID: l.id}, l)
	})
}

// programCheck is ready when a program's exit code is 0.
type programCheck struct {
	s     *Supervisor
	l     *live
	words []string
}

func (c programCheck) Ready(ctx context.Context) error {
	a, err := c.s.runAside(ctx, c.l, c.words, nil)
	if err != nil {
		return err
	}
	return a.failure()
}

// reloadingStatus is what a worker's status shows that says RELOADING=1 and no
// STATUS, until its READY=1.
var reloadingStatus = "reloading"

// notified acts on what a worker has said by sd_notify(3). One that reloads goes
// on serving. MAINPID= is refused: the worker is the process that was started.
// ERRNO= changes nothing.
func (s *Supervisor) notified(l *live, m notify.Message) {
	if m.Reloading && m.Status == nil {
		m.Status = &reloadingStatus
	}
	if m.Ready && m.Status == nil {
		l.status.CompareAndSwap(&reloadingStatus, nil)
	}
	if m.Status != nil {
		l.status.Store(m.Status)
	}
	if m.MainPID != 0 && m.MainPID != l.pid && !l.otherMain {
		l.otherMain = true
		s.cfg.Log.Warn("it says that its main process is another; the one that was started stays the worker", "worker", l.id.String(), "pid", l.pid, "said", m.MainPID)
	}
	if m.WatchdogEvery != nil {
		s.post(lifecycle.WatchedBy{ID: l.id, Every: *m.WatchdogEvery}, l)
	}
	if m.ExtendTimeout > 0 {
		s.post(lifecycle.Extended{ID: l.id, By: m.ExtendTimeout}, l)
	}
	switch {
	case m.Ready:
		s.post(lifecycle.SaidReady{ID: l.id}, l)
	case m.Stopping:
		s.post(lifecycle.SaidStopping{ID: l.id}, l)
	}
	switch {
	case m.WatchdogTrigger:
		s.post(lifecycle.HungUp{ID: l.id, Breach: true, Reason: "it says by WATCHDOG=trigger that it hangs"}, l)
	case m.Watchdog:
		s.post(lifecycle.SaidAlive{ID: l.id}, l)
	}
}

// matchLines has the first line of the worker's output that matches make it
// ready. It is called before anything is read.
func (s *Supervisor) matchLines(l *live) {
	if l.launch.pool.Ready.When != ReadyLog {
		return
	}
	line, _ := probe.ParseLine(l.launch.pool.Ready.Log) // Validate has parsed it
	var found atomic.Bool
	until := func(b []byte) bool {
		if !found.Load() && line.Match(b) && !found.Swap(true) {
			s.post(lifecycle.SaidReady{ID: l.id}, l)
		}
		return found.Load()
	}
	l.out.Until(until)
	l.err.Until(until)
}
