package lifecycle

import (
	"syscall"
	"testing"
	"time"
)

// watched has to be told every 3 s that its workers are alive.
func watched(p *Policy) { p.Watchdog, p.Beat = true, 3*time.Second }

// beating is pinged, and its beat may not stand still for more than 5 s.
func beating(p *Policy) { p.Ping, p.Beat = 2*time.Second, 5*time.Second }

func dumps(p *Policy) { pinged(p); p.Failures, p.Dump = 1, syscall.SIGQUIT }

func TestBeat(t *testing.T) {
	const s = time.Second
	ready := rows(boot(1), up(0, 1, 1))
	beat := func(old time.Duration) Event { return Ponged{web(1, 1), old} }
	once := rows(ready,
		row{at: 2 * s, want: "ping 1#1"},
		row{at: 2 * s, ev: beat(5*s + 1), want: "1#1 suspect", next: 4 * s})
	playAll(t, []script{
		{name: "it moves", policy: beating, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 2 * s, ev: beat(5 * s), next: 4 * s})},
		{name: "there is none", policy: beating, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 2 * s, ev: beat(-1), next: 4 * s})},
		{name: "nobody looks at it", policy: pinged, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 2 * s, ev: beat(time.Hour), next: 4 * s})},
		{name: "it stands still, as a missed answer", policy: beating, rows: once},
		{name: "and moves again", policy: beating, rows: rows(once,
			row{at: 4 * s, want: "ping 1#1"},
			row{at: 4 * s, ev: beat(0), want: "1#1 responsive", next: 6 * s})},
		{name: "an answer that nobody asked for does not count", policy: beating, rows: rows(once,
			row{at: 3 * s, ev: beat(time.Hour), want: "1#1 responsive", next: 4 * s})},
		{name: "so many in a row act, mixed with missed ones", policy: beating, rows: rows(once,
			row{at: 4 * s, want: "ping 1#1"},
			row{at: 5 * s, want: "1#1 suspect"},
			row{at: 6 * s, want: "ping 1#1"},
			row{at: 6 * s, ev: beat(9 * s), want: "1#1 hung; SIGTERM 1#1; 1 stopping", reason: "its beat stands still for 9s"})},
		{name: "observed, it is only told", policy: func(p *Policy) { beating(p); p.Failures, p.Observe = 1, true }, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 2 * s, ev: beat(9 * s), want: "1#1 hung", next: 4 * s},
			row{at: 4 * s, want: "ping 1#1"},
			row{at: 4 * s, ev: beat(11 * s), next: 6 * s},
			row{at: 6 * s, want: "ping 1#1"},
			row{at: 6 * s, ev: beat(0), want: "1#1 responsive"})},
	})
}

func TestWatchdog(t *testing.T) {
	const s = time.Second
	ready := rows(boot(1), up(0, 1, 1))
	alive := SaidAlive{web(1, 1)}
	observe := func(p *Policy) { watched(p); p.Observe = true }
	playAll(t, []script{
		{name: "fed in time", policy: watched, rows: rows(ready,
			row{at: 3*s - 1, ev: alive, next: 6*s - 1},
			row{at: 5 * s, ev: alive, next: 8 * s})},
		{name: "not fed", policy: watched, rows: rows(ready,
			row{at: 3 * s, want: "1#1 hung; SIGTERM 1#1; 1 stopping", reason: "no WATCHDOG=1 within 3s", next: 11 * s},
			row{at: 4 * s, ev: alive, next: 11 * s},
			row{at: 4 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"})},
		{name: "not while it boots", policy: watched, rows: rows(boot(1),
			row{ev: spawned(1), next: 30 * s},
			row{ev: alive, next: 30 * s},
			row{ev: greeted(1), next: 30 * s})},
		{name: "a late HELLO begins the boot anew", policy: func(p *Policy) { watched(p); p.Auto = true }, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, want: "1 ready", next: 4 * s},
			row{at: 2 * s, ev: greeted(1), want: "1 starting", next: 32 * s})},
		{name: "by another time, of its own", policy: watched, rows: rows(ready,
			row{at: s, ev: WatchedBy{web(1, 1), 5 * s}, next: 6 * s},
			row{at: 2 * s, ev: alive, next: 7 * s},
			row{at: 3 * s, ev: WatchedBy{web(1, 1), s}, next: 4 * s},
			row{at: 4 * s, want: "1#1 hung; SIGTERM 1#1; 1 stopping", reason: "no WATCHDOG=1 within 1s"})},
		{name: "by none, for a while", policy: watched, rows: rows(ready,
			row{at: s, ev: WatchedBy{web(1, 1), 0}, next: never},
			row{at: 9 * s, ev: alive, next: never},
			row{at: 9 * s, ev: WatchedBy{web(1, 1), s}, next: 10 * s})},
		{name: "another time of its own makes no watchdog", policy: func(p *Policy) { p.Watchdog = true }, rows: rows(ready,
			row{at: s, ev: WatchedBy{web(1, 1), s}, next: never})},
		{name: "told while it boots", policy: watched, rows: rows(boot(1),
			row{ev: spawned(1), next: 30 * s},
			row{ev: WatchedBy{web(1, 1), s}, next: 30 * s},
			row{ev: greeted(1)},
			row{ev: saidReady(1), want: "1 ready", next: s})},
		{name: "not asked for", rows: rows(ready, row{at: s, ev: alive, next: never})},
		{name: "without a time", policy: func(p *Policy) { p.Watchdog = true }, rows: rows(ready, row{at: s, ev: alive, next: never})},
		{name: "observed, it is told once, and once when it is over", policy: observe, rows: rows(ready,
			row{at: 3 * s, want: "1#1 hung", next: 6 * s},
			row{at: 6 * s, next: 9 * s},
			row{at: 7 * s, ev: alive, want: "1#1 responsive", next: 10 * s},
			row{at: 8 * s, ev: alive, next: 11 * s},
			row{at: 11 * s, want: "1#1 hung"}), end: func(t *testing.T, v View) {
			if !v.Hung || !v.Suspect || v.State != Ready {
				t.Errorf("%+v", v)
			}
		}},
		{name: "a ping that is answered is not enough", policy: func(p *Policy) { observe(p); p.Ping = 2 * s }, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 2 * s, ev: ponged(1)},
			row{at: 3 * s, want: "1#1 hung"},
			row{at: 4 * s, want: "ping 1#1"},
			row{at: 4 * s, ev: ponged(1)}), end: func(t *testing.T, v View) {
			if !v.Hung || !v.Suspect {
				t.Errorf("%+v", v)
			}
		}},
	})
}

// A hung worker is asked for a dump, then to go, then killed, all within the
// time that a stop has.
func TestDump(t *testing.T) {
	const s = time.Second
	hung := rows(boot(1), up(0, 1, 1),
		row{at: 2 * s, want: "ping 1#1"},
		row{at: 3 * s, want: "1#1 hung; SIGQUIT 1#1; 1 stopping", next: 7 * s}) // half of the stop
	playAll(t, []script{
		{name: "dump, TERM, KILL", policy: dumps, rows: rows(hung,
			row{at: 7 * s, want: "SIGTERM 1#1", next: 11 * s},
			row{at: 11 * s, want: "1#1 kill; SIGKILL 1#1"})},
		{name: "five seconds at the most", policy: func(p *Policy) { dumps(p); p.StopTimeout = time.Minute }, rows: rows(hung[:len(hung)-1],
			row{at: 3 * s, want: "1#1 hung; SIGQUIT 1#1; 1 stopping", next: 8 * s},
			row{at: 8 * s, want: "SIGTERM 1#1", next: 63 * s})},
		{name: "it ends by it: a failure", policy: func(p *Policy) { dumps(p); p.OnFailureOnly = true }, rows: rows(hung,
			row{at: 4 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting",
				reason: "restarted after no answer to 1 pings in a row, exit code 0"})},
		{name: "stopped by hand meanwhile", policy: dumps, rows: rows(hung,
			row{at: 4 * s, ev: order(1, Stop, 1), next: 7 * s},
			row{at: 7 * s, want: "SIGTERM 1#1", next: 11 * s},
			row{at: 8 * s, ev: exited(1, 2), want: "1#1 exit; 1 stopped; op 1: done"})},
		{name: "what it says then changes nothing", policy: dumps, rows: rows(hung,
			row{at: 4 * s, ev: ponged(1), next: 7 * s},
			row{at: 4 * s, ev: hungUp(1), next: 7 * s},
			row{at: 4 * s, ev: SaidStopping{web(1, 1)}, next: 7 * s})},
		{name: "observed: none", policy: func(p *Policy) { dumps(p); p.Observe = true }, rows: rows(boot(1), up(0, 1, 1),
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 3 * s, want: "1#1 hung"})},
		{name: "only for those that hang", policy: dumps, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: 30 * s, want: "SIGTERM 1#1; 1 stopping"})},
	})
	m := New(func() float64 { return 0.5 })
	p := basic()
	dumps(p)
	m.Add(Slot{"web", 1}, p, epoch)
	for _, r := range hung {
		for _, e := range m.Step(epoch.Add(r.at), orTick(r.ev)) {
			if s, ok := e.(Signal); ok && s.Signal == syscall.SIGQUIT && !s.Leader {
				t.Errorf("the dump is asked of the whole group: %+v", s)
			}
		}
	}
}

func orTick(ev Event) Event {
	if ev == nil {
		return Tick{}
	}
	return ev
}

func TestSaidStopping(t *testing.T) {
	const s = time.Second
	said := SaidStopping{web(1, 1)}
	going := rows(boot(1), up(0, 1, 1), row{at: s, ev: said, want: "1 stopping", next: 7 * s, reason: "it says that it is stopping"})
	playAll(t, []script{
		{name: "it exits: the exit says all", policy: func(p *Policy) { p.OnFailureOnly = true }, rows: rows(going,
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; 1 done", reason: "exit code 0"})},
		{name: "with a code", rows: rows(going,
			row{at: 2 * s, ev: exited(1, 3), want: "1#1 exit; spawn 1#2; 1 starting", reason: "restarted after exit code 3"})},
		{name: "it does not exit: as long as any stop", rows: rows(going,
			row{at: 7 * s, want: "SIGTERM 1#1", next: 9 * s},
			row{at: 9 * s, want: "1#1 kill; SIGKILL 1#1"})},
		{name: "its connection closes then", rows: rows(going, row{at: 2 * s, ev: hungUp(1), next: 7 * s})},
		{name: "stopped by hand meanwhile", rows: rows(going,
			row{at: 2 * s, ev: order(1, Stop, 1), next: 7 * s},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done"})},
		{name: "while it boots", rows: rows(boot(1), row{ev: spawned(1)}, row{ev: said, want: "1 stopping", next: 6 * s})},
		{name: "while it is stopped", rows: rows(boot(1), up(0, 1, 1),
			row{ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: said, next: 6 * s, reason: "stopped by hand"})},
	})
}

func TestExtended(t *testing.T) {
	const s = time.Second
	more := func(by time.Duration) Event { return Extended{web(1, 1), by} }
	playAll(t, []script{
		{name: "while it boots", rows: rows(boot(1),
			row{ev: spawned(1), next: 30 * s},
			row{at: 20 * s, ev: more(20 * s), next: 40 * s},
			row{at: 39 * s, ev: more(2 * s), next: 41 * s},
			row{at: 41 * s, want: "SIGTERM 1#1; 1 stopping", reason: "not ready within 41s"})},
		{name: "never for less", rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, ev: more(s), next: 30 * s})},
		{name: "not while ordered", rows: rows(boot(1),
			row{ev: more(time.Hour), next: never},
			row{ev: spawned(1), next: 30 * s})},
		{name: "not when it is ready", rows: rows(boot(1), up(0, 1, 1), row{at: s, ev: more(time.Hour), next: never})},
		{name: "not its stop", rows: rows(boot(1),
			row{ev: spawned(1)},
			row{ev: order(1, Stop, 1), want: "SIGTERM 1#1; 1 stopping", next: 8 * s},
			row{ev: more(time.Hour), next: 8 * s})},
	})
}

func TestProbed(t *testing.T) {
	const s = time.Second
	probed := func(p *Policy) { p.Probed = true }
	playAll(t, []script{
		{name: "a plain worker, when its probe says so", policy: probed, rows: rows(boot(1),
			row{ev: spawned(1), next: 30 * s},
			row{at: 5 * s, ev: saidReady(1), want: "1 ready", next: never})},
		{name: "it never does", policy: probed, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: 30 * s, want: "SIGTERM 1#1; 1 stopping"})},
		{name: "one that says HELLO is pinged", policy: func(p *Policy) { probed(p); p.Ping = 2 * s }, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{ev: saidReady(1), want: "1 ready", next: never},
			row{at: s, ev: greeted(1), next: 3 * s})},
	})
}
