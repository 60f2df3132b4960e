package lifecycle

import (
	"syscall"
	"time"
)

// The stop of a process: DRAIN, signal, SIGKILL, each with a deadline.

// giveUp stops the process by its own fault, without asking it first.
func (p *proc) giveUp(why string) {
	p.asked, p.fault, p.why = true, true, why
	p.killAt = p.now().Add(p.policy.StopTimeout)
	p.terminate()
	p.become(Stopping, why)
}

// hungUp: a worker without its connection can't be commanded. One that only
// closed it has a moment to exit by itself; one that broke the protocol has not.
func (p *proc) hungUp(ev HungUp) {
	if p.phase >= parted || p.phase == ordered {
		return
	}
	p.hello = false
	if ev.Breach {
		p.giveUp(ev.Reason)
		return
	}
	p.part(ev.Reason, true, min(parting, p.policy.StopTimeout))
}

// saidStopping: it goes of its own accord, and has as long as if it had been
// asked by DRAIN.
func (p *proc) saidStopping() {
	if p.phase == booting || p.phase == serving {
		p.part("it says that it is stopping", false, p.grace())
	}
}

// part waits for a process that is about to exit by itself.
func (p *proc) part(why string, fault bool, wait time.Duration) {
	p.disarm()
	p.phase = parted
	p.asked, p.fault, p.why = true, fault, why
	p.deadline = p.now().Add(wait)
	p.killAt = p.now().Add(p.policy.StopTimeout)
	p.become(Stopping, why)
}

// grace is how much of its stop a process has before it is signalled.
func (p *proc) grace() time.Duration { return p.policy.StopTimeout * 3 / 4 }

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
	p.become(Stopping, why)
}

// beginStop takes the first step that suits the process.
func (p *proc) beginStop() {
	p.disarm()
	p.killAt = p.now().Add(p.policy.StopTimeout)
	if !p.hello {
		p.terminate()
		return
	}
	p.phase = draining
	p.deadline = p.now().Add(p.grace())
	p.slot.m.emit(Drain{p.id, p.grace()})
}

func (p *proc) terminate() {
	p.disarm()
	p.phase = terminating
	p.deadline = p.killAt
	p.slot.m.emit(Signal{ID: p.id, Signal: p.policy.StopSignal})
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
	p.slot.m.emit(Signal{ID: p.id, Signal: syscall.SIGKILL})
}
