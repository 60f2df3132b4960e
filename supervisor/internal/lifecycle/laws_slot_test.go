package lifecycle

import (
	"slices"
	"time"
)

// checkBooks: state, want and process say the same.
func (w *world) checkBooks(tr *track) {
	s := tr.slot
	p := s.proc
	if s.want != tr.want {
		w.fail("want: %v is wanted %v, the operator's word was %v", s.id, s.want, tr.want)
	}
	if (p == nil) != (tr.live == nil) || s.generation != tr.generation {
		w.fail("process: %v has process %+v, generation %d; there is %+v", s.id, p, s.generation, tr.live)
		return
	}
	if p == nil {
		want := []State{Backoff, Failed, Done}
		if s.want == Down {
			want = []State{Stopped}
		}
		if !slices.Contains(want, s.state) {
			w.fail("state: %v, wanted %v, is %v without a process", s.id, s.want, s.state)
		}
		return
	}
	want := Stopping
	switch {
	case p.asked:
	case p.phase == serving:
		want = Ready
	case p.phase == ordered || p.phase == booting:
		want = Starting
	}
	v := s.view()
	switch {
	case s.state != want:
		w.fail("state: %v is %v, phase %d, asked %v", p.id, s.state, p.phase, p.asked)
	case s.want == Down && s.state != Stopping:
		w.fail("state: %v is %v and wanted down", p.id, s.state)
	case p.phase == ordered && tr.live.running, p.phase != ordered && !tr.live.running:
		w.fail("process: %v, phase %d, runs: %v", p.id, p.phase, tr.live.running)
	case tr.live.running && v.PID != tr.live.pid || !tr.live.running && v.PID != 0:
		w.fail("process: %v has pid %d, status says %d", p.id, tr.live.pid, v.PID)
	}
}

// checkTimers: whatever is waited for has a deadline, and the heap knows it.
func (w *world) checkTimers(tr *track) {
	s := tr.slot
	p := s.proc
	armed := func(t time.Time) bool { return !t.IsZero() }
	switch {
	case (s.state == Backoff) != armed(s.retryAt):
		w.fail("timers: %v is %v, next try %v", s.id, s.state, s.retryAt)
	case p == nil, p.phase == ordered:
	case p.phase == serving && (armed(p.deadline) || armed(p.aliveAt)):
		w.fail("timers: %v is ready and has a deadline", p.id)
	case p.phase == serving && p.hello && s.policy.Ping >= 0 && !armed(p.pingAt) && !armed(p.pongBy):
		w.fail("timers: %v is never pinged again", p.id)
	case p.phase != serving && !armed(p.deadline):
		w.fail("timers: %v is in phase %d without a deadline", p.id, p.phase)
	case p.phase > serving && (armed(p.pingAt) || armed(p.pongBy) || armed(p.aliveAt)):
		w.fail("timers: %v is stopping and still watched", p.id)
	}
	if !s.timerAt.Equal(s.nextTimer()) {
		w.fail("timers: %v is looked at %v, and should be at %v", s.id, s.timerAt, s.nextTimer())
	}
	if in := s.heapIndex >= 0; in == s.timerAt.IsZero() || in && w.m.timers[s.heapIndex] != s {
		w.fail("timers: %v is not where the heap has it", s.id)
	}
}

// checkDeadlines: no phase outlasts its time.
func (w *world) checkDeadlines(tr *track) {
	s, f := tr.slot, tr.live
	if f == nil || !f.running {
		return
	}
	switch s.state {
	case Starting:
		if w.now.Sub(f.starting) >= s.policy.Boot {
			w.fail("boot: %v is starting since %v", f.id, w.now.Sub(f.starting))
		}
	case Stopping:
		if f.began.IsZero() {
			f.began = w.now
		}
		if w.now.Sub(f.began) >= s.policy.StopTimeout && !f.killed {
			w.fail("stop: %v is stopping since %v and was not killed", f.id, w.now.Sub(f.began))
		}
	}
}

// checkBudget: restarts that nobody asked for stay within it.
func (w *world) checkBudget(tr *track) {
	s := tr.slot
	switch {
	case s.restarts == tr.seen:
		return
	case s.restarts != tr.seen+1:
		w.fail("budget: %v had %d restarts in one step", s.id, s.restarts-tr.seen)
	}
	tr.seen = s.restarts
	begin := w.now.Add(-s.policy.Window)
	tr.restarts = slices.DeleteFunc(append(tr.restarts, w.now), func(t time.Time) bool { return !t.After(begin) })
	if s.policy.Budget >= 0 && len(tr.restarts) > s.policy.Budget {
		w.fail("budget: %v had %d restarts within %v, %d are allowed", s.id, len(tr.restarts), s.policy.Window, s.policy.Budget)
	}
}
