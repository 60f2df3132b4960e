package process

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// program is what a fork is to become. Its descriptors are those of this
// program's table; they stay the caller's.
type program struct {
	path string
	argv []string
	env  []string
	dir  string
	// fds become descriptors 0 and up. With a cgroup its directory is the last,
	// and becomes none.
	fds    []int
	cgroup bool
	cred   *syscall.Credential
}

// forker forks, has the child execute p, and returns once it does.
type forker func(p *program) (pid int, err error)

// forkAs forks what cmd says, with the descriptors of s and the further ones of
// cmd.
func (s Spec) forkAs(cmd *exec.Cmd, cred *syscall.Credential, fork forker) (pid int, err error) {
	p := &program{path: cmd.Path, argv: cmd.Args, env: cmd.Environ(), dir: cmd.Dir, cred: cred}
	files := append([]*os.File{s.Stdin, s.Stdout, s.Stderr}, cmd.ExtraFiles...)
	defer runtime.KeepAlive(files)
	for i, f := range files {
		if f == nil {
			if f, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return 0, err
			}
			defer f.Close()
			files[i] = f
		}
		p.fds = append(p.fds, int(f.Fd()))
	}
	if s.CgroupFD > 0 {
		p.cgroup = true
		p.fds = append(p.fds, s.CgroupFD)
	}
	return fork(p)
}

// fork forks by the calling thread: with it the process dies
// (PR_SET_PDEATHSIG, prctl(2)). fds are p's in the table of that thread.
func (p *program) fork(fds []int) (pid int, err error) {
	sys := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL, Credential: p.cred}
	if p.cgroup {
		last := len(fds) - 1
		sys.UseCgroupFD, sys.CgroupFD = true, fds[last]
		fds = fds[:last]
	}
	files := make([]uintptr, len(fds))
	for i, fd := range fds {
		files[i] = uintptr(fd)
	}
	pid, err = syscall.ForkExec(p.path, p.argv, &syscall.ProcAttr{Dir: p.dir, Env: p.env, Files: files, Sys: sys})
	if err != nil {
		return 0, &fs.PathError{Op: "fork/exec", Path: p.path, Err: err}
	}
	return pid, nil
}

// forkHere is the forker of the calling thread.
func forkHere(p *program) (int, error) { return p.fork(p.fds) }

// adopt takes over a process that was just started. Its pid can't be another's
// yet: it is this program's to reap.
func adopt(pid int, table Table) (*Process, error) {
	fd, err := openPidfd(pid)
	if err == nil {
		return &Process{PID: pid, pidfd: fd}, nil
	}
	p := &Process{PID: pid, pidfd: -1}
	p.discard(table, false)
	return nil, fmt.Errorf("process: no pidfd, which takes Linux 5.3 or later: %w", err)
}

// Adopt takes over a child that the program before this one, whose place it took
// by execve(2), has started; it may have ended meanwhile. A pid that is not that
// of a child of this program is refused (ECHILD, ESRCH), and nothing happens to
// it.
func Adopt(pid int) (*Process, error) {
	fd, err := openPidfd(pid)
	if err != nil {
		return nil, fmt.Errorf("process: %d can't be adopted: %w", pid, err)
	}
	if err := peek(unix.P_PIDFD, fd, unix.WNOHANG, nil); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("process: %d is no child of this program: %w", pid, os.NewSyscallError("waitid", err))
	}
	return &Process{PID: pid, pidfd: fd}, nil
}

// openPidfd opens one for the poller. Who waits for the process closes it.
func openPidfd(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err == unix.EINVAL { // before Linux 5.10 there is no such flag
		if fd, err = unix.PidfdOpen(pid, 0); err == nil {
			if err = unix.SetNonblock(fd, true); err != nil {
				unix.Close(fd)
			}
		}
	}
	return fd, os.NewSyscallError("pidfd_open", err)
}
