// Package process starts programs, signals them and learns of their end. It is
// the only place that forks, kills and reaps.
package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec is one process to start. The files stay the caller's to close.
type Spec struct {
	Command []string
	Dir     string   // empty: the supervisor's own
	Env     []string // whole environment, KEY=value; of two equal keys the later wins
	Stdin   *os.File
	Stdout  *os.File
	Stderr  *os.File
	Extra   []*os.File // descriptor 3 and up
	Attr    Attr

	// CgroupFD is an open directory of a version 2 cgroup that the process is
	// born into (CLONE_INTO_CGROUP, clone(2)). 0 or -1: the supervisor's own.
	CgroupFD int
}

// Exit is how a process ended.
type Exit struct {
	Code   int // -1: by a signal
	Signal syscall.Signal
	Core   bool
}

// Process is a started program, leader of its own process group.
type Process struct {
	PID int

	pidfd int // linux: readable once the process has ended; closed by who waits

	mu     sync.Mutex
	reaped bool // the pid may be somebody else's by now
}

// ErrEnded is what Signal returns once the process was reaped.
var ErrEnded = errors.New("process: it has ended")

// Signal sends sig to the whole process group. As the leader is reaped under
// the same lock, the group's number can't have been given to another.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return ErrEnded
	}
	err := unix.Kill(-p.PID, sig)
	if err == unix.ESRCH || sig == unix.SIGKILL { // it may have moved to another group; the pid is still its own
		err = unix.Kill(p.PID, sig)
	}
	return os.NewSyscallError("kill", err)
}

// SignalLeader sends sig to the program itself and nobody else in its group.
func (p *Process) SignalLeader(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return ErrEnded
	}
	return os.NewSyscallError("kill", unix.Kill(p.PID, sig))
}

// reap collects the status of a process known to have ended. What is left of
// its group is killed first, while the zombie still holds the group's number.
func (p *Process) reap() Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = unix.Kill(-p.PID, unix.SIGKILL) // ESRCH: nobody is left
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.PID, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		p.reaped = true
		if err != nil { // somebody else in this program has reaped it
			return Exit{Code: -1}
		}
		break
	}
	if ws.Signaled() {
		return Exit{Code: -1, Signal: ws.Signal(), Core: ws.CoreDump()}
	}
	return Exit{Code: ws.ExitStatus()}
}

// LookPath finds the program that a Spec names: as exec(3) does with PATH, but
// by the PATH of env and, if it is relative, from dir.
func LookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		return path, executable(path)
	}
	var path string
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			continue // a relative PATH would run what the working directory holds
		}
		if p := filepath.Join(d, name); executable(p) == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%q is not in PATH (%s)", name, path)
}

func executable(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no program but a %v", path, st.Mode().Type())
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return fmt.Errorf("%s may not be executed: %w", path, err)
	}
	return nil
}

// command is what is common to all systems.
func command(s Spec) (*exec.Cmd, error) {
	if s.Dir != "" { // execve would say that the program is missing
		st, err := os.Stat(s.Dir)
		if err == nil && !st.IsDir() {
			err = &fs.PathError{Op: "chdir", Path: s.Dir, Err: unix.ENOTDIR}
		}
		if err != nil {
			return nil, fmt.Errorf("working directory: %w", err)
		}
	}
	path, err := LookPath(s.Command[0], s.Dir, s.Env)
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path: path, Args: s.Command, Dir: s.Dir, Env: s.Env,
		Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, ExtraFiles: s.Extra,
	}, nil
}

// busyTries is how often a program that is being written (ETXTBSY) is tried,
// the wait doubling from a millisecond: 31 ms in all.
const busyTries = 6

// retryBusy calls begin again while the program is busy.
func retryBusy[T any](begin func() (T, error)) (T, error) {
	wait := time.Millisecond
	for try := 1; ; try++ {
		started, err := begin()
		if err == nil || !errors.Is(err, unix.ETXTBSY) || try == busyTries {
			return started, err
		}
		time.Sleep(wait)
		wait *= 2
	}
}
