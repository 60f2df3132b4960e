package lifecycle

import (
	"syscall"
	"testing"
	"time"
)

// pinged is every 2 s with 1 s to answer; 3 missed act.
func pinged(p *Policy) { p.Ping = 2 * time.Second }

func TestPings(t *testing.T) {
	const s = time.Second
	ready := rows(boot(1), up(0, 1, 1))
	suspect := rows(ready,
		row{at: 2 * s, want: "ping 1#1", next: 3 * s},
		row{at: 3 * s, want: "1#1 suspect", next: 4 * s},
		row{at: 4 * s, want: "ping 1#1", next: 5 * s},
		row{at: 5 * s, want: "1#1 suspect", next: 6 * s})
	hung := rows(suspect,
		row{at: 6 * s, want: "ping 1#1"},
		row{at: 7 * s, want: "1#1 hung; SIGTERM 1#1; 1 stopping", next: 15 * s, reason: "no answer to 3 pings in a row"})
	observed := rows(suspect,
		row{at: 6 * s, want: "ping 1#1"},
		row{at: 7 * s, want: "1#1 hung", next: 8 * s},
		row{at: 8 * s, want: "ping 1#1"},
		row{at: 9 * s, next: 10 * s}, // it is told once
		row{at: 10 * s, want: "ping 1#1", next: 11 * s})
	observe := func(p *Policy) { p.Ping, p.Observe = 2*s, true }
	verdicts := func(suspect, hung bool) func(*testing.T, View) {
		return func(t *testing.T, v View) {
			if v.Suspect != suspect || v.Hung != hung || v.State != Ready {
				t.Errorf("%+v, want suspect %v, hung %v", v, suspect, hung)
			}
		}
	}
	playAll(t, []script{
		{name: "answered ones go on at the same beat", policy: pinged, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1", next: 3 * s},
			row{at: 2500 * ms, ev: ponged(1), next: 4 * s},
			row{at: 4 * s, want: "ping 1#1", next: 5 * s},
			row{at: 5*s - 1, ev: ponged(1), next: 6 * s}), end: verdicts(false, false)},
		{name: "an answer that nobody asked for changes nothing", policy: pinged, rows: rows(ready,
			row{at: s, ev: ponged(1), next: 2 * s},
			row{at: 2 * s, want: "ping 1#1"})},
		{name: "a missed one makes suspect", policy: pinged, rows: suspect, end: verdicts(true, false)},
		{name: "an answer begins the count anew", policy: pinged, rows: rows(suspect,
			row{at: 6 * s, want: "ping 1#1"},
			row{at: 6 * s, ev: ponged(1), want: "1#1 responsive", next: 8 * s},
			row{at: 8 * s, want: "ping 1#1"},
			row{at: 9 * s, want: "1#1 suspect"},
			row{at: 10 * s, want: "ping 1#1"},
			row{at: 11 * s, want: "1#1 suspect"}), end: verdicts(true, false)},
		{name: "an answer after its time is one", policy: pinged, rows: rows(suspect,
			row{at: 5500 * ms, ev: ponged(1), want: "1#1 responsive", next: 6 * s}), end: verdicts(false, false)},
		{name: "so many in a row act", policy: pinged, rows: rows(hung,
			row{at: 8 * s, ev: ponged(1), next: 15 * s}, // too late
			row{at: 15 * s, want: "1#1 kill; SIGKILL 1#1", next: 20 * s},
			row{at: 16 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; spawn 1#2; 1 starting", next: never,
				reason: "restarted after no answer to 3 pings in a row, killed by SIGKILL"})},
		{name: "a clean exit then is a failure all the same", policy: func(p *Policy) { pinged(p); p.OnFailureOnly = true }, rows: rows(hung,
			row{at: 8 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"})},
		{name: "observed, it is only told", policy: observe, rows: observed, end: verdicts(true, true)},
		{name: "observed, it may come back", policy: observe, rows: rows(observed,
			row{at: 10500 * ms, ev: ponged(1), want: "1#1 responsive", next: 12 * s}), end: verdicts(false, false)},
		{name: "one failure is enough if asked so", policy: func(p *Policy) { pinged(p); p.Failures = 1 }, rows: rows(ready,
			row{at: 2 * s, want: "ping 1#1"},
			row{at: 3 * s, want: "1#1 hung; SIGTERM 1#1; 1 stopping"})},
		{name: "a time to answer longer than the interval", policy: func(p *Policy) { p.Ping, p.PingTimeout = s, 3*s }, rows: rows(ready,
			row{at: s, want: "ping 1#1", next: 4 * s},
			row{at: 4 * s, want: "1#1 suspect; ping 1#1", next: 7 * s},                 // one at a time
			row{at: 6500 * ms, ev: ponged(1), want: "1#1 responsive", next: 6500 * ms}, // the interval is over already
			row{at: 6500 * ms, want: "ping 1#1", next: 9500 * ms}), end:                verdicts(false, false)},
		{name: "a plain worker is not pinged", policy: func(p *Policy) { pinged(p); p.Auto = true }, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, want: "1 ready", next: never})},
		{name: "a starting one is not", policy: pinged, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{ev: greeted(1), next: 30 * s})},
		{name: "a stopping one is not", policy: pinged, rows: rows(ready,
			row{at: s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping", next: 7 * s},
			row{at: s, ev: ponged(1), next: 7 * s})},
	})
}

// A worker that ends its connection, or says what the protocol forbids, is
// beyond commands and is replaced.
func TestHungUp(t *testing.T) {
	const s = time.Second
	ready := rows(boot(1), up(0, 1, 1))
	parted := rows(ready,
		row{at: 5 * s, ev: hungUp(1), want: "1 stopping", next: 6 * s, reason: "it has closed its connection"})
	playAll(t, []script{
		{name: "it exits by itself: the exit says all", policy: func(p *Policy) { p.OnFailureOnly = true }, rows: rows(parted,
			row{at: 5500 * ms, ev: exited(1, 0), want: "1#1 exit; 1 done", reason: "exit code 0"})},
		{name: "with a code", rows: rows(parted,
			row{at: 5500 * ms, ev: exited(1, 3), want: "1#1 exit; spawn 1#2; 1 starting", reason: "restarted after exit code 3"})},
		{name: "it takes no commands any more", rows: parted, end: func(t *testing.T, v View) {
			if v.Greeted || v.PID == 0 {
				t.Errorf("%+v", v)
			}
		}},
		{name: "it does not exit", rows: rows(parted,
			row{at: 6 * s, want: "SIGTERM 1#1", next: 13 * s},
			row{at: 13 * s, want: "1#1 kill; SIGKILL 1#1"},
			row{at: 13 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; spawn 1#2; 1 starting",
				reason: "restarted after it has closed its connection, killed by SIGKILL"})},
		{name: "the stop is shorter than the moment it has", policy: func(p *Policy) { p.StopTimeout = s / 2 }, rows: rows(ready,
			row{at: 5 * s, ev: hungUp(1), want: "1 stopping", next: 5500 * ms},
			row{at: 5500 * ms, want: "SIGTERM 1#1", next: 5500 * ms},
			row{at: 5500 * ms, want: "1#1 kill; SIGKILL 1#1"})},
		{name: "a breach has no moment", rows: rows(ready,
			row{at: 5 * s, ev: breached(1), want: "SIGTERM 1#1; 1 stopping", next: 13 * s, reason: "protocol violation at byte 0"},
			row{at: 6 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"})},
		{name: "a breach before HELLO", rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, ev: breached(1), want: "SIGTERM 1#1; 1 stopping", next: 9 * s})},
		{name: "once it is stopping it changes nothing", rows: rows(ready,
			row{at: s, ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: 2 * s, ev: hungUp(1), next: 7 * s},
			row{at: 2 * s, ev: breached(1), next: 7 * s, reason: "stopped by hand"})},
		{name: "stopped by hand in that moment", rows: rows(parted,
			row{at: 5500 * ms, ev: order(1, Stop, 1), next: 6 * s, reason: "stopped by hand"},
			row{at: 5800 * ms, ev: exited(1, 3), want: "1#1 exit; 1 stopped; op 1: done", next: never, reason: "stopped by hand"})},
		{name: "started by hand in that moment", policy: func(p *Policy) { p.Never = true }, rows: rows(parted,
			row{at: 5500 * ms, ev: order(1, Start, 1), next: 6 * s},
			row{at: 5800 * ms, ev: exited(1, 3), want: "1#1 exit; spawn 1#2; 1 starting", reason: "started by hand"})},
	})
}
