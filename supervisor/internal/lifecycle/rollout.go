package lifecycle

import "slices"

// rollout restarts slots one after the other. The next goes only when the one
// before is ready again; the first that does not become so ends it, and the
// slots not yet reached go on as they are.
type rollout struct {
	op      *op
	pool    string
	slots   []*slot // to come
	current *slot   // being restarted; nil: none
	after   uint64  // its generation before
	done    int
}

// roll moves each pool's first rollout as far as it can go in this step; a
// second one of a pool waits for it.
func (m *Machine) roll() {
	if len(m.rollouts) == 0 {
		return
	}
	busy := map[string]bool{}
	going := m.rollouts[:0]
	for _, r := range m.rollouts {
		for !busy[r.pool] && r.step(m) {
		}
		if r.current != nil || len(r.slots) > 0 {
			busy[r.pool] = true
			going = append(going, r)
		}
	}
	clear(m.rollouts[len(going):])
	m.rollouts = going
}

// step takes one step and reports whether there may be another at once.
func (r *rollout) step(m *Machine) bool {
	if s := r.current; s != nil {
		if s.generation == r.after && s.want == Up {
			return false // still stopping
		}
		switch {
		case s.want == Down: // an operator stopped it meanwhile: not the rollout's business any more
		case s.state == Ready && s.generation == r.after+1:
			r.done++
		case s.state == Starting && s.generation == r.after+1:
			return false
		default:
			r.abort(m, s)
			return false
		}
		r.current = nil
	}
	if len(r.slots) == 0 {
		return false
	}
	s := r.slots[0]
	r.slots = r.slots[1:]
	m.touch(s)
	if s.want == Down {
		r.drop(s, "it was stopped meanwhile")
		return true
	}
	if !r.awaits(s) { // it has had another process since the order, and how that went was its answer
		r.done++
		return true
	}
	r.current, r.after = s, s.generation
	s.replace("restarted by hand")
	return true
}

// awaits reports whether the op still waits for s.
func (r *rollout) awaits(s *slot) bool {
	return slices.ContainsFunc(s.waiters, func(w waiter) bool { return w.op == r.op })
}

// abort leaves the slots that were not reached as they are.
func (r *rollout) abort(m *Machine, failed *slot) {
	r.current = nil
	m.announce(failed, failed.generation, KindRollout, "restart ended after %d of %d: %v did not become ready: %s",
		r.done, r.done+1+len(r.slots), failed.id, failed.reason)
	for _, s := range r.slots {
		m.touch(s)
		r.drop(s, "left as it is: "+failed.id.String()+" did not become ready again")
	}
	r.slots = nil
}

// drop answers the op for a slot that the rollout does not touch.
func (r *rollout) drop(s *slot, text string) {
	waiting := s.waiters[:0]
	for _, w := range s.waiters {
		if w.op == r.op {
			s.answer(w, OutcomeUnchanged, text)
			continue
		}
		waiting = append(waiting, w)
	}
	s.waiters = waiting
}
