package orphans

import (
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waitid(2) tells of one zombie, always the same until it is reaped. If that
// is a leader, or a child that the program waits for itself, others may be
// behind it. They are looked for in /proc, though not at once: a leader is
// reaped in a moment by who waits for it.
const (
	// aMoment is how long a SIGCHLD waits: most are of leaders, which are being
	// reaped by others and perhaps started anew, and a look is in the way of that.
	aMoment = 10 * time.Millisecond
	// lookShare: looking at /proc takes at the most one part in so many of the
	// time.
	lookShare = 20
	// maxPause is between two looks at the first where /proc can't be used.
	maxPause = time.Second
)

// reapUntilClosed is the goroutine of an Orphans. Without SIGCHLD it sleeps.
func (o *Orphans) reapUntilClosed() {
	defer close(o.done)
	timer := time.NewTimer(0)
	timer.Stop()
	var due <-chan time.Time // nil: nothing is to be looked at
	pause := aMoment
	for {
		select {
		case <-o.quit:
			return
		case <-o.sigchld:
			if due == nil {
				timer.Reset(pause)
				due = timer.C
			}
		case <-due:
			due = nil
			switch {
			case o.reapFirst():
				pause = aMoment
			case o.blind != nil:
				pause = min(2*pause, maxPause)
				timer.Reset(pause)
				due = timer.C
			default:
				pause = max(aMoment, lookShare*o.reapBehind())
			}
		}
	}
}

// reapFirst reaps zombies as waitid tells of them. False: one is in the way.
func (o *Orphans) reapFirst() bool {
	for {
		var info unix.Siginfo
		if err := peek(unix.P_ALL, 0, &info); err != nil || info.Signo == 0 { // ECHILD: no children
			return true
		}
		if !o.reap(pidOf(&info)) {
			return false
		}
	}
}

// reapBehind reaps all that there is to reap now, and tells what that took. A
// process that ends meanwhile sends a SIGCHLD of its own.
func (o *Orphans) reapBehind() time.Duration {
	begun := time.Now()
	all, err := pids()
	if err != nil {
		o.log.Error("looking for zombies", "error", err)
	}
	for _, pid := range all {
		if o.leaders.Owned(pid) {
			continue
		}
		if zombie, _ := peekAt(pid); zombie {
			o.reap(pid)
		}
	}
	return time.Since(begun)
}

// reaping is held while an orphan is judged and reaped, by every Orphans of
// the program, so that what was judged is what is reaped.
var reaping sync.Mutex

// reap reaps the zombie pid unless it is a leader or may be of the program's
// own.
func (o *Orphans) reap(pid int) bool {
	reaping.Lock()
	defer reaping.Unlock()
	if o.leaders.Owned(pid) {
		return false
	}
	f, mayReap := o.judge(pid)
	if !mayReap {
		return false
	}
	var got int
	o.leaders.alone(func() {
		if !o.leaders.Owned(pid) {
			got, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	})
	if got != pid {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.known, pid)
	delete(o.strays, pid)
	o.deaths++
	if f == nil {
		o.strangers++
	} else {
		f.deaths++
		delete(f.seen, pid)
	}
	return true
}

func (o *Orphans) judge(pid int) (f *Family, mayReap bool) {
	if o.blind != nil {
		return nil, o.everything
	}
	c, err := o.examine(pid, true)
	if err != nil {
		return nil, o.everything
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	f, adopted := o.kin(c)
	return f, adopted || o.everything
}

// alone calls f while no leader is being forked or reaped, so that what Owned
// says there holds. f does not wait.
func (l *Leaders) alone(f func()) {
	l.gate.Lock()
	defer l.gate.Unlock()
	f()
}

// pidOf is si_pid: the first field after three integers, of a union that is
// aligned as a pointer is (sigaction(2)).
func pidOf(info *unix.Siginfo) int {
	const word = unsafe.Sizeof(uintptr(0))
	const offset = (3*4 + word - 1) &^ (word - 1)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
