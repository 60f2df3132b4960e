package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"example.com/brood/supervisor/internal/process"
)

const (
	// linger is how long the output of a check that has ended is read on. All it
	// wrote is there already; only somebody outside its process group who holds
	// the other end makes the wait last.
	linger = 20 * time.Millisecond
	// dying is how long a check may take to be gone after SIGKILL.
	dying = time.Second
)

// Exec is ready when a program exits with code 0. It is started anew for each
// attempt.
//
// The program leads a process group of its own. When it exits, what is left of
// the group is killed; when the attempt is over, all of it is. Its output is
// read for as long as it runs, and the last of it is part of the error.
//
// When the supervisor is killed meanwhile, the program dies with it on Linux
// (PR_SET_PDEATHSIG, prctl(2)); what the program has started itself does not,
// but runs to its own end, its output going nowhere. Elsewhere so does the
// program. No exit code is missed by that: nobody is left to ask.
type Exec struct {
	// Spec is the program and all it is given: the worker's own user, limits and
	// environment, so that a check has no more rights than the worker it is for.
	// Stdin, Stdout and Stderr are set here; the rest is passed on as it is.
	Spec process.Spec

	// Start starts it. nil: process.Start from whatever thread there is. As
	// PR_SET_PDEATHSIG fires when the thread that forked ends, and not the program,
	// such a check could be killed early; it would count as not ready, and the next
	// attempt would tell. A function that forks on a thread that stays, such as a
	// process.Spawner's, has no such gap.
	Start func(process.Spec) (Process, error)
}

// Process is a started check, as a *[process.Process] is one.
type Process interface {
	Signal(syscall.Signal) error // to its whole group, as long as it was not reaped
	Wait() (process.Exit, error) // reaps it; called once
}

// Validate says what is wrong with e. It does not look whether the program is
// there: it may come later.
func (e Exec) Validate() error {
	if len(e.Spec.Command) == 0 || e.Spec.Command[0] == "" {
		return errors.New("a check needs a program; write it and its arguments as a list")
	}
	return nil
}

// Ready is one attempt. It outlasts ctx only while the program survives SIGKILL
// (in uninterruptible sleep), and that by a second; a goroutine then goes on
// waiting to reap it.
func (e Exec) Ready(ctx context.Context) error {
	if err := errors.Join(e.Validate(), ctx.Err()); err != nil {
		return err
	}
	p, out, err := e.start()
	if err != nil {
		return fmt.Errorf("the check could not be started: %w", err)
	}
	said := make(chan []byte, 1)
	go func() { said <- drain(out) }()
	exit, killed, err := await(ctx, p)
	_ = out.SetReadDeadline(time.Now().Add(linger)) // a pipe has deadlines; were it otherwise, drain ends at EOF
	output := <-said
	out.Close()
	return verdict(exit, killed, err, output)
}

// start returns the program with the end of the pipe where its output comes
// out, which is the caller's to close.
func (e Exec) start() (Process, *os.File, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	spec := e.Spec
	spec.Stdin, spec.Stdout, spec.Stderr = null, in, in
	start := e.Start
	if start == nil {
		start = func(s process.Spec) (Process, error) { return process.Start(s) }
	}
	p, err := start(spec)
	if err != nil {
		out.Close()
		return nil, nil, err
	}
	return p, out, nil
}

// drain reads to the end, or to the deadline, and keeps the last maxWords bytes.
func drain(out *os.File) []byte {
	var last []byte
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		last = append(last, buf[:n]...)
		last = append(last[:0], last[max(0, len(last)-maxWords):]...)
		if err != nil {
			return last
		}
	}
}

// errStays is what is said of a process that SIGKILL does not end.
var errStays = errors.New("it is still there after SIGKILL")

// await waits for the end of p, which it brings about when ctx ends.
func await(ctx context.Context, p Process) (exit process.Exit, killed bool, err error) {
	type end struct {
		exit process.Exit
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		exit, err := p.Wait()
		ended <- end{exit, err}
	}()
	select {
	case e := <-ended:
		return e.exit, false, e.err
	case <-ctx.Done():
	}
	_ = p.Signal(syscall.SIGKILL) // it may have ended just now
	timer := time.NewTimer(dying)
	defer timer.Stop()
	select {
	case e := <-ended:
		return e.exit, e.exit.Signal == syscall.SIGKILL, e.err
	case <-timer.C:
		return process.Exit{Code: -1}, true, errStays
	}
}

// verdict is the outcome of one attempt.
func verdict(exit process.Exit, killed bool, err error, output []byte) error {
	var text string
	switch {
	case err != nil:
		err = fmt.Errorf("the check's end was not seen: %w", err)
	case exit.Code == 0:
		return nil
	case killed:
		text = "the check was still running"
	case exit.Signal != 0:
		text = fmt.Sprintf("the check was killed by signal %d (%v)", int(exit.Signal), exit.Signal)
	case exit.Code < 0:
		text = "the check's exit code was taken by somebody else"
	default:
		text = fmt.Sprintf("the check ended with exit code %d", exit.Code)
	}
	if err == nil {
		err = errors.New(text)
	}
	if said := words(output); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}
