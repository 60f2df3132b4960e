//go:build darwin || freebsd

package process

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start starts a process. What is missing here: it does not die with the
// supervisor by itself; a worker that uses package worker exits on EOF.
func Start(s Spec) (*Process, error) {
	cmd, err := start(s, func() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} })
	if err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release()
	return &Process{PID: pid}, nil
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
