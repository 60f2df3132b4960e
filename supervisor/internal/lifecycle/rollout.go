package lifecycle

import (
	"fmt"
	"slices"
)

// rollout replaces the processes of some slots of a pool, a few at a time: a
// new one beside the old (Surge) or in its place (Unavailable). The next slot's
// turn comes when the one before is ready and has stayed so (Soak). The first
// new process that does not become so ends the rollout, and what still served
// goes on serving.
type rollout struct {
	pool  *pool
	op    *op // nil: nobody waits for it
	why   string
	slots []*slot // to come
	turns []*turn // being replaced
	done  int

	recycle bool // a worker has done its share
	// version, if not 0, is what a Reconfigure brings; the rest is what was.
	version, fromVersion uint64
	policy, from         *Policy
}

// turn is one slot's replacement under way.
type turn struct {
	slot       *slot
	generation uint64 // of the process that replaces
	beside     bool
}

// roll moves the pool's first rollout as far as it can go in this step; the
// next one waits for it.
func (p *pool) roll() {
	for len(p.rollouts) > 0 {
		r := p.rollouts[0]
		if p.m.stopping {
			r.stopBeside("shutdown")
			r.slots, r.turns = nil, nil
		}
		r.step()
		if len(r.turns) > 0 || len(r.slots) > 0 {
			return
		}
		p.rollouts[0] = nil
		p.rollouts = p.rollouts[1:]
	}
}

// reaches: a rollout has s before it or at hand.
func (p *pool) reaches(s *slot) bool {
	return slices.ContainsFunc(p.rollouts, func(r *rollout) bool {
		return slices.Contains(r.slots, s) || slices.ContainsFunc(r.turns, func(t *turn) bool { return t.slot == s })
	})
}

func (r *rollout) step() {
	going := r.turns[:0]
	for i, t := range r.turns {
		state, why := t.judge()
		switch state {
		case turnFailed:
			going = append(going, r.turns[i+1:]...)
			r.turns = going
			r.abort(t.slot, why)
			return
		case turnDone:
			r.done++
		case turnGoing:
			going = append(going, t)
		}
	}
	r.turns = going
	for len(r.slots) > 0 && r.begin(r.slots[0]) {
		r.slots = r.slots[1:]
	}
}

type turnState uint8

const (
	turnGoing turnState = iota
	turnDone
	turnDropped // an operator has stopped the slot meanwhile
	turnFailed
)

// judge looks how far a turn has come, and gives a new process that has proven
// itself the place.
func (t *turn) judge() (turnState, string) {
	s := t.slot
	if n := s.next; n != nil && n.id.Generation == t.generation && n.soaked() {
		s.m.touch(s)
		s.swap()
	}
	p := s.proc
	switch {
	case s.want == Down:
		return turnDropped, ""
	case t.beside && p != nil && p.id.Generation < t.generation && s.next == nil:
		return turnFailed, s.nextDied
	case p != nil && p.id.Generation < t.generation:
		return turnGoing, ""
	case p == nil || p.id.Generation > t.generation, s.state != Starting && s.state != Ready:
		return turnFailed, s.reason
	case s.state == Ready && s.old == nil && p.soaked():
		return turnDone, ""
	}
	return turnGoing, ""
}

// begin starts a slot's turn; false: it must wait for another to end.
func (r *rollout) begin(s *slot) bool {
	pol := s.policy
	beside := 0
	for _, t := range r.turns {
		if t.beside {
			beside++
		}
	}
	surge, missing := pol.Surge, pol.Unavailable
	if surge+missing == 0 {
		missing = 1
	}
	s.m.touch(s)
	switch {
	case r.passes(s):
		return true
	case s.old != nil || s.next != nil: // another hand is at it
		return false
	case s.state == Ready && beside < surge:
		r.give(s)
		r.turns = append(r.turns, &turn{s, s.generation + 1, true})
		s.spawnBeside(r.why)
	case len(r.turns)-beside < missing, s.state != Ready && len(r.turns) < surge+missing:
		r.give(s)
		r.turns = append(r.turns, &turn{s, s.generation + 1, false})
		s.replace(r.why)
	default:
		return false
	}
	return true
}

// passes: the slot needs no turn any more.
func (r *rollout) passes(s *slot) bool {
	switch {
	case s.want == Down || s.leaving:
		r.give(s)
		r.answer(s, OutcomeUnchanged, "it was stopped meanwhile")
		return true
	case r.recycle:
		return s.proc == nil || s.proc.phase != serving
	case r.version == 0 && r.op != nil && !r.awaits(s): // it has had another process since, and how that went was its answer
		r.done++
		return true
	}
	return false
}

// give gives the slot the version that the rollout brings.
func (r *rollout) give(s *slot) {
	if r.version != 0 {
		s.policy, s.version = r.policy, r.version
	}
}

// awaits reports whether the op still waits for s.
func (r *rollout) awaits(s *slot) bool {
	return slices.ContainsFunc(s.waiters, func(w waiter) bool { return w.op == r.op })
}

// abort leaves the slots that were not reached as they are, and takes back what
// a Reconfigure has brought.
func (r *rollout) abort(failed *slot, why string) {
	m := r.pool.m
	m.announce(failed, failed.generation, KindRollout, "%s; ended after %d of %d: %v did not become ready: %s",
		r.why, r.done, r.done+1+len(r.turns)+len(r.slots), ID{failed.id, failed.generation}, why)
	m.touch(failed)
	if failed.proc != nil && failed.proc.id.Generation < failed.generation { // the old one serves on
		r.answer(failed, OutcomeFailed, fmt.Sprintf("%v did not become ready: %s", ID{failed.id, failed.generation}, why))
	}
	if r.recycle && failed.proc != nil {
		failed.recycleNot = m.now.Add(recycleAgain)
		if failed.policy.Age > 0 {
			failed.proc.ageAt = failed.recycleNot
		}
	}
	r.stopBeside("the rollout has ended")
	left := r.slots
	for _, t := range r.turns {
		left = append(left, t.slot)
	}
	for _, s := range left {
		m.touch(s)
		r.answer(s, OutcomeUnchanged, "left as it is: "+failed.id.String()+" did not become ready again")
	}
	r.slots, r.turns = nil, nil
	if r.version != 0 {
		r.revert()
	}
}

// stopBeside stops the processes that were to take a place and have not.
func (r *rollout) stopBeside(why string) {
	for _, t := range r.turns {
		if n := t.slot.next; n != nil {
			r.pool.m.touch(t.slot)
			n.stop(why)
		}
	}
}

// revert takes the pool back to what it was. Slots that run the new version are
// replaced once more.
func (r *rollout) revert() {
	p := r.pool
	p.policy, p.version = r.from, r.fromVersion
	back := &rollout{pool: p, why: "back to the configuration before"}
	for _, s := range p.slots {
		p.m.touch(s)
		s.policy, s.version = r.from, r.fromVersion
		if s.proc != nil && s.proc.version == r.version && s.want == Up {
			back.slots = append(back.slots, s)
		}
	}
	if len(back.slots) > 0 {
		p.rollouts = slices.Insert(p.rollouts, 1, back)
	}
	p.m.emit(Reverted{p.name, r.fromVersion})
}

// answer gives the op's result for a slot, if it still waits for one.
func (r *rollout) answer(s *slot, o Outcome, text string) {
	if r.op == nil {
		return
	}
	waiting := s.waiters[:0]
	for _, w := range s.waiters {
		if w.op == r.op {
			s.answer(w, o, text)
			continue
		}
		waiting = append(waiting, w)
	}
	s.waiters = waiting
}
