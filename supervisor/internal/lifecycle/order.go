package lifecycle

import "fmt"

// op is an Order under way.
type op struct {
	id      uint64
	left    int // slots without a result; and one each while it is being begun, and while a rollout of its own goes on
	results []Result
}

// waiter is a slot's part in an op.
type waiter struct {
	op     *op
	index  int    // in op.results
	down   bool   // it waits for Stopped, else for Ready
	after  uint64 // the generation must be newer than this
	rolled bool   // the rollout that is to reach the slot answers, unless that is wanted down
}

// open begins an op. It is not settled before it is released.
func (m *Machine) open(id uint64) *op {
	op := &op{id: id, left: 1}
	m.ops[id] = op
	return op
}

// release: one thing less keeps the op from being settled. Every slot that it waits
// for has been named, or its rollout has ended.
func (m *Machine) release(op *op) {
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
		if s == nil {
			op.add(Result{id, OutcomeFailed, "there is no such slot"})
			continue
		}
		m.touch(s)
		if o.Verb == Restart && (o.Roll || len(o.Slots) > 1) {
			s.takeRoll(op, o, rolling)
		} else {
			s.take(op, o)
		}
	}
	m.release(op)
}

// take does what the order asks for at once.
func (s *slot) take(op *op, o Order) {
	outcome, text := s.refuses(o)
	switch {
	case outcome != "":
		op.add(Result{s.id, outcome, text})
	case o.Verb == Start && s.want == Up && s.state == Ready:
		op.add(Result{s.id, OutcomeUnchanged, "it is up"})
	case o.Verb == Start:
		s.await(op, waiter{})
		s.setUp("started by hand")
	case o.Verb == Stop && s.state == Stopped && s.want == Down:
		op.add(Result{s.id, OutcomeUnchanged, "it is down"})
	case o.Verb == Stop:
		s.await(op, waiter{down: true})
		s.setDown("stopped by hand")
	default: // what a rollout has started beside it already will do
		s.await(op, waiter{after: s.shown()})
		s.forgive()
		s.replace("restarted by hand")
	}
}

// takeRoll puts the slot into the op's rollout of its pool.
func (s *slot) takeRoll(op *op, o Order, rolling map[*pool]*rollout) {
	outcome, text := s.refuses(o)
	switch {
	case outcome != "":
	case s.want == Down:
		outcome, text = OutcomeUnchanged, "it is stopped, and stays so until it is started"
	case s.waits:
		outcome, text = OutcomeUnchanged, s.pool.waiting()
	}
	if outcome != "" {
		op.add(Result{s.id, outcome, text})
		return
	}
	s.await(op, waiter{after: s.generation, rolled: true})
	r := rolling[s.pool]
	if r == nil {
		r = &rollout{pool: s.pool, aim: restarting, op: op, why: "restarted by hand"}
		rolling[s.pool] = r
		s.pool.rollouts = append(s.pool.rollouts, r)
	}
	r.slots = append(r.slots, s)
}

// refuses says why the order can't be done; "": it can.
func (s *slot) refuses(o Order) (Outcome, string) {
	switch {
	case o.Generation != 0 && o.Generation != s.shown():
		return OutcomeStale, ID{s.id, o.Generation}.Missed(s.shown())
	case o.Verb == Stop:
		return "", ""
	case s.m.stopping:
		return OutcomeFailed, "the supervisor is shutting down"
	case s.leaving:
		return OutcomeFailed, "it is being removed"
	}
	return "", ""
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

// answerAll answers the waiters for whom of is true.
func (s *slot) answerAll(of func(waiter) bool, o Outcome, text string) {
	waiting := s.waiters[:0]
	for _, w := range s.waiters {
		if of(w) {
			s.answer(w, o, text)
		} else {
			waiting = append(waiting, w)
		}
	}
	s.waiters = waiting
}

func (s *slot) judge(w waiter) (o Outcome, text string, over bool) {
	switch {
	case w.down && s.want == Up:
		return OutcomeFailed, "it was started meanwhile", true
	case w.down:
		return OutcomeDone, "", s.state == Stopped
	case s.want == Down:
		return OutcomeFailed, "it was stopped meanwhile", true
	case w.rolled, s.shown() <= w.after:
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
	// A new process that is to go by its own fault has failed.
	if p := s.proc; p != nil && p.asked && p.fault && !p.replaced {
		return OutcomeFailed, s.reason, true
	}
	return "", "", false
}
