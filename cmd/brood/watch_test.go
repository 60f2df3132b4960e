package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
)

// TestStatusWatch: in a pipe table follows table, over a supervisor that is
// killed and one that takes its place, and Ctrl-C is how it ends.
func TestStatusWatch(t *testing.T) {
	args := []string{"-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker"}
	s := serve(t, args...)
	all := follow(t, s.socket, "brood status --watch=100ms")
	one := follow(t, s.socket, "brood status -w web/2")
	lines := follow(t, s.socket, "brood status --watch=100ms -o json web")
	for range 2 { // each table is a whole one
		all.await("web: 2 of 2 ready, ok")
		for _, want := range []string{"", "WORKER ", "web/1#1 ", "web/2#1 ", ""} {
			if line := all.next(); !strings.HasPrefix(line, want) || want == "" && line != "" {
				t.Errorf("got %q, want %q", line, want)
			}
		}
	}
	one.await("worker", "web/2#1")
	for range 2 {
		var p api.Pool
		if err := json.Unmarshal([]byte(lines.next()), &p); err != nil || p.Ready != 2 {
			t.Errorf("%+v, %v", p, err)
		}
	}
	if r := shell(t, s.socket, "kill -9 $(brood send web/1 pid)"); r.code != 0 {
		t.Fatal(r)
	}
	all.await("web/1#2 ", "ready", "KILL")

	s.stop(syscall.SIGKILL)
	until(t, "it says that the supervisor has gone", func() bool { return strings.Contains(all.said.String(), "the supervisor has gone") })
	serveOn(t, s.socket, args...).awaitHealthy()
	all.await("web/1#1 ", "ready")
	one.await("worker", "web/2#1")
}

// TestStatusWatchEnds: what can't be shown, and how it must not be asked.
func TestStatusWatchEnds(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"brood status -w web/9", exitNotFound, "there is no web/9"},
		{"brood status -w 500ms", exitUsage, "--watch=500ms"},
		{"brood status --watch=10ms", exitUsage, "100ms or more"},
		{"brood status --watch=often", exitUsage, "--watch"},
		{"brood status -w --timeout 0", exitUsage, "--timeout"},
		{"brood --socket /no/such/socket status -w", exitNoSupervisor, "brood run"},
	} {
		if r := shell(t, s.socket, "timeout 20 "+tt.line); r.code != tt.code || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%s: want exit %d and %q, got %v", tt.line, tt.code, tt.want, r)
		}
	}
	need(t, "bash")
	const killed = 128 + int(syscall.SIGPIPE) // by a reader that has gone
	r := shell(t, s.socket, `bash -c 'timeout 20 brood status --watch=100ms | head -1; exit ${PIPESTATUS[0]}'`)
	if r.stdout != "web: 1 of 1 ready, ok\n" || r.code != killed {
		t.Error(r)
	}
}

// TestStatusWatchOnTerminal: it is drawn in place, within the window, and the
// terminal is given back.
func TestStatusWatchOnTerminal(t *testing.T) {
	need(t, "tmux")
	s := serve(t, "-n", "3", "--name", "web", "--log-level", "error", "--", "echo-worker")
	window := openTerminal(t, s.socket, "echo before; brood status --watch=100ms", 80, 24)
	window.await("web: 3 of 3", "web/3#1")
	for i, n := range []int{5, 2} { // the table grows and shrinks
		if r := shell(t, s.socket, fmt.Sprint("brood scale web ", n)); r.code != 0 {
			t.Fatal(r)
		}
		var screen string
		if !comes(func() bool { // those that leave may be seen to
			screen = window.screen()
			return strings.Contains(screen, fmt.Sprintf("web: %d of %[1]d", n)) && strings.Count(screen, "web/") == n
		}) || strings.Contains(screen, "before") || strings.Count(screen, "WORKER") != 1 {
			t.Errorf("%d: not in place:\n%s", i, screen)
		}
	}
	if r := shell(t, s.socket, "brood scale web 20"); r.code != 0 {
		t.Fatal(r)
	}
	window.tmux("resize-window", "-x", "60", "-y", "10")
	screen := window.await("web: 20 of 20", "web/5#", "15 more lines")
	for _, title := range strings.Fields(strings.Split(screen, "\n")[2]) {
		if !slices.ContainsFunc(statusColumns, func(c term.Column) bool { return c.Title == title }) {
			t.Errorf("%q is no title:\n%s", title, screen)
		}
	}
	if strings.Contains(screen, "web/6#") {
		t.Errorf("it does not fit:\n%s", screen)
	}
	window.press("C-c")
	if screen := window.await("before", "exit 0"); strings.Contains(screen, "WORKER") {
		t.Errorf("the terminal is not given back:\n%s", screen)
	}
}

// TestStatusWatchEvery two seconds, unless it is said how often.
func TestStatusWatchEvery(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	lines := follow(t, s.socket, "brood status -w -o json").lines
	<-lines
	begin := time.Now()
	<-lines
	if took := time.Since(begin); took < time.Second {
		t.Errorf("it came again after %v", took)
	}
}
