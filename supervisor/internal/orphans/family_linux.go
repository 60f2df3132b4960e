package orphans

import (
	"context"

	"golang.org/x/sys/unix"
)

// Family are the processes that came from one worker process and are not its
// leader. It lasts until End finds that none is left.
type Family struct {
	o      *Orphans
	origin Origin

	// Guarded by o.mu.
	over   bool             // forgotten: nothing more is put down
	handed bool             // by the program before, and not asked for yet
	deaths int              // members reaped
	seen   map[int]struct{} // pids in o.known; made when there is one
	claims []int            // numbers in o.claims
}

// kin is a process that was told to be of a family.
type kin struct {
	start  uint64
	family *Family
}

// claim says that the members of a process group or session are of a family.
// The number of one is not given to another while it has a member; after that
// it may be (credentials(7)).
type claim struct {
	family *Family
	// holder is the start of the process whose pid the number is; 0: it had
	// ended, or it is the family's leader.
	holder uint64
}

// stands tells whether a group or session with that number, whose holder now
// started at holder (0: there is none), is still the one that was claimed.
func (c claim) stands(id int, holder uint64, owned func(int) bool) bool {
	switch {
	case holder == 0:
		return true
	case id == c.family.origin.Leader:
		return owned(id)
	}
	return holder == c.holder
}

// Family begins to tell what comes from a worker, or goes on where that was handed
// over. It is called once the leader's pid is known, and End once for each.
func (o *Orphans) Family(origin Origin) *Family {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := o.taken(origin); f != nil {
		return f
	}
	f := &Family{o: o, origin: origin}
	o.families[origin.claimed()] = f
	o.claim(f, origin.Leader, 0)
	if origin.Cgroup != "" {
		o.cgroups[origin.Cgroup] = f
	}
	return f
}

// claim puts down a number as f's. o.mu is held.
func (o *Orphans) claim(f *Family, id int, holder uint64) {
	if _, taken := o.claims[id]; !f.over && (!taken || id == f.origin.Leader) {
		o.claims[id] = claim{f, holder}
		f.claims = append(f.claims, id)
	}
}

// forget ends f. A successor with the same name or number stays.
func (o *Orphans) forget(f *Family) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.over = true
	name := f.origin.claimed()
	if o.families[name] == f {
		delete(o.families, name)
	}
	if o.cgroups[f.origin.Cgroup] == f {
		delete(o.cgroups, f.origin.Cgroup)
	}
	for _, id := range f.claims {
		if o.claims[id].family == f {
			delete(o.claims, id)
		}
	}
	for pid := range f.seen {
		if o.known[pid].family == f {
			delete(o.known, pid)
		}
	}
}

// know puts p down as one of f, which may be nil: of a worker that is no more.
// o.mu is held.
func (o *Orphans) know(f *Family, p proc) {
	k := kin{p.start, f}
	if f != nil && f.over || o.known[p.pid] == k {
		return
	}
	o.known[p.pid] = k
	if f == nil {
		return
	}
	if f.seen == nil {
		f.seen = map[int]struct{}{}
	}
	f.seen[p.pid] = struct{}{}
}

// Note puts down the worker's descendants as they are now, so that they are
// recognized even if they have cleared their environment and have a session of
// their own. It is called when a stop begins, while the leader is not reaped,
// and reads /proc.
func (f *Family) Note() {
	if f == nil || f.o.blind != nil {
		return
	}
	o := f.o
	if !o.leaders.Owned(f.origin.Leader) {
		return
	}
	t, err := o.table()
	if err != nil || !o.leaders.Owned(f.origin.Leader) { // the number may be another's
		return
	}
	o.adopt(f, t, t.descendants(f.origin.Leader))
}

// adopt puts members down as f's, and with them the groups and sessions that
// only f's processes can be in: a session can't be joined, a group of this
// program's session can, so that must have been made by a member. f is nil for
// what is of no family.
func (o *Orphans) adopt(f *Family, t table, members []proc) {
	ids := map[int]uint64{}
	for _, p := range members {
		ids[p.pid] = p.start
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range members {
		o.know(f, p)
		if f == nil {
			continue
		}
		if p.session != o.session && p.session > 0 {
			o.claim(f, p.session, t[p.session].start)
		}
		if start, member := ids[p.group]; member {
			o.claim(f, p.group, start)
		}
	}
}

// kin tells whose c is. adopted: it is certain that this program has not
// started it. o.mu is held.
func (o *Orphans) kin(c child) (f *Family, adopted bool) {
	if k, ok := o.known[c.pid]; ok && k.start == c.start {
		return k.family, true
	}
	if f := o.ofCgroup(c.cgroup); f != nil {
		return f, true
	}
	if c.marked {
		return o.families[c.claim], true
	}
	if cl, ok := o.claims[c.session]; ok && cl.stands(c.session, c.sessionHolder, o.leaders.Owned) {
		return cl.family, true
	}
	if cl, ok := o.claims[c.group]; ok && cl.stands(c.group, c.groupHolder, o.leaders.Owned) {
		return cl.family, true
	}
	if start, ok := o.inherited[c.pid]; ok && start == c.start {
		return nil, false
	}
	// What this program forks is in its session, or in one of its own making.
	own, _ := unix.Getsid(0)
	return nil, o.everything || c.session != c.pid && c.session != o.session && c.session != own
}

// ofCgroup finds the family whose cgroup is path or holds it.
func (o *Orphans) ofCgroup(path string) *Family {
	for len(o.cgroups) > 0 && path != "" {
		if f := o.cgroups[path]; f != nil {
			return f
		}
		path = parent(path)
	}
	return nil
}

// Sweep finds the living processes of the family that have this program for a
// parent, and what descends from those. It is called once the leader was
// reaped.
func (f *Family) Sweep() ([]Survivor, error) {
	if f == nil {
		return nil, nil
	}
	living, _, err := f.o.find(f.wants)
	return living, err
}

func (f *Family) wants(of *Family) bool { return of == f }

// End kills what is left of the family and reaps it, until nothing is, and
// tells what there was, without those that were signalled with the worker's
// process group. Against one that forks faster than it is killed only a cgroup
// helps; then, and whenever ctx ends first, the family stays known to KillAll
// and to what reaps. It is called after the leader was reaped, and again only
// if it has failed.
func (f *Family) End(ctx context.Context) ([]Survivor, error) {
	if f == nil {
		return nil, nil
	}
	o := f.o
	ended, err := o.end(ctx, f.wants, func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return f.deaths + o.strangers
	})
	if err == nil {
		o.forget(f)
	}
	return ended, err
}
