package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// slot is a place in a pool and what is known of it.
type slot struct {
	m       *Machine
	id      Slot
	pool    *pool
	policy  *Policy // of the version
	version uint64  // of what is spawned here next

	want    Want
	leaving bool  // it is gone once it is stopped
	waits   bool  // wanted up, once its pool is not held any more; nothing is spawned before
	state   State // of proc; changed by become alone
	since   time.Time
	reason  string

	generation uint64 // last one given out
	proc       *proc  // the one that counts; nil: there is none and none is ordered
	next       *proc  // started beside it to take its place
	old        *proc  // it has lost its place and is being stopped

	retryAt  time.Time   // of the next try, in Backoff alone; if queued, about then
	queued   bool        // in the row for a token of the pool's bucket
	failures int         // exits in a row that nobody asked for, since the last stable run
	recent   []time.Time // restarts within the budget's window
	restarts int
	lastExit *Exit
	died     string // how the last process ended, and why

	waiters []waiter // orders that wait for this slot

	taken      bool      // a rollout has taken its ready process away, and what comes of it is not known yet
	recycleNot time.Time // before then it is not recycled

	timerAt   time.Time
	heapIndex int // in Machine.timers; -1: not in it
	dirty     bool
}

// procs are the slot's processes, the one that counts first; nil: none. next
// and old are never there at once.
func (s *slot) procs() [3]*proc { return [...]*proc{s.proc, s.next, s.old} }

func (s *slot) occupied() bool { return s.proc != nil || s.next != nil || s.old != nil }

// idle: nothing runs and nothing is meant to, for the time being.
func (s *slot) idle() bool {
	return s.want == Down || s.waits || s.proc == nil && (s.state == Stopped || s.state == Done)
}

// shown is the generation that counts: of the process, or of the last.
func (s *slot) shown() uint64 {
	if s.proc != nil {
		return s.proc.id.Generation
	}
	return s.generation
}

// become is the only way into another state.
func (s *slot) become(to State, reason string) {
	s.m.touch(s)
	s.reason = reason
	s.taken = s.taken && (to == Starting || to == Stopping)
	if s.state != to || to == Starting { // the next process is news, whatever the one before came to
		s.state, s.since = to, s.m.now
		text := string(to)
		if reason != "" {
			text += ": " + reason
		}
		s.m.announce(s, s.shown(), KindState, "%s", text)
	}
	s.settle()
}

// generate orders the next generation.
func (s *slot) generate() *proc {
	s.generation++
	p := &proc{slot: s, id: ID{s.id, s.generation}, policy: s.policy, version: s.version, phase: ordered}
	s.pool.live++
	s.m.emit(Spawn{p.id, s.version})
	return p
}

// spawn fills the empty slot.
func (s *slot) spawn(reason string) {
	s.cancelRetry()
	s.proc = s.generate()
	s.become(Starting, reason)
}

// spawnBeside starts the process that is to take the place of the one there.
func (s *slot) spawnBeside(why string) {
	s.next = s.generate()
	s.m.announce(s, s.generation, KindBeside, "started beside #%d: %s", s.proc.id.Generation, why)
}

// swap gives next the place.
func (s *slot) swap() {
	p := s.proc
	s.proc, s.next, s.old = s.next, nil, p
	why := "takes the place of one that has ended"
	if p != nil {
		why = fmt.Sprintf("takes the place of #%d", p.id.Generation)
	}
	s.m.announce(s, s.proc.id.Generation, KindSwap, "%s", why)
	if s.proc.phase == serving {
		s.become(Ready, "")
	} else {
		s.become(Starting, "it "+why)
	}
	s.proc.queue()
	if p != nil {
		p.stop(fmt.Sprintf("replaced by #%d", s.proc.id.Generation))
	}
}

// forgive forgets what was, as somebody wants a new process.
func (s *slot) forgive() { s.failures, s.recent = 0, nil }

// setUp is a start on somebody's word.
func (s *slot) setUp(why string) {
	s.want, s.waits = Up, false
	s.forgive()
	switch p := s.proc; {
	case p == nil:
		s.spawn(why)
	case p.asked: // it goes on going, and the next comes after it
		p.replaced, p.why = true, why
	}
}

// setDown makes the slot empty and keeps it so.
func (s *slot) setDown(why string) {
	s.want, s.waits, s.taken = Down, false, false
	s.cancelRetry()
	for _, p := range s.procs() {
		if p != nil {
			p.stop(why)
		}
	}
	if s.proc == nil && s.occupied() {
		s.become(Stopping, why)
	}
	s.vacant(why)
}

// replace stops the process, if there is one, and starts the next.
func (s *slot) replace(why string) {
	s.want, s.waits = Up, false
	if s.proc == nil {
		s.spawn(why)
		return
	}
	s.proc.stop(why)
}

// vacant makes an empty slot stopped in which nothing is to be spawned now.
func (s *slot) vacant(why string) {
	switch {
	case s.occupied():
	case s.want == Down:
		s.become(Stopped, why)
	case s.waits:
		s.become(Stopped, s.pool.waiting())
	}
}

// vacated decides what follows when the process that counts is gone. why says
// how it went.
func (s *slot) vacated(p *proc, e Exit, why string) {
	switch {
	case s.want == Down:
		s.vacant(p.why)
		return
	case s.m.stopping: // nothing is started any more
		s.setDown("shutdown")
		return
	case s.waits:
		s.vacant("")
		return
	case s.next != nil && !s.next.asked:
		s.swap()
		return
	case p.replaced: // somebody asked for the exit and for a new process
		s.spawn(p.why)
		return
	}
	failed := e.Failure() || p.fault
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

// retry waits for the slot's own backoff, then for the pool's bucket.
func (s *slot) retry(why string) {
	s.failures++
	s.restarts++
	if wait := s.m.backoff(s.policy, s.failures); wait > 0 {
		s.retryAt = s.m.now.Add(wait)
		s.become(Backoff, why)
		return
	}
	s.restart(why)
}

// crowded is why a slot waits for a token.
const crowded = "; the whole pool restarts too often"

// restart spawns if the pool's bucket has a token, else waits for one.
func (s *slot) restart(why string) {
	if s.pool.admit(s) {
		s.spawn("restarted after " + why)
		return
	}
	s.become(Backoff, why+crowded)
}

// fireRetry restarts when it is time.
func (s *slot) fireRetry() {
	switch {
	case s.tokenDue():
		s.pool.take()
		s.spawn("restarted after " + strings.TrimSuffix(s.reason, crowded))
	case !s.queued && s.due(&s.retryAt):
		s.restart(s.reason)
	}
}

func (s *slot) cancelRetry() {
	s.retryAt = time.Time{}
	s.leaveRow()
}

// nextTimer is the earliest of the slot's timers; zero: none.
func (s *slot) nextTimer() time.Time {
	next := s.retryTimer()
	for _, p := range s.procs() {
		if p != nil {
			next = earlier(next, p.nextTimer())
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
	s.fireRetry()
	for _, p := range s.procs() {
		if p != nil {
			p.fire()
		}
	}
}

func (s *slot) view() View {
	v := View{
		Slot: s.id, State: s.state, Want: s.want, Leaving: s.leaving, Since: s.since, Reason: s.reason,
		Generation: s.shown(), Restarts: s.restarts, RetryAt: s.retryAt, LastExit: s.lastExit,
	}
	if p := s.proc; p != nil {
		v.PID, v.Spawned, v.Greeted, v.Suspect, v.Hung, v.Version = p.pid, p.spawnedAt, p.hello, p.suspect(), p.hung, p.version
	}
	if s.next != nil {
		v.Next = s.next.id.Generation
	}
	if s.old != nil {
		v.Old = s.old.id.Generation
	}
	return v
}
