package lifecycle

import (
	"fmt"
	"time"
)

// watch is what is known of a ready process's health.
type watch struct {
	pingAt   time.Time // timer: of the next ping
	pongBy   time.Time // timer: of the answer to the last one
	watchBy  time.Time // timer: of the next sign that its watchdog wants
	pingedAt time.Time // no timer: when the last ping was sent
	missed   int       // in a row
	late     bool      // the sign that its watchdog wants
	hung     bool
	every    *time.Duration // between two signs, by the worker's own word; nil: as its policy says
}

// suspect: it has given no good sign when one was due.
func (w *watch) suspect() bool { return w.missed > 0 || w.late }

// armPing sets the next ping one interval after from, at once if that is over.
func (p *proc) armPing(from time.Time) {
	if !p.hello || p.policy.Ping < 0 {
		return
	}
	p.pingAt = from.Add(p.policy.Ping)
	if p.pingAt.Before(p.now()) {
		p.pingAt = p.now()
	}
}

// armWatch gives the worker until its next sign.
func (p *proc) armWatch() {
	if every := p.signs(); p.phase == serving && p.policy.Watchdog && every > 0 {
		p.watchBy = p.now().Add(every)
	}
}

// signs is the longest time between two signs that its watchdog wants; 0: it
// wants none.
func (p *proc) signs() time.Duration {
	if p.every != nil && p.policy.Beat > 0 { // without a watchdog there is none to set
		return *p.every
	}
	return p.policy.Beat
}

// watchedBy sets another time, which begins now.
func (p *proc) watchedBy(every time.Duration) {
	p.every = &every
	p.watchBy = time.Time{}
	p.armWatch()
}

// saidAlive: its watchdog has what it wants, for a while.
func (p *proc) saidAlive() {
	p.armWatch()
	if p.phase != serving {
		return
	}
	p.spared = false
	if p.late {
		p.late = false
		p.recovered()
	}
}

// recovered tells, once, that nothing is missing any more.
func (p *proc) recovered() {
	if !p.suspect() {
		p.hung = false
		p.announce(KindResponsive, "it gives signs of life again")
	}
}

// amendWatch has a process that serves be watched as its policy now says. What
// has been sent or promised already stands.
func (p *proc) amendWatch() {
	switch {
	case p.policy.Ping < 0:
		p.pingAt, p.pongBy = time.Time{}, time.Time{}
	case p.pingAt.IsZero() && p.pongBy.IsZero():
		p.armPing(p.now())
	}
	p.watchBy = time.Time{}
	p.armWatch()
}

// ponged: it answers. Whether it also gets on is another matter: a beat that
// stands still counts as a missed answer does.
func (p *proc) ponged(beat time.Duration) {
	if p.phase != serving {
		return
	}
	asked := !p.pongBy.IsZero()
	p.pongBy, p.spared = time.Time{}, false
	if limit := p.policy.Beat; asked && limit > 0 && beat > limit {
		what := fmt.Sprintf("its beat stands still for %v", beat.Round(time.Millisecond))
		p.failed(what, what)
		return
	}
	if p.missed > 0 {
		p.missed = 0
		p.recovered()
	}
	if p.pingAt.IsZero() {
		p.armPing(p.pingedAt)
	}
}

// failed counts one failure. Only so many in a row act, and are why.
func (p *proc) failed(what, why string) {
	p.missed++
	p.armPing(p.pingedAt)
	if p.missed < p.policy.Failures {
		p.announce(KindSuspect, "%s (%d of %d)", what, p.missed, p.policy.Failures)
		return
	}
	p.hang(why)
}

// hang: it counts as unresponsive.
func (p *proc) hang(why string) {
	if !p.hung {
		p.hung = true
		p.announce(KindHung, "%s", why)
	}
	if p.policy.Observe {
		return
	}
	p.asked, p.fault, p.why = true, true, why
	p.killAt = p.now().Add(p.policy.StopTimeout)
	if p.policy.Dump == 0 {
		p.terminate()
	} else {
		p.disarm()
		p.phase = dumping
		p.deadline = p.now().Add(min(maxDump, p.policy.StopTimeout/2))
		p.slot.m.emit(Signal{ID: p.id, Signal: p.policy.Dump, Leader: true})
	}
	p.become(Stopping, why)
}

func (p *proc) fireWatch() {
	s := p.slot
	if s.due(&p.watchBy) {
		p.late = true
		p.armWatch()
		p.hang(fmt.Sprintf("no WATCHDOG=1 within %v", p.signs()))
	}
	if s.due(&p.pongBy) {
		p.failed(fmt.Sprintf("no answer to a ping within %v", p.policy.PingTimeout),
			fmt.Sprintf("no answer to %d pings in a row", p.missed+1))
	}
	if s.due(&p.pingAt) {
		p.pingedAt = p.now()
		p.pongBy = p.now().Add(p.policy.PingTimeout)
		s.m.emit(Ping{p.id})
	}
}
