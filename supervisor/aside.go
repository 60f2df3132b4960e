package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/brood/supervisor/internal/orphans"
	"example.com/brood/supervisor/internal/process"
)

// A program that is run aside is one that serves a worker: a check whether it is
// ready, or what a command is mapped to. It is started, signalled and reaped as
// workers are, so that nothing of it outlives the supervisor either.

const (
	// maxAside bounds what is kept of its output, in bytes.
	maxAside = 1 << 20
	// asideLinger is how long its output is read once it has ended: a grandchild
	// may hold the other end.
	asideLinger = 100 * time.Millisecond
	// asideGone is how long it may survive SIGKILL.
	asideGone = 2 * time.Second
)

// aside is how such a program ended.
type aside struct {
	exit           process.Exit
	stdout, stderr []byte
}

// errAsideKilled: the time was up.
var errAsideKilled = errors.New("its program was killed: the time was up")

// asides are the programs that run aside. They end with the loop, before what
// starts and watches them does.
type asides struct {
	mu     sync.Mutex
	closed bool
	n      int           // that run
	held   chan struct{} // closed when the hold is over; nil: there is none
	wg     sync.WaitGroup
}

// enter lets one in, after a hold.
func (a *asides) enter(ctx context.Context) error {
	for {
		a.mu.Lock()
		held := a.held
		if held == nil || a.closed {
			break
		}
		a.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer a.mu.Unlock()
	if a.closed {
		return ErrStopping
	}
	a.n++
	a.wg.Add(1)
	return nil
}

// hold has who comes wait until release.
func (a *asides) hold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = make(chan struct{})
}

func (a *asides) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.held)
	a.held = nil
}

func (a *asides) leave() {
	a.mu.Lock()
	a.n--
	a.mu.Unlock()
	a.wg.Done()
}

func (a *asides) underWay() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// end lets no more in and waits for those there.
func (a *asides) end() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.wg.Wait()
}

// runAside runs words beside the worker and waits for its end, or kills its
// group when ctx, or the loop, ends.
func (s *Supervisor) runAside(ctx context.Context, l *live, words []string, stdin []byte) (aside, error) {
	env, err := l.launch.pool.Environment()
	if err != nil {
		return aside{}, err
	}
	attr, err := l.launch.attributes()
	if err != nil {
		return aside{}, err
	}
	attr.ListenFDs = 0
	mark, beside := s.orphans.Beside()
	env = append(append(env, identity(l.id)...), fmt.Sprintf("BROOD_PID=%d", l.pid), "BROOD_SOCKET="+s.cfg.Socket, mark)
	return s.runProgram(ctx, process.Spec{Command: words, Dir: l.launch.pool.Dir, Env: env, Attr: attr}, stdin, func(pid int) *orphans.Family {
		return s.orphans.Family(orphans.Origin{Worker: l.id.Slot.String(), Generation: l.id.Generation, Leader: pid, Beside: beside})
	})
}

// runProgram runs what spec says but for its streams. family, which may be nil, is
// what it may leave behind.
func (s *Supervisor) runProgram(ctx context.Context, spec process.Spec, stdin []byte, family func(pid int) *orphans.Family) (aside, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.running, cancel)()
	if err := s.asides.enter(ctx); err != nil {
		return aside{}, err
	}
	defer s.asides.leave()
	var pipes [3]*os.File // our ends
	var theirs [3]*os.File
	defer func() {
		for i := range pipes {
			pipes[i].Close() // nil where it was never made
			theirs[i].Close()
		}
	}()
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			return aside{}, err
		}
		pipes[i], theirs[i] = r, w
		if i == 0 {
			pipes[i], theirs[i] = w, r
		}
	}
	spec.Stdin, spec.Stdout, spec.Stderr = theirs[0], theirs[1], theirs[2]
	proc, err := s.spawner.Start(spec)
	if err != nil {
		return aside{}, err
	}
	exited := make(chan process.Exit, 1)
	proc.OnExit(s.watched, leaders.Reap, func(e process.Exit) { exited <- e })
	for _, f := range theirs {
		f.Close()
	}
	if family != nil {
		left := family(proc.PID)
		defer func() {
			gone, cancel := context.WithTimeout(context.Background(), asideGone)
			defer cancel()
			_, _ = left.End(gone) // what it has left behind; what can't be killed is the end's to tell
		}()
	}
	return feed(ctx, proc, exited, pipes, stdin)
}

// feed feeds and reads it to its end.
func feed(ctx context.Context, proc *process.Process, exited <-chan process.Exit, pipes [3]*os.File, stdin []byte) (aside, error) {
	var a aside
	read := make(chan struct{}, 2)
	for i, into := range []*[]byte{&a.stdout, &a.stderr} {
		go func() {
			*into, _ = io.ReadAll(io.LimitReader(pipes[i+1], maxAside)) // what came before an error counts
			_, _ = io.Copy(io.Discard, pipes[i+1])
			read <- struct{}{}
		}()
	}
	fed := make(chan struct{})
	go func() {
		_, _ = pipes[0].Write(stdin) // EPIPE: it does not want to know
		pipes[0].Close()
		close(fed)
	}()
	var err error
	select {
	case a.exit = <-exited:
	case <-ctx.Done():
		err = errAsideKilled
		_ = proc.Signal(syscall.SIGKILL)
		timer := time.NewTimer(asideGone)
		defer timer.Stop()
		select {
		case a.exit = <-exited:
		case <-timer.C: // uninterruptible; it is reaped when it goes
		}
	}
	for _, p := range pipes {
		_ = p.SetDeadline(time.Now().Add(asideLinger))
	}
	<-read
	<-read
	<-fed
	return a, err
}

// failure says in words why it counts as failed; nil: it does not.
func (a aside) failure() error {
	if a.exit == (process.Exit{}) {
		return nil
	}
	text := strings.TrimSpace(string(bytes.TrimSpace(a.stderr)))
	if text == "" && a.exit.Signal != 0 {
		text = "killed by " + a.exit.Signal.String()
	}
	if text == "" {
		text = fmt.Sprintf("exit code %d", a.exit.Code)
	}
	return errors.New(text)
}
