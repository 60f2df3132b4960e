package lifecycle

import (
	"fmt"
	"slices"
	"time"
)

// slot is a place in a pool and what is known of it.
type slot struct {
	m      *Machine
	id     Slot
	policy *Policy

	want   Want
	state  State // changed by become alone
	since  time.Time
	reason string

	generation uint64 // last one given out
	proc       *proc  // nil: there is no process and none is ordered

	retryAt  time.Time   // armed in Backoff alone
	failures int         // exits in a row that nobody asked for, since the last stable run
	recent   []time.Time // restarts within the budget's window
	restarts int
	lastExit *Exit

	waiters []waiter // orders that wait for this slot

	timerAt   time.Time
	heapIndex int  // in Machine.timers; -1: not in it
	dirty     bool // it is in Machine.dirty
}

// become is the only way into another state.
func (s *slot) become(to State, reason string) {
	s.m.touch(s)
	s.reason = reason
	if s.state != to || to == Starting { // the next process is news, whatever the one before came to
		s.state, s.since = to, s.m.now
		text := string(to)
		if reason != "" {
			text += ": " + reason
		}
		s.m.announce(s, s.generation, KindState, "%s", text)
	}
	s.settle()
}

// spawn orders the next generation.
func (s *slot) spawn(reason string) {
	s.generation++
	s.retryAt = time.Time{}
	s.proc = &proc{slot: s, id: ID{s.id, s.generation}, phase: ordered, orderedAt: s.m.now}
	s.m.emit(Spawn{s.proc.id})
	s.become(Starting, reason)
}

// setUp is a start by hand: it forgives what was.
func (s *slot) setUp() {
	s.want = Up
	s.failures, s.recent = 0, nil
	const why = "started by hand"
	switch p := s.proc; {
	case p == nil:
		s.spawn(why)
	case p.asked: // it goes on going, and the next comes after it
		p.replaced, p.why = true, why
	}
}

// setDown makes the slot empty and keeps it so.
func (s *slot) setDown(why string) {
	s.want = Down
	s.retryAt = time.Time{}
	if s.proc != nil {
		s.proc.stop(why)
		return
	}
	s.become(Stopped, why)
}

// replace stops the process, if there is one, and starts the next.
func (s *slot) replace(why string) {
	s.want = Up
	s.failures, s.recent = 0, nil
	if s.proc == nil {
		s.spawn(why)
		return
	}
	s.proc.stop(why)
}

// vacated decides what follows when the slot's process is gone.
func (s *slot) vacated(p *proc, e Exit) {
	switch {
	case s.want == Down:
		s.become(Stopped, p.why)
		return
	case p.replaced:
		s.spawn(p.why)
		return
	}
	failed := e.Failure() || p.fault
	why := e.String()
	if p.why != "" {
		why = p.why + ", " + why
	}
	if p.ready && s.m.now.Sub(p.readyAt) >= s.policy.Stable {
		s.failures = 0
	}
	switch {
	case slices.Contains(s.policy.GiveUp, e.Code):
		s.become(Failed, why+", which means not to try again")
	case s.policy.Never && failed:
		s.become(Failed, why)
	case s.policy.Never, s.policy.OnFailureOnly && !failed:
		s.become(Done, why)
	case !s.spend():
		s.become(Failed, s.overspent(why))
	default:
		s.retry(why)
	}
}

// spend takes one restart from the budget and reports whether there was one.
func (s *slot) spend() bool {
	p := s.policy
	if p.Budget < 0 {
		return true
	}
	begin := s.m.now.Add(-p.Window)
	s.recent = slices.DeleteFunc(s.recent, func(t time.Time) bool { return !t.After(begin) })
	if len(s.recent) >= p.Budget {
		return false
	}
	s.recent = append(s.recent, s.m.now)
	return true
}

func (s *slot) overspent(why string) string {
	return fmt.Sprintf("%s; %d restarts within %v are used up", why, s.policy.Budget, s.policy.Window)
}

func (s *slot) retry(why string) {
	s.failures++
	s.restarts++
	wait := s.m.backoff(s.policy, s.failures)
	if wait == 0 {
		s.spawn("restarted after " + why)
		return
	}
	s.retryAt = s.m.now.Add(wait)
	s.become(Backoff, why)
}

// nextTimer is the earliest of the slot's timers; zero: none.
func (s *slot) nextTimer() time.Time {
	next := s.retryAt
	if s.proc != nil {
		for _, t := range [...]time.Time{s.proc.deadline, s.proc.aliveAt, s.proc.pingAt, s.proc.pongBy} {
			next = earlier(next, t)
		}
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// due reports whether the timer t has come, and disarms it.
func (s *slot) due(t *time.Time) bool {
	if t.IsZero() || t.After(s.m.now) {
		return false
	}
	*t = time.Time{}
	return true
}

// fire acts on the timers that are due.
func (s *slot) fire() {
	if s.due(&s.retryAt) {
		s.spawn("restarted after " + s.reason)
	}
	if p := s.proc; p != nil {
		p.fire()
	}
}

func (s *slot) view() View {
	v := View{
		Slot: s.id, State: s.state, Want: s.want, Since: s.since, Reason: s.reason,
		Generation: s.generation, Restarts: s.restarts, RetryAt: s.retryAt, LastExit: s.lastExit,
	}
	if p := s.proc; p != nil {
		v.PID, v.Spawned, v.Greeted, v.Suspect, v.Hung = p.pid, p.spawnedAt, p.hello, p.missed > 0, p.hung
	}
	return v
}
