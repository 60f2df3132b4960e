package lifecycle

import "fmt"

// op is an Order under way.
type op struct {
	id      uint64
	left    int // slots without a result, and one while it is being begun
	results []Result
}

// waiter is a slot's part in an op.
type waiter struct {
	op    *op
	index int    // in op.results
	down  bool   // it waits for Stopped, else for Ready
	after uint64 // the generation must be newer than this
	// version, if not 0, is the one that the process must be of.
	version uint64
}

// open begins an op. It is not settled before begun is called.
func (m *Machine) open(id uint64) *op {
	op := &op{id: id, left: 1}
	m.ops[id] = op
	return op
}

// begun: every slot that the op waits for has been named.
func (m *Machine) begun(op *op) {
	op.left--
	m.settleOp(op)
}

// add puts in a result that is there already.
func (op *op) add(r Result) { op.results = append(op.results, r) }

// await has op wait for s.
func (s *slot) await(op *op, w waiter) {
	w.op, w.index = op, len(op.results)
	op.add(Result{Slot: s.id})
	op.left++
	s.waiters = append(s.waiters, w)
}

// take starts an Order.
func (m *Machine) take(o Order) {
	op := m.open(o.Op)
	rolling := map[*pool]*rollout{}
	for _, id := range o.Slots {
		s := m.slots[id]
		m.touch(s)
		switch {
		case o.Generation != 0 && o.Generation != s.shown():
			op.add(Result{id, OutcomeStale, fmt.Sprintf("%v is gone, %v is there", ID{id, o.Generation}, ID{id, s.shown()})})
		case m.stopping && o.Verb != Stop:
			op.add(Result{id, OutcomeFailed, "the supervisor is shutting down"})
		case o.Verb == Start && s.want == Up && s.state == Ready:
			op.add(Result{id, OutcomeUnchanged, "it is up"})
		case o.Verb == Start:
			s.await(op, waiter{})
			s.setUp()
		case o.Verb == Stop && s.state == Stopped && s.want == Down:
			op.add(Result{id, OutcomeUnchanged, "it is down"})
		case o.Verb == Stop:
			s.await(op, waiter{down: true})
			s.setDown("stopped by hand")
		case len(o.Slots) == 1: // named itself: replaced, or started, at once
			s.await(op, waiter{after: s.generation})
			s.replace("restarted by hand")
		case s.want == Down:
			op.add(Result{id, OutcomeUnchanged, "it is stopped, and stays so until it is started"})
		default:
			s.await(op, waiter{after: s.generation})
			r := rolling[s.pool]
			if r == nil {
				r = &rollout{op: op, pool: s.pool, why: "restarted by hand"}
				rolling[s.pool] = r
				s.pool.rollouts = append(s.pool.rollouts, r)
			}
			r.slots = append(r.slots, s)
		}
	}
	m.begun(op)
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
	if s.shown() <= w.after || w.version != 0 && s.proc != nil && s.proc.version != w.version {
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
