package lifecycle

import (
	"container/heap"
	"fmt"
	"time"
)

// Machine holds every slot. It has one owner; nothing in it is locked.
type Machine struct {
	slots    map[Slot]*slot
	order    []*slot // as configured
	timers   timers
	chance   func() float64 // [0, 1)
	stopping bool           // a Shutdown has come
	finished bool
	rollouts []*rollout // in the order asked for; of a pool only the first moves
	ops      map[uint64]*op

	// Of the step at hand.
	now     time.Time
	effects []Effect
	dirty   []*slot // touched, each once, in that order
}

// New makes a machine whose chance is drawn from chance, in [0, 1).
func New(chance func() float64) *Machine {
	return &Machine{slots: map[Slot]*slot{}, chance: chance, ops: map[uint64]*op{}}
}

// Add makes a slot that is wanted up. Boot starts it.
func (m *Machine) Add(id Slot, p *Policy, now time.Time) {
	s := &slot{m: m, id: id, policy: p, want: Up, state: Stopped, since: now, reason: "not started yet", heapIndex: -1}
	m.slots[id] = s
	m.order = append(m.order, s)
}

// Step takes one event and returns what is to be done about it, in order. The
// slice is valid until the next Step.
func (m *Machine) Step(now time.Time, ev Event) []Effect {
	m.now = now
	m.effects = m.effects[:0]
	for _, s := range m.dirty {
		s.dirty = false
	}
	m.dirty = m.dirty[:0]
	switch ev := ev.(type) {
	case Boot:
		for _, s := range m.order {
			if s.want == Up && s.proc == nil {
				s.spawn("")
			}
		}
	case Tick:
		m.tick()
	case Order:
		m.take(ev)
	case Shutdown:
		m.shutdown(ev.Now)
	case Spawned:
		m.process(ev.ID, func(p *proc) { p.spawned(ev.PID) })
	case SpawnFailed:
		m.process(ev.ID, func(p *proc) { p.ended(Exit{Code: -1, Err: ev.Err}) })
	case Exited:
		m.process(ev.ID, func(p *proc) { p.ended(Exit{Code: ev.Code, Signal: ev.Signal, Core: ev.Core}) })
	case Greeted:
		m.process(ev.ID, (*proc).greeted)
	case SaidReady:
		m.process(ev.ID, (*proc).saidReady)
	case Ponged:
		m.process(ev.ID, (*proc).ponged)
	case HungUp:
		m.process(ev.ID, func(p *proc) { p.hungUp(ev) })
	}
	m.roll()
	m.finish()
	for _, s := range m.dirty {
		m.timers.set(s, s.nextTimer())
	}
	return m.effects
}

// process passes an event to the process it is of. That of any other
// generation is late and changes nothing.
func (m *Machine) process(id ID, act func(*proc)) {
	s := m.slots[id.Slot]
	if s == nil || s.proc == nil || s.proc.id.Generation != id.Generation {
		return
	}
	m.touch(s)
	act(s.proc)
}

func (m *Machine) touch(s *slot) {
	if !s.dirty {
		s.dirty = true
		m.dirty = append(m.dirty, s)
	}
}

func (m *Machine) emit(e Effect) { m.effects = append(m.effects, e) }

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

// Views calls f for every slot, as configured.
func (m *Machine) Views(f func(View)) {
	for _, s := range m.order {
		f(s.view())
	}
}

// shutdown wants everything down. The first starts the stops, a later one with
// now kills.
func (m *Machine) shutdown(now bool) {
	m.stopping = true
	for _, s := range m.order {
		m.touch(s)
		s.setDown("shutdown")
		if now && s.proc != nil {
			s.proc.kill("shutdown at once")
		}
	}
}

// finish announces, once, that a Shutdown is over.
func (m *Machine) finish() {
	if !m.stopping || m.finished {
		return
	}
	for _, s := range m.order {
		if s.proc != nil {
			return
		}
	}
	m.finished = true
	m.emit(Finished{})
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

func (m *Machine) announce(s *slot, generation uint64, kind Kind, format string, args ...any) {
	m.emit(Announce{s.id, generation, kind, fmt.Sprintf(format, args...)})
}
