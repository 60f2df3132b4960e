package lifecycle

import (
	"slices"
	"time"
)

// Slots and pools that come and go.

// refuses says why nothing can be changed about the pool; "": it can.
func (m *Machine) refuses(name string) string {
	p := m.pools[name]
	switch {
	case m.stopping:
		return "the supervisor is shutting down"
	case p == nil:
		return "there is no pool " + name
	case p.leaving:
		return "pool " + name + " is being removed"
	}
	return ""
}

func (m *Machine) resize(e Resize) {
	op := m.open(e.Op)
	if why := m.refuses(e.Pool); why != "" {
		op.add(Result{Slot{e.Pool, 1}, OutcomeFailed, why})
	} else {
		m.pools[e.Pool].resize(op, e.To, "scaled up", "scaled down")
	}
	m.release(op)
}

func (m *Machine) addPool(e AddPool) {
	op := m.open(e.Op)
	p := m.pools[e.Pool]
	switch {
	case m.stopping:
		op.add(Result{Slot{e.Pool, 1}, OutcomeFailed, m.refuses(e.Pool)})
	case p != nil && !p.leaving:
		op.add(Result{Slot{e.Pool, 1}, OutcomeFailed, "there is a pool " + e.Pool + " already"})
	default:
		p = m.poolOf(e.Pool, e.Policy)
		p.set(e.Policy, e.Version)
		p.after, p.leaving = e.After, false
		p.held = p.waitsFor() != ""
		p.resize(op, e.Slots, "its pool is new", "not of the new pool")
	}
	m.release(op)
}

func (m *Machine) removePool(e RemovePool) {
	op := m.open(e.Op)
	if why := m.refuses(e.Pool); why != "" {
		op.add(Result{Slot{e.Pool, 1}, OutcomeFailed, why})
	} else {
		p := m.pools[e.Pool]
		p.leaving, p.shrinking, p.held = true, true, false
		p.resize(op, 0, "", "its pool is removed")
	}
	m.release(op)
}

// resize starts what is missing and stops what is too much, and says of each why.
func (p *pool) resize(op *op, to int, more, less string) {
	m := p.m
	for _, s := range slices.Clone(p.slots) {
		m.touch(s)
		switch {
		case s.id.N > to:
			s.leaving, p.shrinking = true, true
			s.await(op, waiter{down: true})
			s.setDown(less)
		case s.leaving:
			s.leaving = false
			s.await(op, waiter{})
			s.stay(more)
		}
	}
	for n := len(p.slots) + 1; n <= to; n++ {
		s := m.addSlot(p, n)
		s.await(op, waiter{})
		s.enter(more)
	}
}

// stay takes back that the slot is leaving. What is going goes on going, and a
// new process comes after it: maybe of another pool of that name.
func (s *slot) stay(why string) {
	s.policy, s.version = s.pool.policy, s.pool.version
	if s.proc == nil || s.pool.held {
		s.forgive()
		s.enter(why)
		return
	}
	s.setUp(why)
}

// shrink takes out the empty slots that are leaving, from the end, and then the
// pool if it is leaving.
func (p *pool) shrink() {
	for len(p.slots) > 0 {
		s := p.slots[len(p.slots)-1]
		if !s.leaving {
			p.shrinking = false
			return
		}
		if s.occupied() {
			return
		}
		p.slots = p.slots[:len(p.slots)-1]
		p.m.forget(s)
		p.m.announce(s, s.generation, KindGone, "the slot is no more")
		p.m.emit(Gone{s.id})
	}
	p.shrinking = false
	if p.leaving {
		delete(p.m.pools, p.name)
	}
}

// forget takes an empty slot out of the machine, but for its generation. This
// step still shows it to whoever asks, as stopped.
func (m *Machine) forget(s *slot) {
	m.timers.set(s, time.Time{})
	m.generations[s.id] = s.generation
	delete(m.slots, s.id)
	m.order = slices.DeleteFunc(m.order, func(o *slot) bool { return o == s })
}
