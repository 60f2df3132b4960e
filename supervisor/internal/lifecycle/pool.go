package lifecycle

import "slices"

// pool is what the slots of one name have in common.
type pool struct {
	m       *Machine
	name    string
	policy  *Policy // a rollout that brings another brings this one
	version uint64
	slots   []*slot // by number, without gaps; those that are leaving at the end
	live    int     // processes in them
	after   []string

	held      bool // it waits for the pools that it comes after; so do the slots that say so
	leaving   bool // RemovePool has come
	shrinking bool // some slots are leaving
	down      bool // a Shutdown has stopped it
	rollouts  []*rollout
	dues      []*slot // to be recycled, one by one; some need it no more
	bucket
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

// set gives the pool, but not its slots, another configuration.
func (p *pool) set(policy *Policy, version uint64) {
	p.policy, p.version = policy, version
	if policy.RestartEvery <= 0 {
		p.arrival = p.m.now // nobody waits for a token any more
	}
	p.headRow()
}

// boot starts the pools that come after none, and holds the others.
func (m *Machine) boot() {
	for _, p := range m.inOrder {
		p.held = p.waitsFor() != ""
		for _, s := range p.slots {
			if s.want == Up && s.proc == nil {
				s.enter("")
			}
		}
	}
}

// enter starts a slot of a pool that is not held. In one that is, it waits.
func (s *slot) enter(why string) {
	s.want = Up
	if !s.pool.held {
		s.spawn(why)
		return
	}
	s.waits = true
	s.vacant("")
}

// release starts a held pool when its time has come. While what it waits for is
// not on its way, nobody need wait for its slots.
func (p *pool) release() {
	p.held = p.waitsFor() != ""
	stuck := p.stuck(len(p.m.pools))
	for _, s := range p.slots {
		switch {
		case !s.waits:
		case stuck:
			s.answerAll(func(w waiter) bool { return !w.down }, OutcomeFailed, p.waiting())
		case p.held:
		default:
			s.setUp("")
		}
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

// waiting says what a held slot waits for.
func (p *pool) waiting() string { return "waits for pool " + p.waitsFor() }

// up: as many are ready, or done, as the pools after it need.
func (p *pool) up() bool {
	return p.enough(func(s *slot) bool { return s.state == Ready || s.state == Done })
}

// stuck: held by a pool that is not on its way up. depth ends the walk through
// pools that come after one another in a ring.
func (p *pool) stuck(depth int) bool {
	return p.held && (depth == 0 || slices.ContainsFunc(p.after, func(name string) bool {
		b := p.m.pools[name]
		return b != nil && !b.coming(depth-1)
	}))
}

// coming: it is up or on its way there, as far as its slots show.
func (p *pool) coming(depth int) bool {
	return !p.stuck(depth) && p.enough(func(s *slot) bool {
		return s.waits || s.state != Stopped && s.state != Backoff && s.state != Failed
	})
}

// enough: f holds for as many slots as the pools after it need.
func (p *pool) enough(f func(*slot) bool) bool {
	n, of := 0, 0
	for _, s := range p.slots {
		if s.leaving {
			continue
		}
		of++
		if s.want == Up && f(s) {
			n++
		}
	}
	return n >= min(max(p.policy.MinReady, 1), of)
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
		if now || s.proc == nil && s.want == Up { // else its turn comes
			s.setDown("shutdown")
		}
		for _, p := range s.procs() {
			if now && p != nil {
				p.kill("shutdown at once")
			}
		}
	}
}

// stopNext stops the pools that no pool with a process left comes after. Where
// that is none, as they come after one another in a ring, it stops them all.
func (m *Machine) stopNext() {
	going := false
	for _, p := range m.inOrder {
		if p.down || !m.needed(p) {
			p.shutdown()
			going = going || p.live > 0
		}
	}
	if going {
		return
	}
	for _, p := range m.inOrder {
		p.shutdown()
	}
}

// needed: a pool that comes after p has a process left.
func (m *Machine) needed(p *pool) bool {
	return slices.ContainsFunc(m.inOrder, func(q *pool) bool {
		return q != p && slices.Contains(q.after, p.name) && q.live > 0
	})
}

// shutdown stops the pool. Nothing wants a slot up after that.
func (p *pool) shutdown() {
	if p.down {
		return
	}
	p.down = true
	for _, s := range p.slots {
		if s.want == Up {
			s.setDown("shutdown")
		}
	}
}

// finish announces, once, that a Shutdown is over.
func (m *Machine) finish() {
	if m.finished || slices.ContainsFunc(m.inOrder, func(p *pool) bool { return p.live > 0 || !p.down }) {
		return
	}
	m.finished = true
	m.emit(Finished{})
}
