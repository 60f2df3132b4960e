package orphans

import "maps"

// What goes to the program that takes this one's place by execve(2): its children
// stay, and are then its own as they were this one's.

// Saved is what an Orphans knows, as it is handed over. It is written as JSON.
type Saved struct {
	Run       string         // value of BROOD_RUN: workers and what they leave behind have it
	Inherited map[int]uint64 // start by pid of the children that were there before all workers
	Strays    map[int]uint64
	Known     map[int]uint64 // those that came from a worker which is no more
	Families  []SavedFamily
	Beside    uint64 // the last number given out
	Subreaper bool   // the process was one before
}

// SavedFamily is a family that is not over.
type SavedFamily struct {
	Origin Origin
	Claims map[int]uint64 // holder by number of a process group or session
	Seen   map[int]uint64 // start by pid
}

// Export is what the next program needs. Nothing changes by it; what is reaped
// after it is a process less that the next one looks for in vain.
func (o *Orphans) Export() *Saved {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	saved := &Saved{Run: o.run, Inherited: maps.Clone(o.inherited), Strays: maps.Clone(o.strays), Known: map[int]uint64{}, Beside: o.beside.Load(), Subreaper: reaper.was()}
	for pid, k := range o.known {
		if k.family == nil {
			saved.Known[pid] = k.start
		}
	}
	for _, f := range o.families {
		k := SavedFamily{Origin: f.origin, Claims: map[int]uint64{}, Seen: map[int]uint64{}}
		for _, id := range f.claims {
			if c := o.claims[id]; c.family == f {
				k.Claims[id] = c.holder
			}
		}
		for pid := range f.seen {
			if known := o.known[pid]; known.family == f {
				k.Seen[pid] = known.start
			}
		}
		saved.Families = append(saved.Families, k)
	}
	return saved
}

// adoptSaved takes over what the program before knew. Nobody else has o yet.
func (o *Orphans) adoptSaved(saved *Saved) {
	o.run = saved.Run
	o.beside.Store(saved.Beside)
	maps.Copy(o.inherited, saved.Inherited)
	maps.Copy(o.strays, saved.Strays)
	for pid, start := range saved.Known {
		o.know(nil, proc{pid: pid, start: start})
	}
	for _, k := range saved.Families {
		f := o.Family(k.Origin)
		f.handed = true
		for id, holder := range k.Claims {
			o.claim(f, id, holder)
		}
		for pid, start := range k.Seen {
			o.know(f, proc{pid: pid, start: start})
		}
	}
}

// taken returns the family of origin that was handed over, once. The lock is held.
func (o *Orphans) taken(origin Origin) *Family {
	f := o.families[origin.claimed()]
	if f == nil || !f.handed || f.origin != origin {
		return nil
	}
	f.handed = false
	return f
}
