package lifecycle

import (
	"syscall"
	"testing"
	"time"
)

func auto(p *Policy)  { p.Auto = true }
func alive(p *Policy) { p.Alive = true }
func once(p *Policy)  { p.Once, p.Never = true, true }

func TestReady(t *testing.T) {
	const s = time.Second
	playAll(t, []script{
		{name: "hello: READY makes it", rows: rows(boot(1),
			row{at: 5 * s, ev: spawned(1), next: 35 * s}, // the clock starts with the process
			row{at: 6 * s, ev: greeted(1), next: 35 * s},
			row{at: 7 * s, ev: saidReady(1), want: "1 ready", next: never})},
		{name: "hello: READY alone does not", rows: rows(boot(1),
			row{ev: spawned(1)},
			row{ev: saidReady(1), next: 30 * s},
			row{ev: greeted(1)},
			row{ev: saidReady(1), want: "1 ready"})},
		{name: "hello: living on does not", rows: rows(boot(1),
			row{ev: spawned(1), next: 30 * s},
			row{at: 30 * s, want: "SIGTERM 1#1; 1 stopping", next: 38 * s, reason: "not ready within 30s"})},
		{name: "auto: a plain worker is ready once it has lived for a second", policy: auto, rows: rows(boot(1),
			row{at: s, ev: spawned(1), next: 2 * s},
			row{at: 2 * s, want: "1 ready", next: never})},
		{name: "auto: HELLO in time means that READY is awaited", policy: auto, rows: rows(boot(1),
			row{ev: spawned(1), next: s},
			row{at: s - 1, ev: greeted(1), next: 30 * s},
			row{at: 20 * s, ev: saidReady(1), want: "1 ready", next: never})},
		{name: "auto: HELLO and never READY", policy: auto, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{ev: greeted(1), next: 30 * s},
			row{at: 30 * s, want: "SIGTERM 1#1; 1 stopping"})},
		{name: "auto: a late HELLO goes back to starting", policy: auto, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, want: "1 ready"},
			row{at: 5 * s, ev: greeted(1), want: "1 starting", next: 35 * s, reason: "awaited to say READY"},
			row{at: 6 * s, ev: saidReady(1), want: "1 ready", next: never})},
		{name: "auto: a late HELLO and never READY", policy: auto, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, want: "1 ready"},
			row{at: 5 * s, ev: greeted(1), want: "1 starting"},
			row{at: 35 * s, want: "SIGTERM 1#1; 1 stopping", next: 43 * s, reason: "not ready within 30s of its HELLO"})},
		{name: "exit: nothing it says makes it ready", policy: once, rows: rows(boot(1),
			row{ev: spawned(1), next: 30 * s},
			row{ev: greeted(1), next: 30 * s},
			row{ev: saidReady(1), next: 30 * s},
			row{at: 20 * s, ev: exited(1, 0), want: "1#1 exit; 1 done", next: never})},
		{name: "exit: it fails", policy: once, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{ev: exited(1, 1), want: "1#1 exit; 1 failed", reason: "exit code 1", next: never})},
		{name: "exit: it takes too long", policy: once, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: 30 * s, want: "SIGTERM 1#1; 1 stopping", reason: "not done within 30s"},
			row{at: 31 * s, ev: exited(1, 0), want: "1#1 exit; 1 failed"})},
		{name: "alive: READY is not asked for", policy: alive, rows: rows(boot(1),
			row{ev: spawned(1), next: s},
			row{ev: greeted(1), next: s},
			row{ev: saidReady(1), next: s},
			row{at: s, want: "1 ready", next: never})},
		{name: "alive: a boot shorter than a second is long enough", policy: func(p *Policy) { p.Alive, p.Boot = true, s/2 }, rows: rows(boot(1),
			row{ev: spawned(1), next: s / 2},
			row{at: s / 2, want: "1 ready", next: never})},
		{name: "alive: a late HELLO has it pinged", policy: func(p *Policy) { p.Alive, p.Ping = true, 2*s }, rows: rows(boot(1),
			row{ev: spawned(1)},
			row{at: s, want: "1 ready", next: never},
			row{at: 5 * s, ev: greeted(1), next: 7 * s},
			row{at: 7 * s, want: "ping 1#1"})},
	})
}

func TestBootTimeout(t *testing.T) {
	const s = time.Second
	late := rows(boot(1),
		row{ev: spawned(1)},
		row{at: 30 * s, want: "SIGTERM 1#1; 1 stopping", next: 38 * s})
	playAll(t, []script{
		{name: "READY comes too late", rows: rows(late,
			row{at: 31 * s, ev: greeted(1)},
			row{at: 31 * s, ev: saidReady(1), next: 38 * s})},
		{name: "it goes on the signal", rows: rows(late,
			row{at: 31 * s, ev: killed(1, syscall.SIGTERM), want: "1#1 exit; spawn 1#2; 1 starting", next: never,
				reason: "restarted after not ready within 30s, killed by SIGTERM"})},
		{name: "it does not", rows: rows(late,
			row{at: 38 * s, want: "1#1 kill; SIGKILL 1#1", next: 43 * s},
			row{at: 39 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; spawn 1#2; 1 starting"})},
		{name: "a clean exit then is a failure all the same", policy: func(p *Policy) { p.OnFailureOnly = true }, rows: rows(late,
			row{at: 31 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"})},
		{name: "which is not restarted if none is", policy: func(p *Policy) { p.Never = true }, rows: rows(late,
			row{at: 31 * s, ev: exited(1, 0), want: "1#1 exit; 1 failed", reason: "not ready within 30s, exit code 0"})},
		{name: "it spends from the budget", policy: func(p *Policy) { p.Budget = 0 }, rows: rows(late,
			row{at: 31 * s, ev: exited(1, 0), want: "1#1 exit; 1 failed", reason: "are used up"})},
	})
}

// A word said twice, or by another generation than the one that is there,
// changes nothing.
func TestStaleAndRepeatedEvents(t *testing.T) {
	second := rows(boot(1), up(0, 1, 1), row{at: time.Second, ev: exited(1, 1), want: "1#1 exit; spawn 1#2; 1 starting"})
	var stale []any
	for _, g := range []uint64{0, 1, 3} {
		for _, ev := range []Event{
			spawned(g), notSpawned(g), greeted(g), saidReady(g), ponged(g), hungUp(g), breached(g), exited(g, 0), killed(g, syscall.SIGKILL),
		} {
			stale = append(stale, row{at: time.Second, ev: ev})
		}
	}
	nowhere := ID{Slot{"web", 9}, 1}
	playAll(t, []script{
		{name: "while ordered", rows: rows(append([]any{second}, stale...)...)},
		{name: "while ready", rows: rows(append([]any{second, up(time.Second, 1, 2)}, stale...)...), end: func(t *testing.T, v View) {
			if v.State != Ready || v.PID != 102 || v.Generation != 2 || !v.Greeted {
				t.Errorf("%+v", v)
			}
		}},
		{name: "of no slot", rows: rows(second,
			row{at: time.Second, ev: Spawned{nowhere, 1}},
			row{at: time.Second, ev: Exited{ID: nowhere}})},
		{name: "once it has ended", policy: func(p *Policy) { p.Never = true }, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: exited(1, 1), want: "1#1 exit; 1 failed"},
			row{at: time.Second, ev: exited(1, 1)},
			row{at: time.Second, ev: spawned(1)},
			row{at: time.Second, ev: saidReady(1), next: never})},
		{name: "repeated", rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: Spawned{web(1, 1), 7}},
			row{at: time.Second, ev: greeted(1)},
			row{at: time.Second, ev: saidReady(1)},
			row{at: time.Second, ev: ponged(1), next: never}), end: func(t *testing.T, v View) {
			if v.PID != 101 || v.State != Ready {
				t.Errorf("%+v", v)
			}
		}},
	})
}
