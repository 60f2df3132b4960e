package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestExitTable is the table of exit codes, each row by a real process in a
// real situation. docs/cli.md has it for people.
func TestExitTable(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "brood.yaml")
	text := `pools:
  web: {command: [echo-worker], workers: 3}
  one: {command: [echo-worker], dispatch: {queue: 0}}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "-c", path, "--mode", "0666", "--log-level", "error")
	killed := serve(t, "-n", "1", "--log-level", "error", "--", "echo-worker")
	killed.stop(syscall.SIGKILL)
	hung := serve(t, "-n", "1", "--log-level", "error", "--", "echo-worker")
	hung.cmd.Process.Signal(syscall.SIGSTOP)
	defer hung.cmd.Process.Signal(syscall.SIGCONT)
	if r := shell(t, s.socket, "brood stop web/3"); r.code != 0 {
		t.Fatal(r)
	}
	nobody := `setpriv --reuid=65534 --regid=65534 --clear-groups `
	busy := `until brood status -o json %[1]s | grep -q '"inflight":1'; do :; done; `
	for _, tt := range []struct {
		code int
		line string
		want string
	}{
		{exitDone, "brood send web/1 echo hi", "hi\n"},
		{exitDone, "brood send --all one echo hi", "one/1#1: hi\n"},
		{exitDone, "brood status", "web: 2 of 3 ready"},

		{exitError, "brood send web/1 fail no paper", "brood: no paper"},
		{exitError, "brood send --all one fail no paper", "1 of 1 workers did not answer with ok"},

		{exitUsage, "brood send web/1", "brood send TARGET COMMAND"},
		{exitUsage, "brood send '' echo", "it is empty"},
		{exitUsage, "brood send web/1 ..", `".." is no name of a command, which is`},
		{exitUsage, "brood send web/1 .", `"." is no name`},
		{exitUsage, "brood send --all web ''", `"" is no name`},
		{exitUsage, "brood send web/1 größe", `"größe" is no name`},
		{exitUsage, "brood status --no-such-flag", "--no-such-flag"},
		{exitUsage, "brood statsu", `did you mean "status"?`},
		{exitUsage, "brood check -c /no/such.yaml", "/no/such.yaml"},
		{exitUsage, "brood run --socket " + s.socket + " -- echo-worker", s.socket},
		{exitUsage, "brood --host box status", "ssh://user@box"},
		{exitUsage, "brood --color blue status", "auto, always or never"},

		{exitDown, "brood send web/3 echo", "stopped by hand"},
		{exitDown, "brood send --all web echo", "unavailable"},

		{exitNoSupervisor, "brood --socket /no/such/socket status", "brood run"},
		{exitNoSupervisor, "brood --socket " + killed.socket + " status", "nobody listens"},
		{exitNoSupervisor, "brood --socket /dev/null status", "no supervisor"},
		{exitNoSupervisor, "brood --socket /no/such/socket stdio", "no supervisor"},

		{exitDenied, nobody + "brood send web/1 echo hi", "needs the role operator"},
		{exitDenied, nobody + "brood shutdown", "needs the role admin"},
		{exitDenied, "chmod 600 " + hung.socket + "; " + nobody + "brood --socket " + hung.socket + " status", "may not connect"},

		{exitNotFound, "brood send nosuch echo", "the pools are web, one"},
		{exitNotFound, "brood status web/4", "slots 1 to 3"},
		{exitNotFound, "brood send web/1 nosuch", "it has echo"},
		{exitNotFound, "brood send web/1 ../echo", `no command "../echo"; it has echo`},
		{exitNotFound, "brood send 'web/1#9' echo", "web/1#1 is there"},

		{exitTimeout, "brood send --timeout 300ms web/2 sleep 1h", "timeout"},
		{exitTimeout, "brood --socket " + hung.socket + " status --timeout 300ms", "in time"},
		{exitTimeout, "brood --socket " + hung.socket + " restart main --wait 300ms", "in time"},

		{exitLost, "pid=$(brood send web/2 pid); brood send web/2 sleep 1h & " + fmt.Sprintf(busy, "web/2") + "kill -9 $pid; wait $!", "started: unknown"},

		{exitOverloaded, "brood send one/1 sleep 1h & a=$!; brood send one sleep 1h & b=$!; " + fmt.Sprintf(strings.Replace(busy, `"inflight":1`, `"inflight":2`, 1), "one/1") +
			"brood send one echo; code=$?; kill $a $b; exit $code", "overloaded"},

		{healthOK, "until brood health one; do :; done", "BROOD OK"},
		{healthDegraded, "until brood health web | grep 2/3; do :; done; brood health web", "BROOD WARNING"},
		{healthCritical, "brood health web --min-ready 3", "BROOD CRITICAL"},
		{healthCritical, "brood --socket /no/such/socket health", "no supervisor"},
		{healthUnknown, "brood health nosuch", "BROOD UNKNOWN"},
		{healthUnknown, nobody + "brood --socket " + hung.socket + " health", "permission denied"},
		{healthUnknown, "brood --socket " + hung.socket + " health --timeout 300ms", "in time"},
		{healthUnknown, "brood health --min-ready=-1", "a number of workers"},
		{healthUnknown, "brood health --no-such-flag", "--no-such-flag"},

		{lsbRunning, "brood health --lsb one", "BROOD OK"},
		{lsbDead, "brood health --lsb web/3", "BROOD CRITICAL"},
		{lsbNotRunning, "brood --socket /no/such/socket health --lsb", "no supervisor"},
		{lsbUnknown, "brood health --lsb nosuch", "BROOD UNKNOWN"},
		{lsbUnknown, "brood health --lsb --no-such-flag", "--no-such-flag"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			r := shell(t, s.socket, tt.line)
			if r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
				t.Errorf("want exit %d and %q, got %v", tt.code, tt.want, r)
			}
		})
	}
}

// TestHealthUsage: a call that is wrong in itself has a line on standard output, too,
// which is where a monitor looks.
func TestHealthUsage(t *testing.T) {
	for _, args := range []string{"--min-ready=-1", "--min-ready x", "--no-such-flag", "a b", "''", "--timeout=0s", "-o xml", "--color=some", "--host a --socket b"} {
		r := shell(t, "/no/such/socket", "brood health "+args)
		if r.code != healthUnknown || !strings.HasPrefix(r.stdout, "BROOD UNKNOWN - ") || strings.Count(r.stdout, "\n") != 1 {
			t.Errorf("%s: %v", args, r)
		}
	}
}

// TestErrorsAsJSON: with -o json a script reads errors as it reads answers, and
// the exit code is the same.
func TestErrorsAsJSON(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	for _, tt := range []struct {
		code           int
		line           string
		stdout, stderr string // what is in them; empty: nothing is
	}{
		{exitDone, "brood send -o json web/1 echo a b", `{"worker":"web/1#1","codec":"text","outcome":"ok","result":"a b"}` + "\n", ""},
		{exitError, "brood send -o json web/1 fail no", `"outcome":"error"`, `"code":"error","worker":"web/1#1"`},
		{exitNotFound, "brood status -o json web/9", "", `"code":"not_found"`},
		{exitNoSupervisor, "brood --socket /no/such/socket status -o json", "", `"code":"no_supervisor","exit":4`},
		{exitUsage, "brood events -o json --since=-1", "", `"code":"bad_request","exit":2`},
		{exitUsage, "brood status -o json --no-such-flag", "", `"exit":2`},
		{exitUsage, "brood status --no-such-flag -o json", "", `"code":"bad_request","exit":2`},
		{exitUsage, "brood logs -n x --output=json", "", `"code":"bad_request","exit":2`},
		{exitTimeout, "brood send -o json --timeout 300ms web/1 sleep 1h", "", `"code":"timeout"`},
		{healthCritical, "brood --socket /no/such/socket health -o json", `{"health":"critical"`, ""},
		{healthUnknown, "brood health -o json nosuch", `{"health":"unknown"`, ""},
		{healthUnknown, "brood health -o json --min-ready=-1", `{"health":"unknown"`, `"exit":3`},
	} {
		r := shell(t, s.socket, tt.line)
		ok := r.code == tt.code && strings.Contains(r.stdout, tt.stdout) && strings.Contains(r.stderr, tt.stderr)
		if tt.stderr == "" {
			ok = ok && r.stderr == ""
		}
		if !ok {
			t.Errorf("%s: want exit %d, %q and %q, got %v", tt.line, tt.code, tt.stdout, tt.stderr, r)
		}
	}
}

// TestSendStreams: pieces as they come, progress on standard error, NDJSON.
func TestSendStreams(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("\x00\x01bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ line, stdout, stderr string }{
		{"brood send web/1 count 3", "1\n2\n3\n", ""},
		{"brood send web/1 work 100ms 2>/dev/null | wc -l", "1\n", ""},
		{"brood send -q web/1 work 100ms >/dev/null", "", ""},
		{"brood send -o json web/1 count 2 | wc -l", "3\n", ""},
		{"brood send --all web echo x", "web/1#1: x\nweb/2#1: x\n", ""},
		{"brood send --all -o json web echo x | grep -c outcome", "2\n", ""},
		{"brood send --data @" + file + " web/1 nothing 2>&1 | grep -c 'it has'", "1\n", ""},
		{"printf '[\"a\",\"b\"]' | brood send --data - web/1 echo", "", ""},
	} {
		r := shell(t, s.socket, tt.line)
		if r.code != exitDone || tt.stdout != "" && r.stdout != tt.stdout || r.stderr != tt.stderr {
			t.Errorf("%s: %v", tt.line, r)
		}
	}
	r := shell(t, s.socket, "brood send web/1 work 300ms >/dev/null")
	if r.code != exitDone || !strings.Contains(r.stderr, " of ") || strings.Contains(r.stderr, "\x1b") {
		t.Errorf("progress in a pipe is plain lines: %v", r)
	}
}
