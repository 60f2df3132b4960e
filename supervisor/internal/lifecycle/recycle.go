package lifecycle

import (
	"slices"
	"time"
)

// Workers that are to be replaced when it fits: those that have done their
// share, and those that a failed way back from a configuration has left over.
// One of a pool at a time, and only while nothing else is rolled out.

// recycle marks the process as due.
func (p *proc) recycle(why string) {
	if p.phase > serving { // it goes anyway
		return
	}
	if p.due == "" {
		p.due = why
	}
	p.queue()
}

// queue has the pool come to a process that is due, or to try again later.
func (p *proc) queue() {
	s := p.slot
	switch {
	case p.due == "" || p.phase != serving || !p.counts():
	case p.now().Before(s.recycleNot):
		p.ageAt = s.recycleNot
		s.m.touch(s)
	case !slices.Contains(s.pool.dues, s):
		p.ageAt = time.Time{}
		s.pool.dues = append(s.pool.dues, s)
	}
}

// recycleNext begins with the first slot whose process is still due.
func (p *pool) recycleNext() {
	for len(p.dues) > 0 {
		s := p.dues[0]
		p.dues = slices.Delete(p.dues, 0, 1)
		if q := s.proc; q != nil && q.due != "" && !p.m.now.Before(s.recycleNot) { // else its timer is armed
			p.rollouts = append(p.rollouts, &rollout{pool: p, aim: recycling, slots: []*slot{s}, why: "recycled: " + q.due})
			return
		}
	}
}

// coolDown leaves a slot whose process could not be replaced in peace for a
// while. Then it is tried again.
func (s *slot) coolDown() {
	s.recycleNot = s.m.now.Add(recycleAgain)
	if p := s.proc; p != nil {
		if p.version != s.version && p.due == "" {
			p.due = "it runs another configuration than its pool has"
		}
		p.queue()
	}
}
