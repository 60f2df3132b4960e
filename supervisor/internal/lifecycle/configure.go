package lifecycle

import "slices"

// Another configuration for a pool, and the way back. While a rollout brings
// one, the pool has it already, and a slot has it once its turn has come; when
// none does, every slot has the pool's.

func (m *Machine) reconfigure(e Reconfigure) {
	op := m.open(e.Op)
	if why := m.refuses(e.Pool); why != "" {
		op.add(Result{Slot{e.Pool, 1}, OutcomeFailed, why})
	} else {
		p := m.pools[e.Pool]
		p.after = e.After
		if e.Roll {
			p.change(op, e)
		} else {
			p.amend(e)
		}
	}
	m.release(op)
}

// amend puts another policy in the place of the pool's, without replacing a
// process.
func (p *pool) amend(e Reconfigure) {
	was := p.version
	for _, r := range p.rollouts {
		if r.aim == changing { // it brings this one instead
			r.policy, r.version = e.Policy, e.Version
		}
	}
	p.set(e.Policy, e.Version)
	for _, s := range p.slots {
		if s.version != was { // the rollout has not come to it
			continue
		}
		p.m.touch(s)
		s.policy, s.version = e.Policy, e.Version
		for _, q := range s.procs() {
			if q != nil && q.version == was {
				q.amend(e.Policy, e.Version)
			}
		}
	}
}

// change begins to replace the pool's processes by ones of another version,
// those first that are not ready: they cost nothing.
func (p *pool) change(op *op, e Reconfigure) {
	r := &rollout{pool: p, aim: changing, op: op, why: "the configuration has changed",
		policy: e.Policy, version: e.Version, from: p.policy, fromVersion: p.version}
	at := p.supersede(r)
	op.left++ // what the pool has come to is known when the rollout has ended, whatever became of the slots
	for _, s := range p.slots {
		switch {
		case s.leaving:
		case s.idle():
			r.give(s)
		default:
			s.await(op, waiter{rolled: true})
			r.slots = append(r.slots, s)
		}
	}
	readyLast(r.slots)
	p.set(e.Policy, e.Version)
	p.rollouts = slices.Insert(p.rollouts, at, r)
}

// supersede ends the rollout of another configuration, or the way back from
// one, for by, and returns by's place among the rollouts.
func (p *pool) supersede(by *rollout) int {
	at := slices.IndexFunc(p.rollouts, func(r *rollout) bool { return r.aim == changing || r.aim == reverting })
	if at < 0 {
		return len(p.rollouts)
	}
	r := p.rollouts[at]
	p.rollouts = slices.Delete(p.rollouts, at, at+1)
	const why = "another configuration has come meanwhile"
	r.stopBeside(why)
	if r.aim == changing {
		by.from, by.fromVersion, by.begun = r.from, r.fromVersion, r.begun
		for _, s := range p.slots {
			s.policy, s.version = r.from, r.fromVersion
		}
	}
	for _, t := range r.turns {
		r.answer(t.slot, OutcomeUnchanged, why)
	}
	for _, s := range r.slots {
		r.answer(s, OutcomeUnchanged, why)
	}
	r.ended()
	return at
}

// revert takes the pool back to what it was. Processes of another version are
// replaced once more; slots that it has brought down, whatever their state, are
// started.
func (r *rollout) revert() {
	p := r.pool
	back := &rollout{pool: p, aim: reverting, why: "back to the configuration before"}
	for _, s := range p.slots {
		broken := s.version == r.version && (s.state == Failed || s.state == Backoff) || slices.Contains(r.begun, s)
		s.policy, s.version = r.from, r.fromVersion
		q := s.proc
		if s.want == Up && !s.waits && (q == nil && broken || q != nil && q.version != r.fromVersion) {
			back.slots = append(back.slots, s)
		}
	}
	readyLast(back.slots)
	p.set(r.from, r.fromVersion)
	p.rollouts = slices.Insert(p.rollouts, 1, back) // behind r
	p.m.emit(Reverted{p.name, r.fromVersion})
}

// readyLast puts the slots that are ready behind the others.
func readyLast(slots []*slot) {
	slices.SortStableFunc(slots, func(a, b *slot) int {
		switch ready := a.state == Ready; {
		case ready == (b.state == Ready):
			return 0
		case ready:
			return 1
		}
		return -1
	})
}
