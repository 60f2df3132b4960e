package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var capture = flag.Bool("capture", false, "write what top looks like to docs/top.txt")

// terminal is a real one: a pane of tmux.
type terminal struct {
	t    testing.TB
	name string // of tmux's own server
}

// openTerminal runs a command of sh in a terminal of that size.
func openTerminal(t testing.TB, socket, command string, width, height int) *terminal {
	t.Helper()
	need(t, "tmux")
	term := &terminal{t, fmt.Sprintf("brood-%d-%d", os.Getpid(), time.Now().UnixNano())}
	cmd := exec.Command("tmux", "-L", term.name, "-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height),
		"BROOD_SOCKET="+socket+" sh -c 'trap : INT; "+command+"; echo \"exit $?\"; exec sleep 1000'")
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("tmux", "-L", term.name, "kill-server").Run() })
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-L", term.name}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

func (term *terminal) press(keys ...string) {
	term.t.Helper()
	term.tmux(append([]string{"send-keys"}, keys...)...)
}

func (term *terminal) screen() string { return term.tmux("capture-pane", "-p") }

// await waits until all of want is on the screen, and returns it.
func (term *terminal) await(want ...string) (screen string) {
	term.t.Helper()
	var missing string
	there := func() bool {
		screen, missing = term.screen(), ""
		for _, w := range want {
			if !strings.Contains(screen, w) {
				missing = w
			}
		}
		return missing == ""
	}
	if !comes(there) {
		term.t.Fatalf("%q does not come onto the screen:\n%s", missing, screen)
	}
	return screen
}

// tab presses Tab until all of want is on the screen: a supervisor that is slow to
// answer is not waited for.
func (term *terminal) tab(want ...string) {
	term.t.Helper()
	there := func() bool {
		screen := term.screen()
		return !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(screen, w) })
	}
	for range 30 {
		term.press("Tab")
		if comesWithin(time.Second, there) {
			return
		}
	}
	term.t.Fatalf("%q is not offered:\n%s", want, term.screen())
}

// TestTop: every key in a real terminal, a supervisor that goes and comes back,
// a window that changes its size.
func TestTop(t *testing.T) {
	need(t, "tmux")
	s := serve(t, "-n", "3", "--name", "web", "--log-level", "error", "--", "sh", "-c", `echo "$BROOD_WORKER is up"; exec echo-worker`)
	term := openTerminal(t, s.socket, "brood top --interval 100ms", 80, 24)
	term.await("web 3/3 ok", "> web/1#1", "web/3#1", "CMD/S", "q quit")
	for line := range strings.Lines(term.screen()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	term.press("j", "r")
	term.await("restart web/2?  y yes")
	term.press("y")
	term.await("restart web/2: done")
	term.await("> web/2#2")
	term.press("l")
	screen := term.await("web/2 prints", "web/2 is up")
	if *capture {
		shell(t, s.socket, "for i in $(seq 300); do brood send web echo x >/dev/null; done")
		if err := os.WriteFile("../../docs/top.txt", []byte(strings.TrimRight(term.screen(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(screen, "\n") != 24 {
		t.Errorf("the screen has not 24 lines:\n%s", screen)
	}
	term.press("l", "+")
	term.await("scale web from 3 to 4?")
	term.press("y")
	term.await("web 4/4 ok", "web/4#1")
	term.press("-")
	term.await("scale web from 4 to 3?")
	term.press("x")
	term.await("left as it is")
	term.press("s")
	term.await("stop web/2?")
	term.press("y")
	term.await("web 3/4", "stopped")
	term.press("s")
	term.await("start web/2?")
	term.press("y")
	term.await("web 4/4 ok")
	term.press("/", "web/3", "Enter")
	term.await("> web/3#1", "only web/3")
	term.press("Escape")
	term.await("web/1#1")
	term.press("?")
	term.await("any key goes back")
	term.press("x")
	term.tmux("resize-window", "-x", "130", "-y", "30")
	term.await("SERVED", "PING")
	term.tmux("resize-window", "-x", "40", "-y", "12")
	term.await("web/1#1", "UPTIME")
	term.tmux("resize-window", "-x", "80", "-y", "24")

	s.stop(syscall.SIGKILL)
	term.await("trying again", "web/1#1")
	next := serveOn(t, s.socket, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	next.awaitHealthy()
	term.await("web 2/2 ok")
	term.press("q")
	term.await("exit 0")
}

// TestTopElsewhere: no terminal, no supervisor.
func TestTopElsewhere(t *testing.T) {
	r := shell(t, "/no/such/socket", "brood top")
	if r.code != exitUsage || !strings.Contains(r.stderr, "brood status") {
		t.Error(r)
	}
	openTerminal(t, "/no/such/socket", "brood top", 80, 24).await("no supervisor", "exit 4")
}

// TestSendOnTerminal: a bar while it lasts, the answer alone when it is over.
func TestSendOnTerminal(t *testing.T) {
	need(t, "tmux")
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	term := openTerminal(t, s.socket, "brood send --timeout 60s web/1 work 2s", 80, 24)
	term.await("█", "░", "%")
	if screen := term.await("exit 0"); strings.Contains(screen, "░") {
		t.Errorf("the bar stays:\n%s", screen)
	}
	term = openTerminal(t, s.socket, "brood send web/1 sleep 1h", 80, 24)
	inflight := func(n int) func() bool {
		return func() bool {
			return strings.Contains(shell(t, s.socket, "brood status -o json web/1").stdout, fmt.Sprintf(`"inflight":%d`, n))
		}
	}
	until(t, "the command is under way", inflight(1))
	term.press("C-c")
	term.await("canceled", "was told to stop", "exit 1")
	until(t, "the worker has given the command up", inflight(0))
}

// TestAnswerOnTerminal: what a worker answers does nothing to a terminal, whatever it
// calls it; elsewhere it is as it came.
func TestAnswerOnTerminal(t *testing.T) {
	need(t, "tmux")
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	const red = `$(printf "\033[31mRED")`
	for line, want := range map[string]string{
		`brood send web echo "` + red + `"`:                      `\x1b[31mRED`,
		`brood send --all web echo "` + red + `"`:                `web/1#1: \x1b[31mRED`,
		`printf "\033[31mRED" | brood send --data - web echo`:    `\x1b[31mRED`,
		`brood send --text "` + red + `" web echo`:               `\x1b[31mRED`,
		`brood send web echo "$(printf "a\tb\nc\rd\033c\nend")"`: "a       b\nc\\x0dd\\x1bc\nend\n",
	} {
		term := openTerminal(t, s.socket, line, 80, 24)
		if screen := term.await("exit 0"); !strings.Contains(screen, want) {
			t.Errorf("%s: want %q, got\n%s", line, want, screen)
		}
		if text := term.tmux("capture-pane", "-p", "-e"); strings.Contains(text, "\x1b[31m") {
			t.Errorf("%s: it is red: %q", line, text)
		}
		if r := shell(t, s.socket, line); !strings.Contains(r.stdout, "\x1b") {
			t.Errorf("%s: in a pipe: %v", line, r)
		}
	}
}

// TestStatusOnTerminal: the table fits and is in colour, unless NO_COLOR.
func TestStatusOnTerminal(t *testing.T) {
	need(t, "tmux")
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	killed := `kill -9 $(brood send web/1 pid); until brood status web/1 -o json | grep -q '"generation":2'; do :; done; brood health --wait 20s`
	if r := shell(t, s.socket, killed); r.code != 0 {
		t.Fatal(r)
	}
	for _, width := range []int{60, 80, 132} {
		term := openTerminal(t, s.socket, "env -u NO_COLOR brood status", width, 24)
		screen := term.await("exit 0")
		if strings.Count(strings.TrimSpace(screen), "\n") != 5 {
			t.Errorf("%d columns: a line is broken:\n%s", width, screen)
		}
		wants := []string{"STATE", "UPTIME", "RESTARTS"}
		if width >= 80 {
			wants = append(wants, "BUSY", "LAST EXIT", "KILL ")
		}
		for _, want := range wants {
			wantIn(t, fmt.Sprint(width, " columns"), screen, want)
		}
		wantIn(t, "colour", term.tmux("capture-pane", "-p", "-e"), "\x1b[32mready")
	}
	term := openTerminal(t, s.socket, "NO_COLOR=1 brood status", 80, 24)
	term.await("exit 0")
	if text := term.tmux("capture-pane", "-p", "-e"); strings.Contains(text, "\x1b[32m") {
		t.Errorf("NO_COLOR is not heard: %q", text)
	}
}

// TestCompletion: each shell completes a target and a command of the supervisor
// that runs, and nothing where none does.
func TestCompletion(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	dir := t.TempDir()
	for _, tt := range []struct{ name, start string }{
		{"bash", `PS1="$ " exec bash --norc --noprofile -i`},
		{"zsh", `PS1="$ " exec zsh -f -i`},
		{"fish", `HOME=` + dir + ` XDG_CONFIG_HOME=` + dir + ` exec fish --no-config -i`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			need(t, "tmux", tt.name)
			script := filepath.Join(dir, tt.name)
			if r := shell(t, s.socket, "brood completion "+tt.name+" >"+script); r.code != 0 {
				t.Fatal(r)
			}
			term := openTerminal(t, s.socket, strings.ReplaceAll(tt.start, "'", ""), 100, 30)
			switch tt.name {
			case "bash":
				term.press(`for f in /usr/share/bash-completion/bash_completion; do [ -r $f ] && . $f; done; . `+script+`; echo "set"up`, "Enter")
			case "zsh":
				term.press(`autoload -U compinit; compinit -u -D; . `+script+`; echo "set"up`, "Enter")
			default:
				term.press(`function fish_prompt; echo -n "> "; end; source `+script+`; echo "set"up`, "Enter")
			}
			term.await("setup")
			term.press("clear", "Enter")
			term.press("brood stat", "Tab", "web/2", "Enter")
			term.await("state     ready")
			term.press("clear", "Enter")
			term.press("brood send web/1 ec")
			term.tab("send web/1 echo")
			term.press("completed", "Enter")
			term.await("completed")
			term.press("clear", "Enter")
			term.press("brood ping w")
			term.tab("web/1", "web/2")
		})
	}
	r := shell(t, "/no/such/socket", "brood __complete send '' 2>/dev/null")
	if r.code != 0 || strings.TrimSpace(r.stdout) != ":4" {
		t.Errorf("without a supervisor: %v", r)
	}
}
