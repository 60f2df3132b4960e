package lifecycle

import (
	"fmt"
	"time"
)

// phase is how far a process has come. Those from parted on are steps of one
// stop and only go forward.
type phase uint8

const (
	ordered     phase = iota // Spawn was emitted, its answer has not come
	booting                  // it runs and is not ready
	serving                  // it is ready
	parted                   // it has closed its connection, or said so, and should exit by itself
	draining                 // DRAIN was sent
	dumping                  // it hangs and was asked for a dump
	terminating              // the stop signal was sent
	killing                  // SIGKILL was sent
)

// proc is one generation in its slot.
type proc struct {
	slot    *slot
	id      ID
	policy  *Policy // of the version
	version uint64
	phase   phase
	pid     int // 0 while ordered

	spawnedAt, readyAt time.Time
	awaited            time.Time // since when it has its time to become ready: its start, or a HELLO that was late

	hello bool   // it has said HELLO
	ready bool   // it has been ready at least once
	due   string // why it is to be recycled; empty: it is not

	spared bool // it has had some time for an absence of the supervisor, and has given no sign of life since

	// Timers; zero: not armed.
	deadline time.Time // of the phase
	aliveAt  time.Time // when living so long makes it ready
	soakedAt time.Time // when it has been ready for as long as a rollout asks
	ageAt    time.Time // when it is old enough to be recycled, or when that is tried again
	watch              // those of its health

	// Of its stop.
	asked    bool      // a stop was asked for; while ordered it waits for Spawned
	why      string    // in words
	fault    bool      // by its own fault, not on an operator's word
	replaced bool      // an operator wants a new one in its place
	atOnce   bool      // while ordered: Spawned is followed by SIGKILL
	killAt   time.Time // the one deadline of the whole stop
}

func (p *proc) now() time.Time { return p.slot.m.now }

// counts: it is the process whose state is the slot's.
func (p *proc) counts() bool { return p.slot.proc == p }

// become changes the slot's state if this is the process that counts.
func (p *proc) become(to State, reason string) {
	p.slot.m.touch(p.slot)
	if p.counts() {
		p.slot.become(to, reason)
	}
}

func (p *proc) announce(kind Kind, format string, args ...any) {
	p.slot.m.announce(p.slot, p.id.Generation, kind, format, args...)
}

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
	p.awaited, p.deadline = p.now(), p.now().Add(p.policy.Boot)
	p.armAlive()
}

// armAlive sets when living so long makes it ready, where that is enough.
func (p *proc) armAlive() {
	p.aliveAt = time.Time{}
	if p.policy.Alive || p.policy.Auto && !p.hello {
		p.aliveAt = p.spawnedAt.Add(min(plainAlive, p.policy.Boot))
	}
}

// notSpawned: there is no process.
func (p *proc) notSpawned(why string) {
	if p.phase == ordered {
		p.ended(Exit{Code: -1, Err: why})
	}
}

// greeted: a HELLO means that readiness is the worker's to say. One that was
// taken for a plain worker because its HELLO was late goes back to starting.
func (p *proc) greeted() {
	if p.hello {
		return
	}
	p.hello = true
	if p.policy.Auto {
		p.aliveAt = time.Time{}
		if p.phase == serving {
			p.disarm()
			p.phase, p.ready, p.spared = booting, false, false
			p.awaited, p.deadline = p.now(), p.now().Add(p.policy.Boot)
			p.become(Starting, "it has said HELLO and is awaited to say READY")
		}
	}
	if p.phase == serving {
		p.armPing(p.now())
	}
}

// saidReady counts where it is the worker's, or its probe's, to say.
func (p *proc) saidReady() {
	if p.phase == booting && (p.hello || p.policy.Probed) && !p.policy.Alive && !p.policy.Once {
		p.becomeReady()
	}
}

func (p *proc) becomeReady() {
	p.phase, p.ready, p.readyAt, p.spared = serving, true, p.now(), false
	p.deadline, p.aliveAt = time.Time{}, time.Time{}
	p.armAge()
	p.armPing(p.now())
	p.armWatch()
	p.become(Ready, "")
	p.queue()
}

// armAge draws how old it may become.
func (p *proc) armAge() {
	p.ageAt = time.Time{}
	if age := p.policy.Age; age > 0 {
		spread := 1 + p.policy.Jitter*(2*p.slot.m.chance()-1)
		p.ageAt = p.readyAt.Add(time.Duration(float64(age) * spread))
	}
}

// amend has the process go by another policy from now on. What it has been
// given time for already keeps that time.
func (p *proc) amend(to *Policy, version uint64) {
	was := p.policy
	p.policy, p.version = to, version
	switch p.phase {
	case booting:
		p.armAlive()
	case serving:
		if (was.Age != to.Age || was.Jitter != to.Jitter) && p.due == "" {
			p.armAge()
		}
		p.amendWatch()
	}
}

// soaked: it has been ready for as long as a rollout asks. While it has not, a
// timer is armed for when it will have been.
func (p *proc) soaked() bool {
	if p.phase != serving {
		return false
	}
	if at := p.readyAt.Add(p.policy.Soak); at.After(p.now()) {
		p.soakedAt = at
		p.slot.m.touch(p.slot)
		return false
	}
	return true
}

// extend gives a worker that asks for it more time to become ready. Its stop
// can't be extended: a stop always ends.
func (p *proc) extend(by time.Duration) {
	if p.phase == booting && p.now().Add(by).After(p.deadline) {
		p.deadline = p.now().Add(by)
	}
}

func (p *proc) nextTimer() time.Time {
	next := p.deadline
	for _, t := range [...]time.Time{p.aliveAt, p.soakedAt, p.ageAt, p.pingAt, p.pongBy, p.watchBy} {
		next = earlier(next, t)
	}
	return next
}

func (p *proc) disarm() {
	p.deadline, p.aliveAt, p.soakedAt, p.ageAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	p.pingAt, p.pongBy, p.watchBy = time.Time{}, time.Time{}, time.Time{}
}

func (p *proc) fire() {
	s := p.slot
	if s.due(&p.aliveAt) && p.phase == booting {
		p.becomeReady()
	}
	s.due(&p.soakedAt) // the pool's rollout looks at it in this step
	if s.due(&p.ageAt) {
		p.recycle(fmt.Sprintf("it has been ready for %v", p.now().Sub(p.readyAt).Round(time.Second)))
	}
	p.fireWatch()
	if by := p.deadline; s.due(&p.deadline) {
		p.overdue(by)
	}
}

// overdue: the phase was to be over by then.
func (p *proc) overdue(by time.Time) {
	switch p.phase {
	case booting:
		what, of := "ready", ""
		if p.policy.Once {
			what = "done"
		}
		if p.awaited.After(p.spawnedAt) {
			of = " of its HELLO"
		}
		p.giveUp(fmt.Sprintf("not %s within %v%s", what, by.Sub(p.awaited).Round(time.Millisecond), of))
	case parted, draining, dumping:
		p.terminate()
	case terminating:
		p.kill(fmt.Sprintf("still there %v after the stop began", p.policy.StopTimeout))
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
	s.lastExit = &e
	s.pool.live--
	p.announce(KindExit, "%v after %v", e, e.Uptime.Round(time.Millisecond))
	s.died = e.String()
	if p.why != "" {
		s.died = p.why + ", " + s.died
	}
	switch p {
	case s.proc:
		s.proc = nil
		s.vacated(p, e, s.died)
	case s.next: // the rollout that wanted it finds out
		s.next = nil
		s.vacant(p.why)
	case s.old:
		s.old = nil
		s.vacant(p.why)
	}
}
