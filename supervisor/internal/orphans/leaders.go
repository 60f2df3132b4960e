package orphans

import "sync"

// Leaders are the children that somebody else waits for: the workers
// themselves. As there is one table of pids, there is one Leaders for a
// program. The zero value is ready.
type Leaders struct {
	// gate is held shared while a leader is forked and put down, and while one
	// is struck off and reaped; it is held exclusively by who is about to reap a
	// child that it takes for nobody's. So that one never sees a leader that is
	// not yet put down, nor one struck off that is not yet reaped.
	gate sync.RWMutex

	mu   sync.Mutex // within gate
	pids map[int]struct{}
}

// Fork calls start, which forks, and puts down the pid it returns unless it
// fails. If start fails after it has forked, it reaps the child itself. Forks
// may go on side by side; start calls neither Fork nor Reap.
func (l *Leaders) Fork(start func() (pid int, err error)) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	pid, err := start()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pids == nil {
		l.pids = map[int]struct{}{}
	}
	l.pids[pid] = struct{}{}
	return nil
}

// Adopt puts down a pid that the program before has forked, before this one reaps
// anything.
func (l *Leaders) Adopt(pid int) {
	_ = l.Fork(func() (int, error) { return pid, nil })
}

// Reap strikes pid off and calls wait, which reaps it. It must be known to be
// a zombie, as reaping of others stands still until wait returns.
func (l *Leaders) Reap(pid int, wait func()) {
	l.gate.RLock()
	defer l.gate.RUnlock()
	// Before wait: after it the pid may be that of a new leader.
	l.mu.Lock()
	delete(l.pids, pid)
	l.mu.Unlock()
	wait()
}

// Owned tells whether pid is a leader. A false answer may be out of date: it
// may be just being forked.
func (l *Leaders) Owned(pid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.pids[pid]
	return ok
}
