package ipc

import (
	"context"
	"time"
)

// Deadlines of the peer's calls: one timer for all of a connection's, set for
// the earliest.

// grain is how long at least the timer waits: deadlines are exact to this.
const grain = time.Millisecond

// clock is the timer and what it is set for. It is guarded by Conn.mu.
type clock struct {
	timer *time.Timer // nil until there is a deadline
	next  time.Time   // when it goes off; zero: not set
}

// expire has the call that ends at deadline told so. The caller holds mu.
func (c *Conn) expire(deadline time.Time) {
	k := &c.clock
	if !k.next.IsZero() && !deadline.Before(k.next) {
		return
	}
	k.next = deadline
	wait := max(time.Until(deadline), grain)
	if k.timer == nil {
		k.timer = time.AfterFunc(wait, c.expired)
	} else {
		k.timer.Reset(wait)
	}
}

// expired ends the calls whose time is up.
func (c *Conn) expired() {
	now := time.Now()
	var due []*Call
	c.mu.Lock()
	c.clock.next = time.Time{}
	var next time.Time
	c.serving.each(func(_ uint32, s *serving) {
		d := s.call.ctx.deadline
		switch {
		case d.IsZero() || s.answered:
		case !d.After(now):
			due = append(due, s.call)
		case next.IsZero() || d.Before(next):
			next = d
		}
	})
	if !next.IsZero() && c.err == nil {
		c.expire(next)
	}
	c.mu.Unlock()
	for _, call := range due {
		call.ctx.end(context.DeadlineExceeded)
	}
}
