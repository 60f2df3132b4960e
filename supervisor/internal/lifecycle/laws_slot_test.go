package lifecycle

import (
	"slices"
	"strings"
	"time"
)

// The laws for each slot and for all of it, after a step.

// check holds everything to the laws.
func (w *world) check(ev Event) {
	if w.broken != "" {
		return
	}
	past := w.next()
	current := past.IsZero() || past.After(w.now) // nothing that is due has been left undone
	first, waiting := time.Time{}, 0
	for _, tr := range w.tracks {
		w.checkBooks(tr)
		w.checkProcesses(tr)
		w.checkTimers(tr)
		if current {
			w.checkDeadlines(tr)
		}
		w.checkBudget(tr)
		if v := tr.slot.view(); v != tr.view {
			if !tr.slot.dirty {
				w.fail("view: %+v was %+v, and nobody is told", v, tr.view)
			}
			tr.view = v
		}
		first = earlier(first, tr.slot.timerAt)
		waiting += len(tr.slot.waiters)
	}
	w.checkPools(ev)
	left, rolling := 0, 0
	for _, p := range w.m.pools {
		for _, r := range p.rollouts {
			if r.aim == changing {
				rolling++
			}
		}
	}
	for _, o := range w.m.ops {
		left += o.left
	}
	switch {
	case !first.Equal(w.m.Next()):
		w.fail("timers: the next is at %v, the heap says %v", first, w.m.Next())
	case left != waiting+rolling || len(w.m.ops) != len(w.open):
		w.fail("settled: %d open orders wait for %d slots and rollouts, of which %d and %d know", len(w.open), left, waiting, rolling)
	case len(w.tracks) != len(w.m.slots) || len(w.tracks) != len(w.m.order):
		w.fail("gone: there are %d slots, the machine has %d and %d", len(w.tracks), len(w.m.slots), len(w.m.order))
	}
	for _, tr := range w.tracks {
		tr.state, tr.counts, tr.policy = tr.slot.state, 0, tr.slot.policy
		if tr.slot.proc != nil {
			tr.counts = tr.slot.proc.id.Generation
		}
	}
}

// checkBooks: state, want and process say the same.
func (w *world) checkBooks(tr *track) {
	s := tr.slot
	p := s.proc
	if w.shut && s.want == Down {
		tr.want = Down
	}
	switch {
	case s.want != tr.want:
		w.fail("want: %v is wanted %v, the operator's word was %v", s.id, s.want, tr.want)
	case s.leaving != tr.leaving || s.leaving && s.want == Up:
		w.fail("gone: %v is leaving %v, wanted %v, it should be %v", s.id, s.leaving, s.want, tr.leaving)
	case s.leaving && !s.occupied() && slices.Index(s.pool.slots, s) == len(s.pool.slots)-1:
		w.fail("gone: %v is empty and not gone", s.id)
	case s.waits && (s.want == Down || s.state != Stopped && s.state != Stopping):
		w.fail("after: %v waits and is %v", s.id, s.state)
	}
	if p == nil {
		want := []State{Backoff, Failed, Done}
		switch {
		case s.occupied() && s.want == Down:
			want = []State{Stopping}
		case s.occupied():
			want = append(want, Stopping)
		case s.want == Down || s.waits:
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
	switch {
	case s.state != want:
		w.fail("state: %v is %v, phase %d, asked %v", p.id, s.state, p.phase, p.asked)
	case s.want == Down && s.state != Stopping:
		w.fail("state: %v is %v and wanted down", p.id, s.state)
	}
}

// checkProcesses: the machine has the processes that there are. Of two in a
// slot one goes, or is beside the other for a rollout that is under way.
func (w *world) checkProcesses(tr *track) {
	s, n := tr.slot, 0
	for _, p := range s.procs() {
		if p == nil {
			continue
		}
		n++
		f := w.process(p.id)
		switch {
		case f == nil:
			w.fail("process: %v is not there", p.id)
			return
		case p.phase == ordered && f.running, p.phase != ordered && !f.running:
			w.fail("process: %v, phase %d, runs: %v", p.id, p.phase, f.running)
		case f.running && p.pid != f.pid || !f.running && p.pid != 0:
			w.fail("process: %v has pid %d, status says %d", p.id, f.pid, p.pid)
		case p.version != f.version:
			w.fail("version: %v is of %d, the machine has %d", p.id, f.version, p.version)
		}
		w.notePhase(f, p)
	}
	switch {
	case n != len(tr.live) || s.generation != w.generations[tr.id]:
		w.fail("process: %v has %d processes, generation %d; there are %d", s.id, n, s.generation, len(tr.live))
	case s.old != nil && (s.next != nil || !s.old.asked):
		w.fail("two live: %v has %+v still", s.id, s.old)
	case s.next != nil && !s.next.asked && (s.proc == nil || !turning(s)):
		w.fail("two live: %v has %+v beside it, and no rollout wants it", s.id, s.next)
	}
}

// notePhase notes since when a process is ready, or on its way out.
func (w *world) notePhase(f *fake, p *proc) {
	switch {
	case p.phase == serving && f.readyAt.IsZero():
		f.readyAt, f.spared = w.now, false
		if !f.ripens {
			f.ripens, f.ripe = true, w.now.Add(time.Duration(float64(f.policy.Age)*(1-f.policy.Jitter))-time.Microsecond)
		}
	case p.phase < serving && !f.readyAt.IsZero():
		f.readyAt, f.spared = time.Time{}, false
	case p.phase > serving && f.began.IsZero():
		f.began, f.stopIn = w.now, f.policy.StopTimeout
		if strings.HasPrefix(p.why, "not ready within") && w.now.Before(f.bootBy) {
			w.fail("boot: %v is given up, and has %v left", f.id, f.bootBy.Sub(w.now))
		}
	}
}

// turning: a rollout under way has begun with s.
func turning(s *slot) bool {
	return len(s.pool.rollouts) > 0 && slices.ContainsFunc(s.pool.rollouts[0].turns, func(t *turn) bool { return t.slot == s })
}

// checkTimers: whatever is waited for has a deadline, and the heap knows it.
func (w *world) checkTimers(tr *track) {
	s := tr.slot
	armed := func(t time.Time) bool { return !t.IsZero() }
	switch i := slices.Index(s.pool.row, s); {
	case (s.state == Backoff) != armed(s.retryAt):
		w.fail("timers: %v is %v, next try %v", s.id, s.state, s.retryAt)
	case s.queued != (i >= 0) || s.queued && s.state != Backoff, i == 0 && !armed(s.timerAt):
		w.fail("timers: %v is %v, and %d in the row, queued %v", s.id, s.state, i, s.queued)
	}
	for _, p := range s.procs() {
		switch {
		case p == nil, p.phase == ordered:
		case p.phase == serving && (armed(p.deadline) || armed(p.aliveAt)):
			w.fail("timers: %v is ready and has a deadline", p.id)
		case p.phase == serving && p.hello && p.policy.Ping >= 0 && !armed(p.pingAt) && !armed(p.pongBy):
			w.fail("timers: %v is never pinged again", p.id)
		case p.phase == serving && p.policy.Watchdog && !armed(p.watchBy):
			w.fail("timers: %v is not watched", p.id)
		case p.phase == serving && p.policy.Age > 0 && !armed(p.ageAt) && p.due == "":
			w.fail("timers: %v never grows old", p.id)
		case p.phase == serving && p.due != "" && p.counts() && !armed(p.ageAt) && !slices.Contains(s.pool.dues, s) && !reached(s) && !w.shut:
			w.fail("recycle: %v is due, and forgotten", p.id)
		case p.phase != serving && !armed(p.deadline):
			w.fail("timers: %v is in phase %d without a deadline", p.id, p.phase)
		case p.phase > serving && (armed(p.pingAt) || armed(p.pongBy) || armed(p.aliveAt) || armed(p.ageAt) || armed(p.watchBy)):
			w.fail("timers: %v is stopping and still watched", p.id)
		}
	}
	if !s.timerAt.Equal(s.nextTimer()) {
		w.fail("timers: %v is looked at %v, and should be at %v", s.id, s.timerAt, s.nextTimer())
	}
	if in := s.heapIndex >= 0; in == s.timerAt.IsZero() || in && w.m.timers[s.heapIndex] != s {
		w.fail("timers: %v is not where the heap has it", s.id)
	}
}

// reached: a rollout has s before it or at hand.
func reached(s *slot) bool {
	return turning(s) || slices.ContainsFunc(s.pool.rollouts, func(r *rollout) bool { return slices.Contains(r.slots, s) })
}

// checkDeadlines: no phase outlasts its time.
func (w *world) checkDeadlines(tr *track) {
	for _, f := range tr.live {
		p := tr.inside(f)
		switch {
		case p == nil || !f.running:
		case p.phase == booting && !w.now.Before(f.bootBy):
			w.fail("boot: %v should be ready since %v", f.id, w.now.Sub(f.bootBy))
		case p.phase > serving:
			if w.now.Sub(f.began) >= f.stopIn && !f.killed {
				w.fail("stop: %v is stopping since %v and was not killed", f.id, w.now.Sub(f.began))
			}
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
	pol := tr.policy // the step may have brought another
	if pol.Budget < 0 {
		return
	}
	begin := w.now.Add(-pol.Window)
	tr.restarts = slices.DeleteFunc(append(tr.restarts, w.now), func(t time.Time) bool { return !t.After(begin) })
	if len(tr.restarts) > pol.Budget {
		w.fail("budget: %v had %d restarts within %v, %d are allowed", s.id, len(tr.restarts), pol.Window, pol.Budget)
	}
}
