package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScripts runs examples/scripts: clients that know nothing of brood but a
// socket and a line.
func TestScripts(t *testing.T) {
	need(t, "/usr/bin/python3", "socat")
	scripts, err := filepath.Abs("../../examples/scripts")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "brood.yaml")
	write := func(workers int, env string) {
		t.Helper()
		text := fmt.Sprintf("pools: {web: {command: [echo-worker], workers: %d, env: {MODE: %s}, commands: {flush: {exec: [echo, flushed]}}}}\n", workers, env)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(2, "a")
	s := serve(t, "-c", config, "--log-level", "error")
	run := func(line string) result {
		t.Helper()
		return shell(t, s.socket, "cd "+t.TempDir()+" && PATH="+scripts+":$PATH; "+line)
	}

	t.Run("dump.py", func(t *testing.T) {
		r := run("dump.py web/2 stats state.json && cat state.json")
		var state struct{ PID int }
		if err := json.Unmarshal([]byte(r.stdout), &state); r.code != 0 || err != nil || state.PID == 0 {
			t.Error(r, err)
		}
		// An answer that is an error is none to keep, whatever a worker calls it.
		for _, ask := range []string{"web/2 nosuch", "web/9 stats", "web/2 fail", "'web/2 stats;' stats"} {
			r := run("echo before >state.json; dump.py " + ask + " state.json; echo $?; cat state.json")
			if r.stdout != "1\nbefore\n" || r.stderr == "" {
				t.Errorf("dump.py %s: %v", ask, r)
			}
		}
		if r := run("dump.py web/2 'echo error:' text.json && cat text.json"); r.code != 0 || r.stdout != `"error:"` {
			t.Errorf("an answer that looks like an error: %v", r)
		}
	})
	t.Run("reload.py", func(t *testing.T) {
		write(3, "b")
		if r := run("reload.py"); r.code != 0 {
			t.Error(r)
		}
		until(t, "three new workers are there", func() bool {
			text := say(t, s.socket, "show workers\n")
			return strings.Contains(text, "web/1#2 ") && strings.Contains(text, "web/2#2 ") && strings.Contains(text, "web/3#")
		})
		until(t, "all is well", func() bool { return strings.HasPrefix(say(t, s.socket, "health\n"), "ok: web 3/3") })
	})
	t.Run("flush.sh", func(t *testing.T) {
		if r := run("flush.sh"); r.code != 0 || strings.Count(r.stdout, ": flushed\n") != 3 {
			t.Error(r)
		}
		if r := run("flush.sh nosuch"); r.code != 1 || !strings.HasPrefix(r.stdout, "error: not_found: ") {
			t.Error(r)
		}
		say(t, s.socket, "stop web/3 wait\n")
		if r := run("flush.sh web"); r.code != 1 || strings.Count(r.stdout, ": flushed\n") != 2 {
			t.Error(r)
		}
	})
	t.Run("check_brood.py", func(t *testing.T) {
		for _, tt := range []struct {
			before, line string
			code         int
			want         string
		}{
			{"", "check_brood.py", 1, "BROOD WARNING - web 2/3 ready"},
			{"start web/3 wait\n", "check_brood.py", 0, "BROOD OK - web 3/3 ready"},
			{"", "check_brood.py web/1", 0, "BROOD OK - "},
			{"", "check_brood.py db", 3, "BROOD UNKNOWN - not_found: "},
			{"stop web/* wait\n", "check_brood.py", 2, "BROOD CRITICAL - web 0/3 ready"},
			{"", "BROOD_SOCKET=/nonexistent check_brood.py", 2, "BROOD CRITICAL - no supervisor"},
		} {
			if tt.before != "" {
				say(t, s.socket, tt.before)
			}
			if r := run(tt.line); r.code != tt.code || !strings.HasPrefix(r.stdout, tt.want) {
				t.Errorf("%s: want %d %q, got %v", tt.line, tt.code, tt.want, r)
			}
		}
	})
}
