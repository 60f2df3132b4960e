package lifecycle

import (
	"container/heap"
	"fmt"
	"slices"
	"time"
)

// Machine holds every slot. It has one owner; nothing in it is locked.
type Machine struct {
	slots    map[Slot]*slot
	order    []*slot // as configured
	pools    map[string]*pool
	inOrder  []*pool // as configured
	timers   timers
	chance   func() float64 // [0, 1)
	stopping bool           // a Shutdown has come
	finished bool
	ops      map[uint64]*op
	// generations is the last one given out in each slot that is Gone.
	generations map[Slot]uint64

	// Of the step at hand.
	now     time.Time
	absent  time.Duration
	effects []Effect
	dirty   []*slot
}

// New makes a machine whose chance is drawn from chance, in [0, 1).
func New(chance func() float64) *Machine {
	return &Machine{
		slots: map[Slot]*slot{}, pools: map[string]*pool{}, chance: chance, ops: map[uint64]*op{}, generations: map[Slot]uint64{},
	}
}

// Add makes a slot that is wanted up, and its pool if that is not there. Boot
// starts it.
func (m *Machine) Add(id Slot, p *Policy, now time.Time) {
	m.now = now
	m.addSlot(m.poolOf(id.Pool, p), id.N)
}

// Order makes pool, which has been added, come after the pools named: it is
// started when they are up, and stopped before they are.
func (m *Machine) Order(pool string, after []string) { m.pools[pool].after = after }

func (m *Machine) addSlot(p *pool, n int) *slot {
	s := &slot{
		m: m, id: Slot{p.name, n}, pool: p, policy: p.policy, version: p.version,
		want: Up, state: Stopped, since: m.now, reason: "not started yet",
		generation: m.generations[Slot{p.name, n}], heapIndex: -1,
	}
	m.slots[s.id] = s
	m.order = append(m.order, s)
	p.slots = append(p.slots, s)
	return s
}

// Step takes one event and returns what is to be done about it, in order. The
// slice is valid until the next Step.
func (m *Machine) Step(now time.Time, ev Event) []Effect {
	absent := m.absence(now)
	m.now, m.absent = now, 0
	m.effects = m.effects[:0]
	for _, s := range m.dirty {
		s.dirty = false
	}
	m.dirty = m.dirty[:0]
	if absent > lapse {
		m.absent = absent
		m.excuse()
	}
	m.act(ev)
	m.follow()
	for _, s := range m.dirty {
		m.timers.set(s, s.nextTimer())
	}
	return m.effects
}

func (m *Machine) act(ev Event) {
	switch ev := ev.(type) {
	case Boot:
		m.boot()
	case Tick:
		m.tick()
	case Order:
		m.take(ev)
	case Resize:
		m.resize(ev)
	case AddPool:
		m.addPool(ev)
	case RemovePool:
		m.removePool(ev)
	case Reconfigure:
		m.reconfigure(ev)
	case Shutdown:
		m.shutdown(ev.Now)
	default:
		m.hear(ev)
	}
}

// hear passes an event to the process it is of.
func (m *Machine) hear(ev Event) {
	switch ev := ev.(type) {
	case Spawned:
		m.process(ev.ID, func(p *proc) { p.spawned(ev.PID) })
	case SpawnFailed:
		m.process(ev.ID, func(p *proc) { p.notSpawned(ev.Err) })
	case Exited:
		m.process(ev.ID, func(p *proc) { p.ended(Exit{Code: ev.Code, Signal: ev.Signal, Core: ev.Core}) })
	case Greeted:
		m.process(ev.ID, (*proc).greeted)
	case SaidReady:
		m.process(ev.ID, (*proc).saidReady)
	case Ponged:
		m.process(ev.ID, func(p *proc) { p.ponged(ev.Beat) })
	case SaidAlive:
		m.process(ev.ID, (*proc).saidAlive)
	case WatchedBy:
		m.process(ev.ID, func(p *proc) { p.watchedBy(ev.Every) })
	case SaidStopping:
		m.process(ev.ID, (*proc).saidStopping)
	case Extended:
		m.process(ev.ID, func(p *proc) { p.extend(ev.By) })
	case Due:
		m.process(ev.ID, func(p *proc) { p.recycle(ev.Why) })
	case HungUp:
		m.process(ev.ID, func(p *proc) { p.hungUp(ev) })
	}
}

// process finds the process that an event is of. That of a generation which is
// not there is late and changes nothing.
func (m *Machine) process(id ID, act func(*proc)) {
	s := m.slots[id.Slot]
	if s == nil {
		return
	}
	for _, p := range s.procs() {
		if p != nil && p.id.Generation == id.Generation {
			m.touch(s)
			act(p)
			return
		}
	}
}

// follow does what the step has made possible. Pools are released last: the
// rest can make a pool up, and a release can't.
func (m *Machine) follow() {
	gone := false
	for _, p := range m.inOrder {
		p.roll()
		if p.shrinking {
			p.shrink()
			gone = gone || m.pools[p.name] != p
		}
	}
	if gone {
		m.inOrder = slices.DeleteFunc(m.inOrder, func(p *pool) bool { return m.pools[p.name] != p })
	}
	for _, p := range m.inOrder {
		if p.held {
			p.release()
		}
	}
	if m.stopping {
		m.stopNext()
		m.finish()
	}
}

func (m *Machine) touch(s *slot) {
	if !s.dirty {
		s.dirty = true
		m.dirty = append(m.dirty, s)
	}
}

func (m *Machine) emit(e Effect) { m.effects = append(m.effects, e) }

func (m *Machine) announce(s *slot, generation uint64, kind Kind, format string, args ...any) {
	m.emit(Announce{s.id, generation, kind, fmt.Sprintf(format, args...)})
}

// tick fires every timer that is due. A slot whose timer fires and arms
// another that is due too waits for the next Tick, so a step always ends.
func (m *Machine) tick() {
	var due []*slot
	for len(m.timers) > 0 && !m.timers[0].timerAt.After(m.now) {
		s := m.timers[0]
		m.timers.set(s, time.Time{})
		due = append(due, s)
	}
	for _, s := range due {
		m.touch(s)
		s.fire()
	}
}

// Next is when the earliest timer is due; zero: none is armed.
func (m *Machine) Next() time.Time {
	if len(m.timers) == 0 {
		return time.Time{}
	}
	return m.timers[0].timerAt
}

// Dirty calls f for every slot that the last Step touched.
func (m *Machine) Dirty(f func(View)) {
	for _, s := range m.dirty {
		f(s.view())
	}
}

// Version is that of the configuration of a pool that is there.
func (m *Machine) Version(pool string) uint64 { return m.pools[pool].version }

// Views calls f for every slot, as configured.
func (m *Machine) Views(f func(View)) {
	for _, s := range m.order {
		f(s.view())
	}
}

// backoff is how long to wait before a restart, after so many failures in a
// row. The first waits for nothing, the second for the shortest, every further
// one twice as long up to the longest, each ±25 %.
func (m *Machine) backoff(p *Policy, failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	d := p.BackoffMin
	for i := 2; i < failures && d < p.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, p.BackoffMax)
	return time.Duration(float64(d) * (0.75 + 0.5*m.chance()))
}

// timers is a heap of slots by the time they next want to be looked at.
type timers []*slot

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].timerAt.Before(t[j].timerAt) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heapIndex, t[j].heapIndex = i, j
}
func (t *timers) Push(x any) {
	s := x.(*slot)
	s.heapIndex = len(*t)
	*t = append(*t, s)
}
func (t *timers) Pop() any {
	last := len(*t) - 1
	s := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	s.heapIndex = -1
	return s
}

// set moves s to at; zero takes it out.
func (t *timers) set(s *slot, at time.Time) {
	s.timerAt = at
	switch {
	case at.IsZero() && s.heapIndex >= 0:
		heap.Remove(t, s.heapIndex)
	case at.IsZero():
	case s.heapIndex >= 0:
		heap.Fix(t, s.heapIndex)
	default:
		heap.Push(t, s)
	}
}
