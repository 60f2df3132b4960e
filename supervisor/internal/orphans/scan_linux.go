package orphans

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// shared lets those who ask at the same time share one look at /proc: each
// gets one that began after it asked. So a stop of a thousand workers costs a
// few looks and not a thousand.
type shared[T any] struct {
	began   atomic.Uint64 // looks begun
	waiting atomic.Int32

	mu   sync.Mutex // held for a look
	last T
	err  error
}

func (s *shared[T]) get(look func() (T, error)) (T, error) {
	s.waiting.Add(1)
	asked := s.began.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.Load() == asked {
		s.began.Add(1)
		s.last, s.err = look()
	}
	last, err := s.last, s.err
	if s.waiting.Add(-1) == 0 { // nobody is left to share it with
		var none T
		s.last, s.err = none, nil
	}
	return last, err
}

// child is a child of this program that is no leader, with what tells where it
// came from.
type child struct {
	proc
	zombie bool

	// Filled in by examine, unless it is known already.
	marked        bool // started by this run of the supervisor, says its environment
	claim         claimed
	cgroup        string
	groupHolder   uint64 // start of the process whose pid is the group's number; 0: there is none
	sessionHolder uint64
}

// children looks for all of them.
func (o *Orphans) children() ([]child, error) { return o.kids.get(o.lookForChildren) }

func (o *Orphans) lookForChildren() ([]child, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	var kids []child
	for _, pid := range all {
		if pid == o.self || o.leaders.Owned(pid) {
			continue
		}
		zombie, ours := peekAt(pid)
		if !ours {
			continue
		}
		if c, err := o.examine(pid, zombie); err == nil {
			kids = append(kids, c)
		}
	}
	if len(kids) > 0 {
		kids = o.withoutNewLeaders(kids)
	}
	return kids, nil
}

// withoutNewLeaders drops those that were just being forked.
func (o *Orphans) withoutNewLeaders(kids []child) []child {
	kept := kids[:0]
	o.leaders.alone(func() {
		for _, c := range kids {
			if !o.leaders.Owned(c.pid) {
				kept = append(kept, c)
			}
		}
	})
	return kept
}

// examine gathers what kin needs, without judging it.
func (o *Orphans) examine(pid int, zombie bool) (child, error) {
	p, err := readStat(pid)
	if err != nil {
		return child{}, err
	}
	c := child{proc: p, zombie: zombie}
	o.mu.Lock()
	k, known := o.known[pid]
	cgroups := len(o.cgroups) > 0
	o.mu.Unlock()
	if known && k.start == p.start {
		return c, nil
	}
	if !zombie { // it has no environment any more
		c.claim, c.marked = readClaim(p, o.run)
	}
	if cgroups {
		c.cgroup = readCgroup(pid)
	}
	c.groupHolder, c.sessionHolder = holder(p, p.group), holder(p, p.session)
	return c, nil
}

// holder is the start of the process whose pid is id, which p is a part of.
func holder(p proc, id int) uint64 {
	if id == p.pid {
		return p.start
	}
	if id <= 0 {
		return 0
	}
	h, err := readStat(id)
	if err != nil {
		return 0
	}
	return h.start
}

// table is every process but the leaders and this one, by pid.
type table map[int]proc

func (o *Orphans) table() (table, error) {
	return o.all.get(func() (table, error) {
		all, err := pids()
		if err != nil {
			return nil, err
		}
		t := make(table, len(all))
		for _, pid := range all {
			if pid == o.self || o.leaders.Owned(pid) {
				continue
			}
			if p, err := readStat(pid); err == nil {
				t[pid] = p
			}
		}
		return t, nil
	})
}

// descendants of root, which itself need not be in t. As the table is not made
// at one moment, a parent that is younger than its child is another process
// that was given the number.
func (t table) descendants(root int) []proc {
	under := map[int][]proc{}
	for _, p := range t {
		if q, ok := t[p.parent]; !ok || q.start <= p.start {
			under[p.parent] = append(under[p.parent], p)
		}
	}
	var found []proc
	seen := map[int]bool{root: true}
	for next := []int{root}; len(next) > 0; next = next[1:] {
		for _, p := range under[next[0]] {
			if !seen[p.pid] {
				seen[p.pid] = true
				found = append(found, p)
				next = append(next, p.pid)
			}
		}
	}
	return found
}

// peekAt tells whether pid is a child and a zombie, and leaves it so.
func peekAt(pid int) (zombie, ours bool) {
	var info unix.Siginfo
	err := peek(unix.P_PID, pid, &info)
	return info.Signo != 0, err == nil
}

// peek is waitid(2) for an end that stays to be reaped. It does not wait.
func peek(idType, id int, info *unix.Siginfo) error {
	for {
		err := unix.Waitid(idType, id, info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}
