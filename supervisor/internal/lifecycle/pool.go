package lifecycle

import (
	"slices"
	"time"
)

// pool is what the slots of one name have in common.
type pool struct {
	m       *Machine
	name    string
	policy  *Policy // of slots that are not reached by a rollout of another
	version uint64
	slots   []*slot // by number, without gaps but for those leaving
	after   []string

	held      bool // Boot waits for the pools that it comes after
	leaving   bool // RemovePool has come
	shrinking bool // some slots are leaving
	rollouts  []*rollout
	// arrival is the theoretical arrival time of the next restart that nobody
	// asked for: a token bucket, kept as in the generic cell rate algorithm.
	arrival time.Time
}

func (m *Machine) poolOf(name string, p *Policy) *pool {
	if have := m.pools[name]; have != nil {
		return have
	}
	made := &pool{m: m, name: name, policy: p}
	m.pools[name] = made
	m.inOrder = append(m.inOrder, made)
	return made
}

func (m *Machine) boot() {
	for _, p := range m.inOrder {
		p.start()
	}
}

// start spawns what is wanted up, or holds it until the pools before are up.
func (p *pool) start() {
	before := p.waitsFor()
	p.held = before != ""
	for _, s := range p.slots {
		if s.want == Down || s.proc != nil || s.state == Done {
			continue
		}
		if p.held {
			s.become(Stopped, "waits for pool "+before)
			continue
		}
		s.spawn("")
	}
}

// release starts a held pool when its time has come.
func (p *pool) release() {
	if !p.m.stopping && p.waitsFor() == "" {
		p.start()
	}
}

// waitsFor is a pool that must be up first; "": none.
func (p *pool) waitsFor() string {
	for _, name := range p.after {
		if b := p.m.pools[name]; b != nil && !b.up() {
			return name
		}
	}
	return ""
}

// up: as many are ready, or done, as the pools after it need.
func (p *pool) up() bool {
	n := 0
	for _, s := range p.slots {
		if s.state == Ready || s.state == Done {
			n++
		}
	}
	return n >= min(max(p.policy.MinReady, 1), len(p.slots))
}

// empty: no process is left.
func (p *pool) empty() bool {
	return !slices.ContainsFunc(p.slots, func(s *slot) bool { return s.occupied() })
}

// admit is how long a restart that nobody asked for must wait for the pool's
// bucket. It takes the token.
func (p *pool) admit() time.Duration {
	every := p.policy.RestartEvery
	if every <= 0 {
		return 0
	}
	now := p.m.now
	if p.arrival.Before(now) {
		p.arrival = now
	}
	wait := p.arrival.Sub(now) - time.Duration(max(p.policy.RestartBurst, 1)-1)*every
	p.arrival = p.arrival.Add(every)
	return max(wait, 0)
}

// shutdown wants everything down, pools before those that they come after. With
// now it kills.
func (m *Machine) shutdown(now bool) {
	m.stopping = true
	for _, p := range m.pools {
		p.held = false
	}
	if !now {
		m.stopNext()
	}
	for _, s := range m.order {
		if !now && (s.occupied() || s.want == Down) {
			continue // its turn comes
		}
		m.touch(s)
		s.setDown("shutdown")
		for _, p := range s.procs() {
			p.kill("shutdown at once")
		}
	}
}

// stopNext stops the pools that no pool with a process left comes after.
func (m *Machine) stopNext() {
	for _, p := range m.inOrder {
		needed := slices.ContainsFunc(m.inOrder, func(q *pool) bool { return slices.Contains(q.after, p.name) && !q.empty() })
		if needed {
			continue
		}
		for _, s := range p.slots {
			if s.want == Up {
				m.touch(s)
				s.setDown("shutdown")
			}
		}
	}
}

// finish announces, once, that a Shutdown is over.
func (m *Machine) finish() {
	if m.finished || slices.ContainsFunc(m.order, func(s *slot) bool { return s.occupied() || s.want == Up }) {
		return
	}
	m.finished = true
	m.emit(Finished{})
}

// resize starts what is missing and stops what is too much.
func (m *Machine) resize(e Resize) {
	p := m.pools[e.Pool]
	op := m.open(e.Op)
	if m.stopping {
		op.add(Result{Slot{e.Pool, 1}, OutcomeFailed, "the supervisor is shutting down"})
	} else {
		p.resize(op, e.To)
	}
	m.begun(op)
}

func (p *pool) resize(op *op, to int) {
	m := p.m
	for _, s := range slices.Clone(p.slots) {
		m.touch(s)
		switch {
		case s.id.N > to:
			s.leaving, p.shrinking = true, true
			s.await(op, waiter{down: true})
			s.setDown("scaled down")
		case s.leaving:
			s.leaving = false
			s.await(op, waiter{})
			s.setUp()
		}
	}
	for n := len(p.slots) + 1; n <= to; n++ {
		s := m.addSlot(p, n)
		m.touch(s)
		s.await(op, waiter{})
		if !p.held {
			s.spawn("scaled up")
		}
	}
}

// remove takes out the empty slots that are leaving, from the end.
func (p *pool) remove() {
	for len(p.slots) > 0 {
		s := p.slots[len(p.slots)-1]
		if !s.leaving {
			p.shrinking = false
			return
		}
		if s.occupied() || s.state != Stopped {
			return
		}
		p.slots = p.slots[:len(p.slots)-1]
		delete(p.m.slots, s.id)
		p.m.timers.set(s, time.Time{})
		p.m.order = slices.DeleteFunc(p.m.order, func(o *slot) bool { return o == s })
		p.m.emit(Gone{s.id})
	}
	p.shrinking = false
	if p.leaving {
		delete(p.m.pools, p.name)
	}
}

func (m *Machine) addPool(e AddPool) {
	op := m.open(e.Op)
	p := m.poolOf(e.Pool, e.Policy)
	p.policy, p.version, p.after, p.leaving = e.Policy, e.Version, e.After, false
	if m.stopping {
		op.add(Result{Slot{e.Pool, 1}, OutcomeFailed, "the supervisor is shutting down"})
	} else {
		p.held = p.waitsFor() != ""
		p.resize(op, e.Slots)
	}
	m.begun(op)
}

func (m *Machine) removePool(e RemovePool) {
	op := m.open(e.Op)
	if p := m.pools[e.Pool]; p != nil {
		p.leaving = true
		p.resize(op, 0)
	}
	m.begun(op)
}

// reconfigure gives the slots the new policy; with Roll they get the version
// one after the other, each when its turn comes.
func (m *Machine) reconfigure(e Reconfigure) {
	op := m.open(e.Op)
	p := m.pools[e.Pool]
	p.after = e.After
	switch {
	case m.stopping:
		op.add(Result{Slot{e.Pool, 1}, OutcomeFailed, "the supervisor is shutting down"})
	case !e.Roll:
		p.policy, p.version = e.Policy, e.Version
		for _, s := range p.slots {
			m.touch(s)
			s.policy, s.version = e.Policy, e.Version
		}
	default:
		p.rollTo(op, e)
	}
	m.begun(op)
}

func (p *pool) rollTo(op *op, e Reconfigure) {
	r := &rollout{pool: p, op: op, why: "the configuration has changed", policy: e.Policy, version: e.Version, from: p.policy, fromVersion: p.version}
	for _, s := range p.slots {
		p.m.touch(s)
		if s.leaving {
			continue
		}
		if s.want == Down || !s.occupied() && s.state != Backoff {
			s.policy, s.version = e.Policy, e.Version // nothing runs that could be replaced
			if s.want == Up && s.state == Failed {
				s.await(op, waiter{})
				s.setUp()
			}
			continue
		}
		s.await(op, waiter{after: s.generation, version: e.Version})
		r.slots = append(r.slots, s)
	}
	p.policy, p.version = e.Policy, e.Version
	p.rollouts = append(p.rollouts, r)
}
