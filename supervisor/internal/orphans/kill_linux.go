package orphans

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// find looks for what want chooses among the adopted: the living, with all
// that descends from them, and the pids of zombies. What it learns of others on
// the way is put down too.
func (o *Orphans) find(want func(*Family) bool) (living []Survivor, zombies []int, err error) {
	if o.blind != nil {
		return nil, nil, o.blind
	}
	kids, err := o.children()
	if err != nil {
		return nil, nil, err
	}
	roots := map[*Family][]proc{}
	var strays []child
	o.mu.Lock()
	for _, c := range kids {
		f, adopted := o.kin(c)
		if (f != nil || c.marked) && !c.zombie {
			o.know(f, c.proc)
		}
		switch {
		case !adopted:
		case want(f) && c.zombie:
			zombies = append(zombies, c.pid)
		case want(f):
			roots[f] = append(roots[f], c.proc)
		case f == nil && !c.zombie && o.strays[c.pid] != c.start:
			o.strays[c.pid] = c.start
			strays = append(strays, c)
		}
	}
	o.mu.Unlock()
	for _, c := range strays {
		o.tell(c)
	}
	if len(roots) == 0 {
		return nil, zombies, nil
	}
	t, err := o.table()
	if err != nil {
		return nil, nil, err
	}
	for f, procs := range roots {
		living = append(living, o.wholeOf(f, procs, t)...)
	}
	return living, zombies, nil
}

// tell logs that c was adopted and is nobody's.
func (o *Orphans) tell(c child) {
	from := "unknown"
	if c.marked {
		from = fmt.Sprintf("%s#%d, which has ended", c.claim.worker, c.claim.generation)
	}
	s := Survivor{PID: c.pid, Name: c.name, Cmdline: readCmdline(c.pid)}
	o.log.Warn("a process was left behind; it stays until shutdown", "process", s.String(), "from", from)
}

// wholeOf is roots, all of family f (nil: of none), and what descends from
// them. It puts them down.
func (o *Orphans) wholeOf(f *Family, roots []proc, t table) []Survivor {
	members := slices.Clone(roots)
	for _, p := range roots {
		if now, ok := t[p.pid]; ok && now.start == p.start {
			members = append(members, t.descendants(p.pid)...)
		}
	}
	o.adopt(f, t, members)
	var living []Survivor
	for _, p := range members {
		if p.ended() {
			continue
		}
		s := Survivor{PID: p.pid, Name: p.name, Cmdline: readCmdline(p.pid), Start: p.start}
		if f != nil {
			s.Worker, s.Generation = f.origin.Worker, f.origin.Generation
			s.Group = p.group == f.origin.Leader
		}
		living = append(living, s)
	}
	return living
}

// end kills and reaps what want chooses until a look finds nothing, and tells
// what there was. toll counts the deaths that may have handed a process from a
// dying parent to this program behind the look's back: a look is worth nothing
// if it has changed meanwhile.
func (o *Orphans) end(ctx context.Context, want func(*Family) bool, toll func() int) (ended []Survivor, err error) {
	if o.blind != nil {
		return nil, o.blind
	}
	for {
		before := toll()
		living, zombies, err := o.find(want)
		if err != nil {
			return ended, err
		}
		for _, pid := range zombies {
			o.reap(pid)
		}
		if len(living)+len(zombies) == 0 && toll() == before {
			return ended, nil
		}
		for _, s := range living {
			if !s.Group && !slices.ContainsFunc(ended, s.same) {
				ended = append(ended, s)
			}
		}
		if err := Kill(ctx, living); err != nil {
			return ended, err
		}
		if err := context.Cause(ctx); err != nil {
			return ended, fmt.Errorf("orphans: %s: %w", names(living), err)
		}
	}
}

func (s Survivor) same(t Survivor) bool { return s.PID == t.PID && s.Start == t.Start }

func names(list []Survivor) string {
	if len(list) == 0 {
		return "what is left is still coming to its end"
	}
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = s.String()
	}
	return strings.Join(words, ", ") + " still there"
}

// killAtOnce bounds how many pidfds are open at a time.
const killAtOnce = 64

// Kill sends SIGKILL to each and waits until all have ended or ctx has. It does
// not reap. One that has ended before, and whose pid may be another's, is
// passed over.
func Kill(ctx context.Context, list []Survivor) error {
	var faults []error
	for some := range slices.Chunk(list, killAtOnce) {
		faults = append(faults, killSome(ctx, some))
	}
	return errors.Join(faults...)
}

func killSome(ctx context.Context, list []Survivor) error {
	var faults []error
	ends := make([]*os.File, len(list)) // nil: there is nothing to wait for
	for i, s := range list {
		var err error
		if ends[i], err = s.kill(); err != nil {
			faults = append(faults, fmt.Errorf("orphans: %s can't be killed: %w", s, err))
		}
	}
	for i, pidfd := range ends {
		if pidfd == nil {
			continue
		}
		if err := awaitEnd(ctx, pidfd); err != nil {
			faults = append(faults, fmt.Errorf("orphans: %s does not end after SIGKILL: %w", list[i], err))
		}
		pidfd.Close()
	}
	return errors.Join(faults...)
}

// kill returns a pidfd, the caller's to close, if there is an end to wait for.
// The pidfd is opened before the start is compared: what was the right process
// then is what the pidfd stands for.
func (s Survivor) kill() (*os.File, error) {
	fd, err := unix.PidfdOpen(s.PID, unix.PIDFD_NONBLOCK)
	if err == unix.EINVAL { // before Linux 5.10 there is no such flag
		if fd, err = unix.PidfdOpen(s.PID, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	}
	if err == unix.ESRCH {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	if now, err := readStat(s.PID); err != nil || now.start != s.Start {
		pidfd.Close()
		return nil, nil
	}
	err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	if err == unix.ESRCH {
		err = nil
	}
	if err != nil {
		pidfd.Close()
		return nil, os.NewSyscallError("pidfd_send_signal", err)
	}
	return pidfd, nil
}

// awaitEnd waits, in the runtime's poller, until the process is a zombie or
// gone (pidfd_open(2)).
func awaitEnd(ctx context.Context, pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var pollErr error
	err = raw.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		var n int
		for n, pollErr = unix.Poll(ready, 0); pollErr == unix.EINTR; n, pollErr = unix.Poll(ready, 0) {
		}
		return pollErr != nil || n > 0
	})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return errors.Join(err, os.NewSyscallError("poll", pollErr))
}

// KillAll kills everything that was adopted, whoever left it behind, and reaps
// it, and tells what there was. It is for a shutdown, after the last leader was
// reaped and when none is started any more.
func (o *Orphans) KillAll(ctx context.Context) ([]Survivor, error) {
	if o == nil {
		return nil, nil
	}
	return o.end(ctx, func(*Family) bool { return true }, func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.deaths
	})
}
