package lifecycle

import (
	"fmt"
	"syscall"
	"time"
)

// phase is how far a process has come. Those from draining on are steps of one
// stop and only go forward.
type phase uint8

const (
	ordered     phase = iota // Spawn was emitted, its answer has not come
	booting                  // it runs and is not ready
	serving                  // it is ready
	parted                   // it has closed its connection and should exit by itself
	draining                 // DRAIN was sent
	terminating              // the stop signal was sent
	killing                  // SIGKILL was sent
)

// proc is one generation in its slot.
type proc struct {
	slot  *slot
	id    ID
	phase phase
	pid   int // 0 while ordered

	orderedAt, spawnedAt, readyAt time.Time

	hello bool // it has said HELLO
	ready bool // it has been ready at least once

	// Timers; zero: not armed.
	deadline time.Time // of the phase
	aliveAt  time.Time // when living so long makes it ready
	pingAt   time.Time // of the next ping
	pongBy   time.Time // of the answer to the last one
	pingedAt time.Time // no timer: when that was sent
	missed   int       // in a row
	hung     bool

	// Of its stop.
	asked    bool      // a stop was asked for; while ordered it waits for Spawned
	why      string    // in words
	fault    bool      // by its own fault, not on an operator's word
	replaced bool      // an operator wants a new one in its place
	atOnce   bool      // while ordered: Spawned is followed by SIGKILL
	killAt   time.Time // the one deadline of the whole stop
}

func (p *proc) policy() *Policy { return p.slot.policy }
func (p *proc) now() time.Time  { return p.slot.m.now }

func (p *proc) stopping() bool { return p.phase >= parted }

func (p *proc) spawned(pid int) {
	if p.phase != ordered {
		return
	}
	p.pid, p.spawnedAt = pid, p.now()
	p.phase = booting
	switch {
	case p.atOnce:
		p.kill("shutdown at once")
		return
	case p.asked:
		p.beginStop()
		return
	}
	p.deadline = p.now().Add(p.policy().Boot)
	if p.policy().Auto || p.policy().Alive {
		p.aliveAt = p.now().Add(min(plainAlive, p.policy().Boot))
	}
}

// greeted: a HELLO means that readiness is the worker's to say. One that was
// taken for a plain worker because its HELLO was late goes back to starting.
func (p *proc) greeted() {
	if p.hello {
		return
	}
	p.hello = true
	if p.policy().Auto {
		p.aliveAt = time.Time{}
		if p.phase == serving {
			p.phase, p.ready = booting, false
			p.deadline = p.now().Add(p.policy().Boot)
			p.slot.become(Starting, "it has said HELLO and is awaited to say READY")
		}
	}
	if p.phase == serving {
		p.armPing(p.now())
	}
}

func (p *proc) saidReady() {
	if p.phase == booting && p.hello && !p.policy().Alive {
		p.becomeReady()
	}
}

func (p *proc) becomeReady() {
	p.phase, p.ready, p.readyAt = serving, true, p.now()
	p.deadline, p.aliveAt = time.Time{}, time.Time{}
	p.armPing(p.now())
	p.slot.become(Ready, "")
}

// armPing sets the next ping one interval after from, at once if that is over.
func (p *proc) armPing(from time.Time) {
	if !p.hello || p.policy().Ping < 0 {
		return
	}
	p.pingAt = from.Add(p.policy().Ping)
	if p.pingAt.Before(p.now()) {
		p.pingAt = p.now()
	}
}

func (p *proc) ponged() {
	if p.phase != serving {
		return
	}
	p.pongBy = time.Time{}
	if p.missed > 0 {
		p.missed, p.hung = 0, false
		p.announce(KindResponsive, "answers pings again")
	}
	if p.pingAt.IsZero() {
		p.armPing(p.pingedAt)
	}
}

func (p *proc) announce(kind Kind, format string, args ...any) {
	p.slot.m.announce(p.slot, p.id.Generation, kind, format, args...)
}

// pongMissed counts one. Only so many in a row act.
func (p *proc) pongMissed() {
	p.missed++
	p.armPing(p.pingedAt)
	if p.missed < p.policy().Failures {
		p.announce(KindSuspect, "no answer to a ping within %v (%d of %d)", p.policy().PingTimeout, p.missed, p.policy().Failures)
		return
	}
	if !p.hung {
		p.hung = true
		p.announce(KindHung, "no answer to %d pings in a row", p.missed)
	}
	if p.policy().Observe {
		return
	}
	p.fault = true
	p.why = fmt.Sprintf("no answer to %d pings in a row", p.missed)
	p.asked = true
	p.killAt = p.now().Add(p.policy().StopTimeout)
	p.terminate()
	p.slot.become(Stopping, p.why)
}

// hungUp: a worker without its connection can't be commanded. One that only
// closed it has a moment to exit by itself; one that broke the protocol has not.
func (p *proc) hungUp(ev HungUp) {
	if p.stopping() || p.phase == ordered {
		return
	}
	p.disarm()
	p.asked, p.fault, p.why = true, true, ev.Reason
	p.killAt = p.now().Add(p.policy().StopTimeout)
	p.hello = false
	if ev.Breach {
		p.terminate()
	} else {
		p.phase = parted
		p.deadline = p.now().Add(min(parting, p.policy().StopTimeout))
	}
	p.slot.become(Stopping, ev.Reason)
}

// stop asks the process to go on an operator's word. A stop under way goes on;
// the operator's word then decides what follows.
func (p *proc) stop(why string) {
	p.replaced, p.why = p.slot.want == Up, why
	if !p.asked {
		p.asked = true
		if p.phase != ordered {
			p.beginStop()
		}
	}
	p.slot.become(Stopping, why)
}

// beginStop takes the first step that suits the process.
func (p *proc) beginStop() {
	p.disarm()
	p.killAt = p.now().Add(p.policy().StopTimeout)
	if !p.hello {
		p.terminate()
		return
	}
	p.phase = draining
	grace := p.policy().StopTimeout * 3 / 4
	p.deadline = p.now().Add(grace)
	p.slot.m.emit(Drain{p.id, grace})
}

func (p *proc) terminate() {
	p.disarm()
	p.phase = terminating
	p.deadline = p.killAt
	p.slot.m.emit(Signal{p.id, p.policy().StopSignal})
}

// kill is the last step, and is repeated until the process is gone.
func (p *proc) kill(why string) {
	if p.phase == ordered {
		p.atOnce = true
		return
	}
	p.disarm()
	p.phase = killing
	p.deadline = p.now().Add(killAgain)
	p.announce(KindKill, "SIGKILL: %s", why)
	p.slot.m.emit(Signal{p.id, syscall.SIGKILL})
}

func (p *proc) disarm() {
	p.deadline, p.aliveAt, p.pingAt, p.pongBy = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

func (p *proc) fire() {
	s := p.slot
	if s.due(&p.aliveAt) && p.phase == booting {
		p.becomeReady()
	}
	if s.due(&p.pongBy) {
		p.pongMissed()
	}
	if s.due(&p.pingAt) {
		p.pingedAt = p.now()
		p.pongBy = p.now().Add(p.policy().PingTimeout)
		s.m.emit(Ping{p.id})
	}
	if s.due(&p.deadline) {
		p.overdue()
	}
}

// overdue: the phase has lasted too long.
func (p *proc) overdue() {
	switch p.phase {
	case booting:
		p.fault = true
		p.why = fmt.Sprintf("not ready within %v", p.policy().Boot)
		p.asked = true
		p.killAt = p.now().Add(p.policy().StopTimeout)
		p.terminate()
		p.slot.become(Stopping, p.why)
	case parted, draining:
		p.terminate()
	case terminating:
		p.kill(fmt.Sprintf("still there %v after the stop began", p.policy().StopTimeout))
	case killing:
		p.kill(fmt.Sprintf("still there after SIGKILL, pid %d", p.pid))
	}
}

// ended: the process is gone, or was never there.
func (p *proc) ended(e Exit) {
	s := p.slot
	if p.phase == parted && !p.replaced && s.want == Up { // it did go by itself: the exit says all
		p.fault, p.why = false, ""
	}
	e.Generation, e.PID, e.At = p.id.Generation, p.pid, p.now()
	if !p.spawnedAt.IsZero() {
		e.Uptime = p.now().Sub(p.spawnedAt)
	}
	s.proc = nil
	s.lastExit = &e
	p.announce(KindExit, "%v after %v", e, e.Uptime.Round(time.Millisecond))
	s.vacated(p, e)
}
