package lifecycle

import "time"

// bucket keeps the rate at which a pool restarts workers unasked, whatever
// number of them dies: the generic cell rate algorithm. A token is taken when a
// process is started and not before, so the rate holds over any time, however
// late a tick comes. Slots that wait are given times one after the other.
type bucket struct {
	arrival time.Time // theoretical, of the next start
	queued  int       // slots that have been given a time
}

// admit takes a token for a restart of s, or says how long to wait before it is
// asked for again; 0: it was taken.
func (p *pool) admit(s *slot) time.Duration {
	every, now := p.policy.RestartEvery, p.m.now
	if every <= 0 {
		s.yield()
		return 0
	}
	if p.arrival.Before(now) {
		p.arrival = now
	}
	wait := p.arrival.Sub(now) - time.Duration(max(p.policy.RestartBurst, 1)-1)*every
	behind := time.Duration(p.queued) * every
	if s.queued { // its turn is now, those after it have theirs
		s.yield()
		behind = 0
	}
	if wait+behind <= 0 {
		p.arrival = p.arrival.Add(every)
		return 0
	}
	wait += time.Duration(p.queued) * every
	p.queued++
	s.queued = true
	return wait
}

// yield gives up the place among those that wait for a token.
func (s *slot) yield() {
	if s.queued {
		s.queued = false
		s.pool.queued--
	}
}
