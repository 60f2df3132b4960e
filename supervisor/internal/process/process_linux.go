package process

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start starts a process that dies with the calling thread (PR_SET_PDEATHSIG,
// prctl(2)): it must be called from a thread that lives as long as the
// supervisor, which is what a Spawner is for.
func Start(s Spec) (*Process, error) {
	pidfd := -1
	cmd, err := start(s, func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL, PidFD: &pidfd}
	})
	if err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	if pidfd < 0 {
		_ = unix.Kill(-pid, unix.SIGKILL)
		_, _ = cmd.Process.Wait()
		return nil, fmt.Errorf("process: the kernel gave no pidfd; Linux 5.4 or later is needed")
	}
	_ = cmd.Process.Release() // closes os.Process's own copy of the pidfd
	if err := unix.SetNonblock(pidfd, true); err != nil {
		unix.Close(pidfd)
		_ = unix.Kill(-pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return nil, fmt.Errorf("process: pidfd: %w", os.NewSyscallError("fcntl", err))
	}
	return &Process{PID: pid, pidfd: os.NewFile(uintptr(pidfd), "pidfd")}, nil
}

// Wait waits for the end, kills what is left of the group, and reaps. The wait
// is on the pidfd in the runtime's poller: it costs no thread. It is called
// once.
func (p *Process) Wait() (Exit, error) {
	defer p.pidfd.Close()
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return Exit{}, err
	}
	var waitErr error
	err = raw.Read(func(fd uintptr) bool {
		var info unix.Siginfo
		for {
			waitErr = unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
			if waitErr != unix.EINTR {
				break
			}
		}
		return waitErr != nil || info.Signo != 0
	})
	if err != nil {
		return Exit{}, err
	}
	if waitErr != nil && waitErr != unix.ECHILD {
		return Exit{}, os.NewSyscallError("waitid", waitErr)
	}
	return p.reap(), nil
}
