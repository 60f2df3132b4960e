package lifecycle

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A machine that is put down, and taken up again by another program. Nothing is
// decided by either.

// Kept is a machine put down. All of it can be written as JSON.
type Kept struct {
	Pools       []KeptPool // as configured
	Generations []ID       // the last ones of the slots that are gone
}

// KeptPool is one pool.
type KeptPool struct {
	Name    string
	Version uint64
	After   []string
	Held    bool
	Arrival Moment // of its bucket
	Slots   []KeptSlot
}

// KeptSlot is one slot, by number.
type KeptSlot struct {
	Version    uint64
	Want       Want
	Waits      bool
	State      State
	Since      Moment
	Reason     string
	Generation uint64
	RetryAt    Moment
	Failures   int
	Recent     []Moment
	Restarts   int
	LastExit   *Exit
	Died       string
	Taken      bool
	RecycleNot Moment
	Process    *KeptProcess // nil: none runs
}

// KeptProcess is a process that runs.
type KeptProcess struct {
	Generation, Version uint64
	PID                 int
	Phase               uint8
	Spawned, ReadyAt    Moment
	Awaited             Moment // since when it has its time to become ready
	Hello, Ready        bool
	Due                 string
	Spared              bool

	Deadline, Alive, Age           Moment
	Ping, PongBy, WatchBy, Pinged  Moment
	Missed                         int
	Late, Hung                     bool
	Every                          *time.Duration
	Asked, Fault, Replaced, AtOnce bool
	Why                            string
	KillAt                         Moment
}

// Moment is a time, as far from the one at which a machine was put down: what the
// clock on the wall says may change until it is taken up again.
type Moment struct {
	Set bool // false: no time at all
	In  time.Duration
}

func momentOf(t, now time.Time) Moment {
	if t.IsZero() {
		return Moment{}
	}
	return Moment{true, t.Sub(now)}
}

func (o Moment) from(now time.Time) time.Time {
	if !o.Set {
		return time.Time{}
	}
	return now.Add(o.In)
}

// ErrStarting is in the chain of the error of UnderWay when it is the start of a
// process.
var ErrStarting = errors.New("it is being started")

// UnderWay says what is under way that can't be put down: an order, a rollout, the
// start of a process, a shutdown. nil: nothing is.
func (m *Machine) UnderWay() error {
	if m.stopping {
		return errors.New("the supervisor is shutting down")
	}
	for _, p := range m.inOrder {
		if err := p.underWay(); err != nil {
			return err
		}
	}
	if len(m.ops) > 0 {
		return errors.New("an order is being carried out")
	}
	return nil
}

func (p *pool) underWay() error {
	switch {
	case p.leaving:
		return fmt.Errorf("pool %s is being removed", p.name)
	case p.shrinking:
		return fmt.Errorf("pool %s is being scaled down", p.name)
	case len(p.rollouts) > 0:
		return fmt.Errorf("pool %s is being rolled", p.name)
	}
	for _, s := range p.slots {
		switch {
		case s.next != nil || s.old != nil:
			return fmt.Errorf("%v has two processes", s.id)
		case s.proc != nil && s.proc.phase == ordered:
			return fmt.Errorf("%v: %w", s.proc.id, ErrStarting)
		}
	}
	return nil
}

// Keep puts the machine down as it is at now. It goes on all the same. The error
// is that of UnderWay.
func (m *Machine) Keep(now time.Time) (Kept, error) {
	if err := m.UnderWay(); err != nil {
		return Kept{}, err
	}
	var k Kept
	for _, p := range m.inOrder {
		k.Pools = append(k.Pools, p.keep(now))
	}
	for id, g := range m.generations {
		k.Generations = append(k.Generations, ID{id, g})
	}
	return k, nil
}

func (p *pool) keep(now time.Time) KeptPool {
	k := KeptPool{Name: p.name, Version: p.version, After: p.after, Held: p.held, Arrival: momentOf(p.arrival, now)}
	for _, s := range p.slots {
		k.Slots = append(k.Slots, s.keep(now))
	}
	return k
}

func (s *slot) keep(now time.Time) KeptSlot {
	k := KeptSlot{
		Version: s.version, Want: s.want, Waits: s.waits, State: s.state, Since: momentOf(s.since, now), Reason: s.reason,
		Generation: s.generation, RetryAt: momentOf(s.retryAt, now), Failures: s.failures, Restarts: s.restarts,
		LastExit: s.lastExit, Died: s.died, Taken: s.taken, RecycleNot: momentOf(s.recycleNot, now),
	}
	for _, t := range s.recent {
		k.Recent = append(k.Recent, momentOf(t, now))
	}
	if s.queued { // it asks for a token anew
		k.RetryAt, k.Reason = momentOf(now, now), strings.TrimSuffix(s.reason, crowded)
	}
	if s.proc != nil {
		k.Process = s.proc.keep(now)
	}
	return k
}

func (p *proc) keep(now time.Time) *KeptProcess {
	k := &KeptProcess{
		Generation: p.id.Generation, Version: p.version, PID: p.pid, Phase: uint8(p.phase),
		Spawned: momentOf(p.spawnedAt, now), ReadyAt: momentOf(p.readyAt, now), Awaited: momentOf(p.awaited, now), Hello: p.hello, Ready: p.ready, Due: p.due, Spared: p.spared,
		Deadline: momentOf(p.deadline, now), Alive: momentOf(p.aliveAt, now), Age: momentOf(p.ageAt, now),
		Ping: momentOf(p.pingAt, now), PongBy: momentOf(p.pongBy, now), WatchBy: momentOf(p.watchBy, now), Pinged: momentOf(p.pingedAt, now),
		Missed: p.missed, Late: p.late, Hung: p.hung, Every: p.every,
		Asked: p.asked, Fault: p.fault, Replaced: p.replaced, AtOnce: p.atOnce, Why: p.why, KillAt: momentOf(p.killAt, now),
	}
	if p.due != "" && !p.ageAt.After(now) { // it asks to be recycled anew
		k.Age = Moment{}
	}
	return k
}

// TakeUp makes the machine that was put down, at the time now. policyOf is the
// policy of a version of a pool; nil: there is none, which is an error.
func TakeUp(k Kept, policyOf func(pool string, version uint64) *Policy, chance func() float64, now time.Time) (*Machine, error) {
	m := New(chance)
	m.now = now
	for _, id := range k.Generations {
		m.generations[id.Slot] = id.Generation
	}
	for _, kept := range k.Pools {
		if m.pools[kept.Name] != nil {
			return nil, fmt.Errorf("there are two pools %s", kept.Name)
		}
		policy := policyOf(kept.Name, kept.Version)
		if policy == nil {
			return nil, fmt.Errorf("there is no version %d of pool %s", kept.Version, kept.Name)
		}
		p := m.poolOf(kept.Name, policy)
		p.version, p.after, p.held, p.arrival = kept.Version, kept.After, kept.Held, kept.Arrival.from(now)
		for i, s := range kept.Slots {
			if err := m.addSlot(p, i+1).takeUp(s, policyOf); err != nil {
				return nil, err
			}
		}
	}
	for _, s := range m.order {
		if s.proc != nil {
			s.proc.queue()
		}
		m.timers.set(s, s.nextTimer())
	}
	return m, nil
}

func (s *slot) takeUp(k KeptSlot, policyOf func(pool string, version uint64) *Policy) error {
	now := s.m.now
	s.version, s.policy = k.Version, policyOf(s.id.Pool, k.Version)
	if s.policy == nil {
		return fmt.Errorf("there is no version %d of pool %s, which %v has", k.Version, s.id.Pool, s.id)
	}
	s.want, s.waits, s.state, s.since, s.reason = k.Want, k.Waits, k.State, k.Since.from(now), k.Reason
	s.generation, s.retryAt, s.failures, s.restarts = k.Generation, k.RetryAt.from(now), k.Failures, k.Restarts
	s.lastExit, s.died, s.taken, s.recycleNot = k.LastExit, k.Died, k.Taken, k.RecycleNot.from(now)
	for _, t := range k.Recent {
		s.recent = append(s.recent, t.from(now))
	}
	q := k.Process
	if q == nil {
		return nil
	}
	if q.Phase <= uint8(ordered) || q.Phase > uint8(killing) || q.Generation == 0 || q.Generation > k.Generation {
		return fmt.Errorf("%v has a process of generation %d in phase %d", s.id, q.Generation, q.Phase)
	}
	policy := policyOf(s.id.Pool, q.Version)
	if policy == nil {
		return fmt.Errorf("there is no version %d of pool %s, which a process has", q.Version, s.id.Pool)
	}
	s.pool.live++
	s.proc = &proc{
		slot: s, id: ID{s.id, q.Generation}, policy: policy, version: q.Version, phase: phase(q.Phase), pid: q.PID,
		spawnedAt: q.Spawned.from(now), readyAt: q.ReadyAt.from(now), awaited: q.Awaited.from(now), hello: q.Hello, ready: q.Ready, due: q.Due, spared: q.Spared,
		deadline: q.Deadline.from(now), aliveAt: q.Alive.from(now), ageAt: q.Age.from(now),
		watch: watch{
			pingAt: q.Ping.from(now), pongBy: q.PongBy.from(now), watchBy: q.WatchBy.from(now), pingedAt: q.Pinged.from(now),
			missed: q.Missed, late: q.Late, hung: q.Hung, every: q.Every,
		},
		asked: q.Asked, fault: q.Fault, replaced: q.Replaced, atOnce: q.AtOnce, why: q.Why, killAt: q.KillAt.from(now),
	}
	return nil
}
