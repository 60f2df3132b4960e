package lifecycle

import (
	"slices"
	"time"
)

// bucket keeps the rate at which a pool restarts workers unasked, whatever
// number of them dies: the generic cell rate algorithm. A token is taken when a
// process is started and not before, so the rate holds over any time, however
// late a tick comes. Slots that wait for one do so in a row, and only the first
// has a timer.
type bucket struct {
	arrival time.Time // theoretical, of the next start
	row     []*slot
}

// admit takes a token for a restart of s now, or puts s in the row. It is in
// none.
func (p *pool) admit(s *slot) bool {
	now := p.m.now
	if p.policy.RestartEvery <= 0 || len(p.row) == 0 && !p.tokenAt().After(now) {
		p.take()
		return true
	}
	s.retryAt = p.tokenAt().Add(time.Duration(len(p.row)) * p.policy.RestartEvery) // if none before it gives up its place
	s.queued = true
	p.row = append(p.row, s)
	return false
}

// tokenAt is when there is one for the first in the row.
func (p *pool) tokenAt() time.Time {
	return p.arrival.Add(-time.Duration(max(p.policy.RestartBurst, 1)-1) * p.policy.RestartEvery)
}

func (p *pool) take() {
	if p.arrival.Before(p.m.now) {
		p.arrival = p.m.now
	}
	p.arrival = p.arrival.Add(p.policy.RestartEvery)
}

// tokenDue: s is the first in the row, and there is a token for it.
func (s *slot) tokenDue() bool {
	return s.queued && s.pool.row[0] == s && !s.pool.tokenAt().After(s.m.now)
}

// leaveRow has s wait no longer.
func (s *slot) leaveRow() {
	if s.queued {
		s.queued = false
		s.pool.row = slices.DeleteFunc(s.pool.row, func(other *slot) bool { return other == s })
		s.pool.headRow()
	}
}

// headRow has the timer of the first in the row looked at anew.
func (p *pool) headRow() {
	if len(p.row) > 0 {
		p.m.touch(p.row[0])
	}
}

// retryTimer is when the slot's next try, or its token, is due; zero: never.
func (s *slot) retryTimer() time.Time {
	switch {
	case !s.queued:
		return s.retryAt
	case s.pool.row[0] == s:
		return s.pool.tokenAt()
	}
	return time.Time{}
}
