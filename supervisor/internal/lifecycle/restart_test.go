package lifecycle

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

const ms = time.Millisecond

// dies is a process that exits before it was ready.
func dies(at time.Duration, g uint64, code int, want string) []row {
	return rows(row{at: at, ev: spawned(g)}, row{at: at, ev: exited(g, code), want: want})
}

func TestRestartPolicies(t *testing.T) {
	onFailure := func(p *Policy) { p.OnFailureOnly = true }
	not := func(p *Policy) { p.Never = true }
	again := "1#1 exit; spawn 1#2; 1 starting"
	playAll(t, []script{
		{name: "always, code 0", rows: rows(boot(1), up(0, 1, 1),
			row{at: 20 * time.Second, ev: exited(1, 0), want: again, next: never, reason: "restarted after exit code 0"})},
		{name: "always, code 1", rows: rows(boot(1), up(0, 1, 1),
			row{at: 20 * time.Second, ev: exited(1, 1), want: again, reason: "restarted after exit code 1"})},
		{name: "always, a signal", rows: rows(boot(1), up(0, 1, 1),
			row{at: 20 * time.Second, ev: killed(1, syscall.SIGSEGV), want: again, reason: "killed by SIGSEGV"})},
		{name: "on failure, code 0", policy: onFailure, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: exited(1, 0), want: "1#1 exit; 1 done", next: never, reason: "exit code 0"})},
		{name: "on failure, code 1", policy: onFailure, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: exited(1, 1), want: again})},
		{name: "on failure, a signal", policy: onFailure, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: killed(1, syscall.SIGKILL), want: again})},
		{name: "never, code 0", policy: not, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: exited(1, 0), want: "1#1 exit; 1 done", next: never})},
		{name: "never, code 1", policy: not, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: exited(1, 1), want: "1#1 exit; 1 failed", next: never, reason: "exit code 1"})},
		{name: "never, not started", policy: not, rows: rows(boot(1),
			row{at: time.Second, ev: notSpawned(1), want: "1#1 exit; 1 failed", next: never, reason: "no such file"})},
		{name: "a code that gives up", policy: func(p *Policy) { p.GiveUp = []int{77, 78} }, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: exited(1, 78), want: "1#1 exit; 1 failed", next: never, reason: "exit code 78, which means not to try again"})},
		{name: "another code does not", policy: func(p *Policy) { p.GiveUp = []int{77, 78} }, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: exited(1, 79), want: again})},
		{name: "a start by hand after done", policy: onFailure, rows: rows(boot(1), up(0, 1, 1),
			row{at: time.Second, ev: exited(1, 0), want: "1#1 exit; 1 done"},
			row{at: 2 * time.Second, ev: order(1, Start, 1), want: "spawn 1#2; 1 starting", reason: "started by hand"},
			row{at: 2 * time.Second, ev: spawned(2), next: 32 * time.Second},
			row{at: 3 * time.Second, ev: exited(2, 0), want: "1#2 exit; 1 done; op 1: done"})},
	})
}

func TestBackoffDoublesUpToItsLongest(t *testing.T) {
	unlimited := func(p *Policy) { p.Budget, p.BackoffMax = -1, 300*ms }
	playAll(t, []script{{name: "no process is ever ready", policy: unlimited, rows: rows(boot(1),
		dies(0, 1, 1, "1#1 exit; spawn 1#2; 1 starting"), // the first restart waits for nothing
		dies(0, 2, 1, "1#2 exit; 1 backoff"),
		row{at: 100 * ms, want: "spawn 1#3; 1 starting", next: never},
		dies(100*ms, 3, 1, "1#3 exit; 1 backoff"),
		row{at: 300 * ms, want: "spawn 1#4; 1 starting"},
		dies(300*ms, 4, 1, "1#4 exit; 1 backoff"),
		row{at: 600 * ms, want: "spawn 1#5; 1 starting"},
		dies(600*ms, 5, 1, "1#5 exit; 1 backoff"),
		row{at: 900 * ms, want: "spawn 1#6; 1 starting", reason: "restarted after exit code 1"},
		row{at: 900 * ms, ev: notSpawned(6), want: "1#6 exit; 1 backoff", next: 1200 * ms, reason: "no such file"},
	), end: func(t *testing.T, v View) {
		if v.Restarts != 6 || v.RetryAt != epoch.Add(1200*ms) || v.PID != 0 || v.Generation != 6 {
			t.Errorf("%+v", v)
		}
	}}})
}

func TestBackoffJitter(t *testing.T) {
	p := basic()
	almost := 1 - 1e-9
	for _, c := range []struct {
		failures int
		chance   float64
		want     time.Duration
	}{
		{0, almost, 0}, {1, almost, 0},
		{2, 0, 75 * ms}, {2, 0.5, 100 * ms}, {2, almost, 125 * ms},
		{3, 0, 150 * ms}, {3, almost, 250 * ms},
		{10, 0.5, 25600 * ms},
		{11, 0, 22500 * ms}, {11, 0.5, 30 * time.Second}, {11, almost, 37500 * ms},
		{1 << 30, 0.5, 30 * time.Second},
	} {
		m := New(func() float64 { return c.chance })
		if got := m.backoff(p, c.failures); got.Round(ms) != c.want {
			t.Errorf("%d failures, chance %v: %v, want %v", c.failures, c.chance, got, c.want)
		}
	}
}

func TestStableRunForgivesFailures(t *testing.T) {
	lives := func(from, to time.Duration, g uint64, want string) []row {
		return rows(up(from, 1, g), row{at: to, ev: exited(g, 1), want: want})
	}
	playAll(t, []script{
		{name: "just stable", rows: rows(boot(1),
			dies(0, 1, 1, "1#1 exit; spawn 1#2; 1 starting"),
			lives(0, 10*time.Second, 2, "1#2 exit; spawn 1#3; 1 starting"))},
		{name: "not quite", rows: rows(boot(1),
			dies(0, 1, 1, "1#1 exit; spawn 1#2; 1 starting"),
			lives(0, 10*time.Second-1, 2, "1#2 exit; 1 backoff"))},
		{name: "time before ready does not count", rows: rows(boot(1),
			dies(0, 1, 1, "1#1 exit; spawn 1#2; 1 starting"),
			row{at: 0, ev: spawned(2)},
			row{at: 29 * time.Second, ev: exited(2, 1), want: "1#2 exit; 1 backoff", next: 29*time.Second + 100*ms})},
		{name: "nor does being taken for a plain worker", policy: auto, rows: rows(boot(1),
			dies(0, 1, 1, "1#1 exit; spawn 1#2; 1 starting"),
			row{at: 0, ev: spawned(2)},
			row{at: time.Second, want: "1 ready"},
			row{at: 2 * time.Second, ev: greeted(2), want: "1 starting"},
			row{at: 31 * time.Second, ev: exited(2, 1), want: "1#2 exit; 1 backoff"})},
	})
}

func TestBudget(t *testing.T) {
	two := func(p *Policy) { p.Budget, p.Window, p.BackoffMin = 2, time.Minute, 100*ms }
	spent := rows(boot(1),
		dies(0, 1, 1, "1#1 exit; spawn 1#2; 1 starting"),
		dies(0, 2, 1, "1#2 exit; 1 backoff"),
		row{at: 100 * ms, want: "spawn 1#3; 1 starting"},
	)
	failed := rows(spent,
		row{at: 100 * ms, ev: spawned(3)},
		row{at: 200 * ms, ev: exited(3, 9), want: "1#3 exit; 1 failed", next: never, reason: "exit code 9; 2 restarts within 1m0s are used up"})
	playAll(t, []script{
		{name: "used up", policy: two, rows: failed},
		{name: "none at all", policy: func(p *Policy) { p.Budget = 0 }, rows: rows(boot(1),
			dies(0, 1, 1, "1#1 exit; 1 failed"))},
		{name: "restarts as old as the window are forgotten", policy: two, rows: rows(spent,
			up(100*ms, 1, 3),
			row{at: time.Minute, ev: exited(3, 9), want: "1#3 exit; spawn 1#4; 1 starting", reason: "restarted after exit code 9"})},
		{name: "younger ones are not", policy: two, rows: rows(spent,
			up(100*ms, 1, 3),
			row{at: time.Minute - 1, ev: exited(3, 9), want: "1#3 exit; 1 failed"})},
		{name: "a start by hand is exempt and begins anew", policy: two, rows: rows(failed,
			row{at: time.Second, ev: order(1, Start, 1), want: "spawn 1#4; 1 starting", reason: "started by hand"},
			dies(time.Second, 4, 1, "1#4 exit; spawn 1#5; 1 starting"),
			dies(time.Second, 5, 1, "1#5 exit; 1 backoff; op 1: failed"),
			row{at: 1100 * ms, want: "spawn 1#6; 1 starting"},
			row{at: 1100 * ms, ev: spawned(6)},
			row{at: 1200 * ms, ev: exited(6, 1), want: "1#6 exit; 1 failed"})},
		{name: "a restart by hand too", policy: two, rows: rows(failed,
			row{at: time.Second, ev: order(1, Restart, 1), want: "spawn 1#4; 1 starting", reason: "restarted by hand"},
			up(time.Second, 1, 4)[:2],
			row{at: time.Second, ev: saidReady(4), want: "1 ready; op 1: done", next: never},
			row{at: 2 * time.Second, ev: exited(4, 1), want: "1#4 exit; spawn 1#5; 1 starting"})},
	})
}

// Whatever is said of an exit is said in words that name its cause.
func TestExitInWords(t *testing.T) {
	for want, e := range map[string]Exit{
		"exit code 3":                      {Code: 3},
		"killed by SIGKILL":                {Code: -1, Signal: syscall.SIGKILL},
		"killed by SIGABRT (core dumped)":  {Code: -1, Signal: syscall.SIGABRT, Core: true},
		"killed by signal 40":              {Code: -1, Signal: 40},
		"it could not be started: no file": {Code: -1, Err: "it could not be started: no file"},
	} {
		if e.String() != want {
			t.Errorf("%+v: %q, want %q", e, e, want)
		}
		if strings.Contains(want, "code 0") == e.Failure() {
			t.Errorf("%q: Failure is %v", want, e.Failure())
		}
	}
	if (Exit{}).Failure() {
		t.Error("code 0 is no failure")
	}
}
