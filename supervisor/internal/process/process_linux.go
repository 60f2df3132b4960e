package process

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/watch"
)

// Start starts a process that dies with the calling thread (PR_SET_PDEATHSIG,
// prctl(2)): it must be called from a thread that lives as long as the
// supervisor. A Spawner has one.
func Start(s Spec) (*Process, error) { return s.start(forkHere, nil) }

// start returns when the program runs.
func (s Spec) start(fork forker, table Table) (*Process, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	s.Attr.Limits = limited(s.Attr.Limits)
	return retryBusy(func() (*Process, error) {
		cmd, err := command(s)
		if err != nil {
			return nil, err
		}
		if s.Attr.needShim() {
			return startShim(s, cmd, fork, table)
		}
		pid, err := s.forkAs(cmd, s.Attr.Credential.sys(), fork)
		if err != nil {
			return nil, s.explain(err)
		}
		return adopt(pid, table)
	})
}

// missing: everything is there.
func (s Spec) missing() string { return "" }

// OnExit has set's goroutine wait for the end, kill what is left of the group,
// reap, by way of the function of that name, and tell f. It costs neither a thread nor a goroutine. It is called
// once, and not together with Wait.
func (p *Process) OnExit(set *watch.Set, reap func(pid int, wait func()), f func(Exit)) {
	var key watch.Key
	var added sync.WaitGroup
	added.Add(1)
	end := func() {
		unix.Close(p.pidfd)
		var exit Exit
		reap(p.PID, func() { exit = p.reap() })
		f(exit)
	}
	key, err := set.Add(p.pidfd, func() {
		var info unix.Siginfo
		if err := peek(unix.P_PIDFD, p.pidfd, unix.WNOHANG, &info); err == nil && info.Signo == 0 {
			return
		}
		added.Wait() // for key
		set.Remove(p.pidfd, key)
		end()
	})
	if err != nil { // out of watches or memory: a goroutine waits instead
		go func() {
			_ = peek(unix.P_PID, p.PID, 0, nil)
			set.Call(end)
		}()
	}
	added.Done()
}

// Wait waits for the end, kills what is left of the group, and reaps. The wait
// is on the pidfd in the runtime's poller: it costs no thread. It is called
// once.
func (p *Process) Wait() (Exit, error) {
	if err := p.awaitEnd(); err != nil {
		return Exit{}, err
	}
	return p.reap(), nil
}

// waitFor is Wait by way of table, which may be nil.
func (p *Process) waitFor(table Table) {
	if p.awaitEnd() != nil {
		return
	}
	if table == nil {
		p.reap()
		return
	}
	table.Reap(p.PID, func() { p.reap() })
}

// awaitEnd waits until the process is a zombie, and closes the pidfd. Without
// one, and where the poller would not have it, a thread waits.
func (p *Process) awaitEnd() error {
	if p.pidfd >= 0 {
		pidfd := os.NewFile(uintptr(p.pidfd), "pidfd")
		defer pidfd.Close()
		if awaitReadable(pidfd) == nil {
			return nil
		}
	}
	if err := peek(unix.P_PID, p.PID, 0, nil); err != nil && err != unix.ECHILD {
		return os.NewSyscallError("waitid", err)
	}
	return nil
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
