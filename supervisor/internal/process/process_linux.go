package process

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/watch"
)

// Start starts a process that dies with the calling thread (PR_SET_PDEATHSIG,
// prctl(2)): it must be called from a thread that lives as long as the
// supervisor, which is what a Spawner is for. When it returns, the program is
// running.
func Start(s Spec) (*Process, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.Attr.needShim() {
		return retryBusy(func() (*Process, error) { return startShim(s) })
	}
	pidfd := -1
	cmd, err := start(s, func() *syscall.SysProcAttr {
		attr := s.sysProcAttr(&pidfd)
		attr.Credential = s.Attr.Credential.sys()
		return attr
	})
	if err != nil {
		return nil, err
	}
	return adopt(cmd, pidfd)
}

// missing: everything is there.
func (s Spec) missing() string { return "" }

// sysProcAttr makes a process group of its own. No user is changed yet.
func (s Spec) sysProcAttr(pidfd *int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setpgid: true, Pdeathsig: unix.SIGKILL, PidFD: pidfd,
		UseCgroupFD: s.CgroupFD > 0, CgroupFD: s.CgroupFD,
	}
}

// adopt takes over a process that was just started, and its pidfd.
func adopt(cmd *exec.Cmd, pidfd int) (*Process, error) {
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
	return &Process{PID: pid, pidfd: pidfd}, nil
}

// OnExit has set's goroutine wait for the end, kill what is left of the group,
// reap, by way of the function of that name, and tell f. It costs neither a thread nor a goroutine. It is called
// once, and not together with Wait.
func (p *Process) OnExit(set *watch.Set, reap func(pid int, wait func()), f func(Exit)) {
	var key watch.Key
	var added sync.WaitGroup
	added.Add(1)
	key, err := set.Add(p.pidfd, func() {
		var info unix.Siginfo
		if err := peek(unix.P_PIDFD, p.pidfd, unix.WNOHANG, &info); err == nil && info.Signo == 0 {
			return
		}
		added.Wait() // for key
		set.Remove(p.pidfd, key)
		unix.Close(p.pidfd)
		var exit Exit
		reap(p.PID, func() { exit = p.reap() })
		f(exit)
	})
	if err != nil { // out of watches or memory: a goroutine waits instead
		go func() {
			_ = peek(unix.P_PID, p.PID, 0, nil)
			unix.Close(p.pidfd)
			var exit Exit
			reap(p.PID, func() { exit = p.reap() })
			f(exit)
		}()
	}
	added.Done()
}

// Wait waits for the end, kills what is left of the group, and reaps. The wait
// is on the pidfd in the runtime's poller: it costs no thread. It is called
// once.
func (p *Process) Wait() (Exit, error) {
	pidfd := os.NewFile(uintptr(p.pidfd), "pidfd")
	defer pidfd.Close()
	err := awaitReadable(pidfd)
	if err != nil { // the poller would not have it: a thread waits instead
		err = peek(unix.P_PID, p.PID, 0, nil)
	}
	if err != nil && err != unix.ECHILD {
		return Exit{}, os.NewSyscallError("waitid", err)
	}
	return p.reap(), nil
}

// awaitReadable waits until the process is a zombie.
func awaitReadable(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var waitErr error
	err = raw.Read(func(fd uintptr) bool {
		var info unix.Siginfo
		waitErr = peek(unix.P_PIDFD, int(fd), unix.WNOHANG, &info)
		return waitErr != nil || info.Signo != 0
	})
	if err != nil {
		return err
	}
	return waitErr
}

// peek is waitid(2) for an end that stays to be reaped.
func peek(idType, id, options int, info *unix.Siginfo) error {
	for {
		err := unix.Waitid(idType, id, info, unix.WEXITED|unix.WNOWAIT|options, nil)
		if err != unix.EINTR {
			return err
		}
	}
}
