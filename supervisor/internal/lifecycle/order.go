package lifecycle

import "fmt"

// op is an Order under way.
type op struct {
	id      uint64
	left    int // slots without a result
	results []Result
}

// waiter is a slot's part in an op.
type waiter struct {
	op    *op
	index int    // in op.results
	down  bool   // it waits for Stopped, else for Ready
	after uint64 // the generation must be newer than this
}

// take starts an Order.
func (m *Machine) take(o Order) {
	op := &op{id: o.Op, left: len(o.Slots), results: make([]Result, len(o.Slots))}
	m.ops[o.Op] = op
	rolling := map[string]*rollout{}
	for i, id := range o.Slots {
		s := m.slots[id]
		m.touch(s)
		w := waiter{op: op, index: i}
		if o.Generation != 0 && o.Generation != s.generation {
			s.answer(w, OutcomeStale, fmt.Sprintf("%v is gone, %v is there", ID{id, o.Generation}, ID{id, s.generation}))
			continue
		}
		if m.stopping && o.Verb != Stop {
			s.answer(w, OutcomeFailed, "the supervisor is shutting down")
			continue
		}
		switch o.Verb {
		case Start:
			if s.want == Up && s.state == Ready {
				s.answer(w, OutcomeUnchanged, "it is up")
				continue
			}
			s.waiters = append(s.waiters, w)
			s.setUp()
		case Stop:
			if s.state == Stopped && s.want == Down {
				s.answer(w, OutcomeUnchanged, "it is down")
				continue
			}
			w.down = true
			s.waiters = append(s.waiters, w)
			s.setDown("stopped by hand")
		case Restart:
			w.after = s.generation
			m.takeRestart(o, s, w, rolling)
		}
	}
	m.settleOp(op)
}

// takeRestart replaces the one slot that was named at once. Of several, those
// of a pool go one after the other, and one that is stopped stays so.
func (m *Machine) takeRestart(o Order, s *slot, w waiter, rolling map[string]*rollout) {
	if len(o.Slots) == 1 {
		s.waiters = append(s.waiters, w)
		s.replace("restarted by hand")
		return
	}
	if s.want == Down {
		s.answer(w, OutcomeUnchanged, "it is stopped, and stays so until it is started")
		return
	}
	s.waiters = append(s.waiters, w)
	r := rolling[s.id.Pool]
	if r == nil {
		r = &rollout{op: w.op, pool: s.id.Pool}
		rolling[s.id.Pool] = r
		m.rollouts = append(m.rollouts, r)
	}
	r.slots = append(r.slots, s)
}

// answer gives the slot's result of an op.
func (s *slot) answer(w waiter, o Outcome, text string) {
	w.op.results[w.index] = Result{s.id, o, text}
	w.op.left--
	s.m.settleOp(w.op)
}

func (m *Machine) settleOp(op *op) {
	if op.left > 0 || m.ops[op.id] != op {
		return
	}
	delete(m.ops, op.id)
	m.emit(Settled{op.id, op.results})
}

// settle answers the waiters for whom the state is the one they wait for, or
// means that it won't come.
func (s *slot) settle() {
	waiting := s.waiters[:0]
	for _, w := range s.waiters {
		o, text, over := s.judge(w)
		if !over {
			waiting = append(waiting, w)
			continue
		}
		s.answer(w, o, text)
	}
	s.waiters = waiting
}

func (s *slot) judge(w waiter) (o Outcome, text string, over bool) {
	if w.down {
		if s.want == Up {
			return OutcomeFailed, "it was started meanwhile", true
		}
		return OutcomeDone, "", s.state == Stopped
	}
	if s.want == Down {
		return OutcomeFailed, "it was stopped meanwhile", true
	}
	if s.generation <= w.after {
		return "", "", false
	}
	switch s.state {
	case Ready:
		return OutcomeDone, "", true
	case Done:
		return OutcomeDone, s.reason, true
	case Backoff, Failed:
		return OutcomeFailed, fmt.Sprintf("%s: %s", s.state, s.reason), true
	}
	// A new process that has already been replaced by the next one has failed.
	if s.proc != nil && s.proc.asked && s.proc.fault {
		return OutcomeFailed, s.reason, true
	}
	return "", "", false
}
