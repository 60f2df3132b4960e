package lifecycle

import "time"

// The supervisor itself may not run for a while: it is stopped by SIGSTOP or a
// freezer, or the machine that it runs on is. What the processes have said
// meanwhile lies unread when it goes on, and they may have stood still with it. So
// what they were to say by now is put off. A stop is not: it always ends.

const (
	// lapse is how late Step may be called before the supervisor counts as having
	// been absent. Who calls it may let timers that are due together wait for one
	// another, for much less.
	lapse = 100 * time.Millisecond
	// readTime is how long what lies unread may take to be heard.
	readTime = time.Second
)

// absence is how long something has been due and no Step was taken.
func (m *Machine) absence(now time.Time) time.Duration {
	due := m.Next()
	switch {
	case due.IsZero():
		return 0
	case due.Before(m.now):
		due = m.now
	}
	return now.Sub(due)
}

// Absence is how long no Step was taken before the last one although something was
// due, if that was long enough for processes to be excused for it, else 0.
func (m *Machine) Absence() time.Duration { return m.absent }

// excuse puts off what the processes were to say by now.
func (m *Machine) excuse() {
	for _, s := range m.order {
		for _, p := range s.procs() {
			if p != nil && (p.phase == booting || p.phase == serving) {
				m.touch(s)
				p.excuse(m.absent)
			}
		}
	}
}

// excuse gives p the time of the absence. One that was to speak by now, or is to
// soon, also has some to be heard in, once until it gives a sign of life: one that
// hangs does not profit from a supervisor that is late all the time.
func (p *proc) excuse(absent time.Duration) {
	spare := !p.spared
	putOff := func(t *time.Time, atLeast time.Duration) {
		if t.IsZero() {
			return
		}
		*t = t.Add(absent)
		if least := p.now().Add(atLeast); spare && t.Before(least) {
			*t, p.spared = least, true
		}
	}
	switch p.phase {
	case booting:
		putOff(&p.deadline, min(readTime, p.policy.Boot))
	case serving:
		putOff(&p.watchBy, p.signs())
		putOff(&p.pongBy, p.policy.PingTimeout)
	}
}
