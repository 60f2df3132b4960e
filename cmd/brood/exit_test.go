package main

import (
	"strings"
	"syscall"
	"testing"
)

// TestExitCodes has a row for each exit code and many ways to get a sentence out
// of brood; testdata/script has those of wrong usage. Every row is a real process.
func TestExitCodes(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	if r := shell(t, s.socket, "brood stop web/2"); r.code != 0 {
		t.Fatal(r)
	}
	for _, tt := range []struct {
		line string
		code int
		want string // in what it prints
	}{
		{"brood status", exitDone, "web/1#1"},
		{"brood send web/1 echo a b", exitDone, "a b"},
		{"brood send web/1 fail nope", exitError, "brood: nope"},
		{"brood send web/1 echo", exitDone, ""},
		{"brood send --timeout 0s web/1 echo", exitUsage, "more than 0"},
		{"brood send web/0 echo", exitUsage, "1 or more"},
		{"brood run -n 0 -- echo-worker", exitUsage, "1 or more"},
		{"brood run -- ./no-such-program", exitUsage, "no-such-program"},
		{"brood run --log-level loud -- echo-worker", exitUsage, "trace, debug, info"},
		{"brood run --mode 999 -- echo-worker", exitUsage, "octal"},
		{"brood check -c /no/such.yaml", exitUsage, "/no/such.yaml"},
		{"brood send web/2 echo", exitDown, "it is stopped: stopped by hand"},
		{"brood --socket /no/such/socket status", exitNoSupervisor, "brood run"},
		{"brood send web/9 echo", exitNotFound, "slots 1 to 2"},
		{"brood send web/0x1 echo", exitUsage, "no number of a slot"},
		{"brood send wbe echo", exitNotFound, "the pools are web"},
		{"brood send web/1 nosuch", exitNotFound, "it has echo, sleep, fail, pid, stats"},
		{"brood send 'web/1#99' echo", exitNotFound, "web/1#1 is there"},
		{"brood status web/9", exitNotFound, "slots 1 to 2"},
		{"brood send --timeout 300ms web/1 sleep 1h", exitTimeout, "web/1#1: sleep: timeout: "},
		{"brood send 'web/*' echo x", exitDown, "web/1#1: x"},
		{"brood health", healthDegraded, "BROOD WARNING - web 1/2 ready"},
		{"brood health --min-ready 2", healthCritical, "BROOD CRITICAL"},
		{"brood health nosuch", healthUnknown, "BROOD UNKNOWN"},
		{"brood --socket /no/such/socket health", healthCritical, "no supervisor"},
		{"brood --socket /no/such/socket health --lsb", lsbNotRunning, "no supervisor"},
		{"brood health --lsb web/2", lsbDead, "CRITICAL"},
		{"brood version", exitDone, "worker protocol 1"},
		{"brood whoami", exitDone, "admin"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			r := shell(t, s.socket, tt.line)
			if r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
				t.Errorf("want exit %d and %q, got %v", tt.code, tt.want, r)
			}
		})
	}
}

// TestExitLost: the worker dies while it is at work.
func TestExitLost(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	r := shell(t, s.socket, `pid=$(brood send web/1 pid)
		brood send web/1 sleep 1h & call=$!
		while [ "$(brood status web/1 -o json | grep -c '"inflight":1')" != 1 ]; do :; done
		kill -9 "$pid"; wait "$call"`)
	if r.code != exitLost || !strings.Contains(r.stderr, "started: unknown") {
		t.Errorf("want exit %d, got %v", exitLost, r)
	}
}

// TestSecondSupervisorIsRefused: it says so at once, exits 2, and the first
// does not notice. What a killed one leaves is no hindrance.
func TestSecondSupervisorIsRefused(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--", "echo-worker")
	before := shell(t, s.socket, "brood send web/1 pid").stdout
	r := shell(t, s.socket, "brood run -- echo-worker")
	if r.code != exitUsage {
		t.Errorf("want exit %d, got %v", exitUsage, r)
	}
	wantIn(t, "the second", r.stderr, s.socket)
	if after := shell(t, s.socket, "brood send web/1 pid").stdout; after != before {
		t.Errorf("the first was touched: worker %s before, %s after", before, after)
	}
	s.stop(syscall.SIGKILL)
	next := serveOn(t, s.socket, "-n", "1", "--name", "web", "--", "echo-worker")
	next.awaitHealthy()
}

// TestForeignUser: the file mode keeps another uid out; where it does not, that
// uid may look and no more, and each refusal is told.
func TestForeignUser(t *testing.T) {
	needRoot(t)
	closed := serve(t, "-n", "1", "--name", "web", "--", "echo-worker")
	r := asOther(t, closed.socket, "brood status")
	if r.code != exitDenied {
		t.Errorf("mode 0600: want exit %d, got %v", exitDenied, r)
	}
	r = asOther(t, closed.socket, "brood health")
	if r.code != healthUnknown {
		t.Errorf("health, mode 0600: want exit %d, got %v", healthUnknown, r)
	}
	open := serve(t, "-n", "1", "--name", "web", "--mode", "0666", "--", "echo-worker")
	for line, code := range map[string]int{
		"brood status": exitDone, "brood health": healthOK, "brood whoami": exitDone,
		"brood send web/1 echo hi": exitDenied, "brood restart web/1": exitDenied, "brood shutdown": exitDenied, "brood ping web/1": exitDenied,
	} {
		if r := asOther(t, open.socket, line); r.code != code {
			t.Errorf("mode 0666: %s: want exit %d, got %v", line, code, r)
		}
	}
	r = asOther(t, open.socket, "brood whoami")
	wantIn(t, "whoami", r.stdout, "uid 65534")
	wantIn(t, "whoami", r.stdout, "viewer")
	r = asOther(t, open.socket, `curl -s -o /dev/null -w '%{http_code}' --unix-socket "$BROOD_SOCKET" -d '[]' http://b/v1/workers/web/1/commands/echo`)
	wantIn(t, "curl", r.stdout, "403")
	until(t, "the audit line is there", func() bool { return strings.Contains(open.log.String(), "uid=65534") })
	wantIn(t, "audit", open.log.String(), "uid=65534")
	wantIn(t, "audit", open.log.String(), "outcome=\"denied\"")
}

// TestSignals: the first asks, the second kills.
func TestSignals(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--", "sh", "-c", `trap "" TERM; while :; do sleep 1; done`)
	s.cmd.Process.Signal(syscall.SIGTERM)
	until(t, "it says how to hurry it", func() bool {
		select {
		case <-s.ended:
			t.Fatal("it ended at the first signal though its workers ignore SIGTERM")
		default:
		}
		return strings.Contains(s.log.String(), "a second signal kills")
	})
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d: %v", code, s.log)
	}
}

// TestHangupChangesNothing: SIGHUP must not end a supervisor whose terminal has
// gone.
func TestHangupChangesNothing(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--", "echo-worker")
	s.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "it says what it makes of SIGHUP", func() bool { return strings.Contains(s.log.String(), "SIGHUP") })
	if r := shell(t, s.socket, "brood send web/1 echo hi"); r.code != 0 {
		t.Error(r)
	}
}

// TestOutputIsPrefixed: what workers print comes out behind their slot's name.
func TestOutputIsPrefixed(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exec sleep 1000")
	for _, line := range []string{"web/1 | to stdout\n", "web/1 | to stderr\n"} {
		until(t, "the log has "+line, func() bool { return strings.Contains(s.log.String(), line) })
	}
}
