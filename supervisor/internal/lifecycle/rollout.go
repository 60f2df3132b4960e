package lifecycle

import (
	"fmt"
	"slices"
)

// rollout replaces the processes of some slots of a pool, a few at a time: a
// new one beside the old (Surge) or in its place (Unavailable). The next slot's
// turn comes when the one before is ready, has stayed so (Soak) and the old
// process is gone. The first new process that does not become so ends the
// rollout, and what still serves goes on serving.
type rollout struct {
	pool  *pool
	aim   aim
	op    *op // nil: nobody waits for it
	why   string
	slots []*slot // to come
	turns []*turn // being replaced
	done  int

	// Of changing: what it brings, what was, and the slots that it, or one whose
	// place it has taken, has begun with.
	policy, from         *Policy
	version, fromVersion uint64
	begun                []*slot
}

// aim is what a rollout is for, and so which slots need it.
type aim uint8

const (
	restarting aim = iota // on an operator's word
	recycling             // a worker has done its share
	changing              // a Reconfigure
	reverting             // of a Reconfigure that has failed
)

// roll moves the pool's first rollout as far as it can go in this step; the
// next one waits for it. With none left it is a worker's turn to be recycled.
func (p *pool) roll() {
	for {
		if len(p.rollouts) == 0 && !p.m.stopping {
			p.recycleNext()
		}
		if len(p.rollouts) == 0 {
			return
		}
		r := p.rollouts[0]
		if p.m.stopping {
			r.stopBeside("shutdown")
			r.slots, r.turns = nil, nil // what waits for them is answered when they are stopped
		}
		r.step()
		if len(r.turns) > 0 || len(r.slots) > 0 {
			return
		}
		p.rollouts = slices.Delete(p.rollouts, 0, 1)
		r.ended()
	}
}

// ended: nothing comes of the rollout any more.
func (r *rollout) ended() {
	if r.aim == changing {
		r.pool.m.release(r.op)
	}
}

func (r *rollout) step() {
	for i := 0; i < len(r.turns); {
		t := r.turns[i]
		state, text := t.judge()
		if state == turnGoing {
			i++
			continue
		}
		r.turns = slices.Delete(r.turns, i, i+1)
		switch state {
		case turnFailed:
			r.abort(t, text)
			return
		case turnDone:
			r.done++
			r.answer(t.slot, OutcomeDone, text)
		}
	}
	for len(r.slots) > 0 && r.begin(r.slots[0]) {
		r.slots = r.slots[1:]
	}
}

// begin starts a slot's turn if it needs one; false: it must wait for another
// to end.
func (r *rollout) begin(s *slot) bool {
	surge, missing := r.limits()
	if len(r.turns) >= surge+missing {
		return false
	}
	if r.passes(s) {
		return true
	}
	extra, taken := r.pool.outOfPlace()
	switch {
	case s.old != nil || s.next != nil: // they are going, and then it can begin
		return false
	case s.state == Ready && extra < surge:
		r.give(s)
		r.turns = append(r.turns, &turn{s, s.generation + 1})
		s.spawnBeside(r.why)
	case s.state != Ready || taken < missing:
		s.taken = s.taken || s.state == Ready || r.aim == reverting
		r.give(s)
		r.turns = append(r.turns, &turn{s, s.generation + 1})
		s.replace(r.why)
	default:
		return false
	}
	r.pool.m.touch(s)
	return true
}

// limits are how many processes may be beside the others, and how many that
// were ready may be missing.
func (r *rollout) limits() (surge, missing int) {
	p := r.pool.policy
	if p.Surge+p.Unavailable <= 0 {
		return 0, 1
	}
	return p.Surge, p.Unavailable
}

// outOfPlace counts what rollouts are answerable for, those that have ended
// included: the processes that are extra, and the slots taken.
func (p *pool) outOfPlace() (extra, taken int) {
	for _, s := range p.slots {
		if s.next != nil || s.old != nil {
			extra++
		}
		if s.taken {
			taken++
		}
	}
	return extra, taken
}

// passes: the slot needs no turn, or has begun it by itself.
func (r *rollout) passes(s *slot) bool {
	p := s.proc
	switch {
	case s.want == Down || s.waits: // whoever waited knows already
		r.give(s)
		return true
	case r.aim == restarting:
		return r.restarted(s)
	case r.aim == recycling:
		return p == nil || p.phase != serving || p.due == ""
	case r.aim == reverting:
		return p != nil && p.version == s.version
	case p == nil && s.state == Done:
		r.give(s)
		r.answer(s, OutcomeUnchanged, s.reason)
		return true
	}
	return false
}

// restarted: the slot has had another process since the operator's word.
func (r *rollout) restarted(s *slot) bool {
	i := slices.IndexFunc(s.waiters, func(w waiter) bool { return w.op == r.op })
	if i < 0 {
		return true
	}
	switch p := s.proc; {
	case p == nil || p.asked || p.id.Generation <= s.waiters[i].after:
		return false
	case p.phase == serving:
		r.done++
		r.answer(s, OutcomeDone, "")
	default:
		r.turns = append(r.turns, &turn{s, p.id.Generation})
	}
	return true
}

// give gives the slot what the rollout brings, and a budget as new.
func (r *rollout) give(s *slot) {
	if r.aim == changing {
		s.policy, s.version = r.policy, r.version
		if !s.idle() {
			r.begun = append(r.begun, s)
		}
	}
	if r.aim != recycling {
		s.forgive()
	}
}

// abort leaves the slots that were not reached as they are, and takes back what
// a Reconfigure has brought.
func (r *rollout) abort(t *turn, why string) {
	m, s := r.pool.m, t.slot
	id := ID{s.id, t.generation}
	m.announce(s, t.generation, KindRollout, "%s; ended after %d of %d: %v did not become ready: %s",
		r.why, r.done, r.done+1+len(r.turns)+len(r.slots), id, why)
	left := "left as it is: "
	switch r.aim {
	case changing:
		left = "back to the configuration before: "
		r.revert()
		r.unsettle(fmt.Sprintf("%s%v did not become ready", left, id))
	case recycling:
		s.coolDown()
	case reverting:
		s.coolDown()
		for _, other := range r.slots {
			other.coolDown()
		}
	}
	r.stopBeside("the rollout has ended")
	r.answer(s, OutcomeFailed, fmt.Sprintf("%v did not become ready: %s", id, why))
	for _, t := range r.turns {
		if r.aim == reverting {
			t.slot.coolDown()
		}
		if r.aim == restarting && t.slot.next == nil { // that can't be undone; how it does is its answer
			t.slot.unroll(r.op, t.generation-1)
		}
		r.slots = append(r.slots, t.slot)
	}
	for _, s := range r.slots {
		r.answer(s, OutcomeUnchanged, fmt.Sprintf("%s%v did not become ready", left, id))
	}
	r.slots, r.turns = nil, nil
}

// stopBeside stops the processes that were to take a place and have not.
func (r *rollout) stopBeside(why string) {
	for _, t := range r.turns {
		if n := t.slot.next; n != nil {
			n.stop(why)
		}
	}
}

// answer gives the op's result for a slot, if it still waits for the rollout.
func (r *rollout) answer(s *slot, o Outcome, text string) {
	if r.op != nil {
		s.answerAll(func(w waiter) bool { return w.op == r.op && w.rolled }, o, text)
	}
}

// unroll has the op wait for what becomes of the slot by itself.
func (s *slot) unroll(op *op, after uint64) {
	for i := range s.waiters {
		if w := &s.waiters[i]; w.op == op {
			w.rolled, w.after = false, after
		}
	}
	s.settle()
}

// unsettle takes back that slots were done.
func (r *rollout) unsettle(why string) {
	for i := range r.op.results {
		if res := &r.op.results[i]; res.Outcome == OutcomeDone {
			res.Outcome, res.Text = OutcomeUnchanged, why
		}
	}
}
