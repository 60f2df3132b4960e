//go:build darwin || freebsd

package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/watch"
)

// Start starts a process. What is missing here: it does not die with the
// supervisor by itself; a worker that uses package worker exits on EOF. Of the
// attributes there is only Credential, and there are no cgroups: a Spec that asks
// for more is refused.
func Start(s Spec) (*Process, error) { return s.start(nil, nil) }

func (s Spec) start(fork forker, table Table) (p *Process, err error) {
	if table == nil {
		return s.begin()
	}
	err = table.Fork(func() (int, error) {
		if p, err = s.begin(); err != nil {
			return 0, err
		}
		return p.PID, nil
	})
	return p, err
}

// forker is what a thread forks by; here there is no thread.
type forker func()

type thread struct{}

func startThread(Table) *thread { return &thread{} }
func (*thread) fork()           {}
func (*thread) close()          {}

func (*thread) exec(string, []string, []string, *handover.Out, func() error) error {
	return unsupported("exec")
}

// Adopt fails: what is missing here is that a supervisor hands over to another.
func Adopt(int) (*Process, error) { return nil, unsupported("adopt") }

// Main runs f.
func Main(f func() int) int { return f() }

func unsupported(what string) error {
	return fmt.Errorf("process: %s: nothing is handed over on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

func (s Spec) begin() (*Process, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	cmd, err := start(s, func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Setpgid: true, Credential: s.Attr.Credential.sys()}
	})
	if err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release()
	return &Process{PID: pid}, nil
}

// missing names what of s this system does not have.
func (s Spec) missing() string {
	a := s.Attr
	switch {
	case a.Umask != nil:
		return "umask"
	case len(a.Limits) > 0:
		return "resource limits"
	case a.Nice != nil:
		return "nice"
	case a.OOMScoreAdj != nil:
		return "oom_score_adj"
	case a.NoNewPrivs:
		return "no_new_privs"
	case a.ListenFDs > 0:
		return "LISTEN_PID, and with it the hand-over of listening sockets"
	case s.CgroupFD > 0:
		return "cgroups"
	}
	return ""
}

// OnExit has a goroutine Wait and tell f.
func (p *Process) OnExit(_ *watch.Set, reap func(pid int, wait func()), f func(Exit)) {
	go func() {
		for blockUntilExit(p.PID) == unix.EINTR {
		}
		var exit Exit
		reap(p.PID, func() { exit = p.reap() })
		f(exit)
	}()
}

// Wait waits for the end, kills what is left of the group, and reaps. What is
// missing here: there is no pidfd, so each process costs a thread while it
// lives.
func (p *Process) Wait() (Exit, error) {
	for {
		err := blockUntilExit(p.PID)
		if err == unix.EINTR {
			continue
		}
		if err != nil && err != unix.ECHILD {
			return Exit{}, os.NewSyscallError("waitid", err)
		}
		return p.reap(), nil
	}
}

// start forks. attr is called for each try.
func start(s Spec, attr func() *syscall.SysProcAttr) (*exec.Cmd, error) {
	return retryBusy(func() (*exec.Cmd, error) {
		cmd, err := command(s)
		if err != nil {
			return nil, err
		}
		cmd.SysProcAttr = attr()
		if err := cmd.Start(); err != nil {
			return nil, s.explain(err)
		}
		return cmd, nil
	})
}
