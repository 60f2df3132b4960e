package docs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// session is one document being held. It has a shell from its first line on that
// is typed.
type session struct {
	t    *testing.T
	path string // of the document
	sh   *shell
}

// setups make a new shell ready: what is typed before the document's first line.
var setups = map[string]string{
	"tree": "", // links to everything in the tree, brood and the examples in the PATH
	"demo": "brood demo &",
	"echo": "brood run -n 4 --name web -- echo &",
}

// open makes sure that there is a shell for b.
func (s *session) open(b block) {
	if s.sh != nil && b.setup == "" {
		return
	}
	s.end()
	s.sh = startShell(s.t)
	if line := setups[b.setup]; line != "" {
		s.sh.run(line)
	}
}

func (s *session) end() {
	if s.sh != nil {
		s.sh.close()
		s.sh = nil
	}
}

// example is what is typed at one "$ " and what is printed below it.
type example struct {
	line    int
	command string
	want    []string
}

// examples are those of a console block. A line that begins with "> " goes on
// with the command of the line above.
func examples(b block) (all []example, err error) {
	for i, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		last := len(all) - 1
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, example{b.line + i, command, nil})
		} else if last < 0 {
			return nil, fmt.Errorf("%d: a block of console begins with a line that is typed: $ …", b.line)
		} else if more, ok := strings.CutPrefix(line, "> "); ok && len(all[last].want) == 0 {
			all[last].command += "\n" + more
		} else {
			all[last].want = append(all[last].want, line)
		}
	}
	return all, nil
}

// console types a block's lines and compares what they print.
func (s *session) console(b block) {
	all, err := examples(b)
	if err != nil {
		s.t.Fatalf("%s:%v", s.path, err)
	}
	if b.before != "" {
		s.sh.run(b.before)
	}
	for _, e := range all {
		got := s.sh.runReady(e.command)
		if diff := compare(e.want, got); diff != "" {
			s.t.Fatalf("%s:%d: $ %s\n%s\ngot:\n%s\nlog:\n%s", s.path, e.line, e.command, diff, strings.Join(got, "\n"), s.sh.log())
		}
	}
}

// script runs a block of sh, of which every line must succeed.
func (s *session) script(b block) {
	got := s.sh.run("( set -e\n" + b.before + b.text + ") && echo " + succeeded)
	if n := len(got); n == 0 || got[n-1] != succeeded {
		s.t.Fatalf("%s:%d: this does not end well:\n%s\nlog:\n%s", s.path, b.line, strings.Join(got, "\n"), s.sh.log())
	}
}

const succeeded = "--- every line succeeded"

// shell is a bash that a document's lines are typed into. Its directory has links
// to everything in the tree, and what is written there does no harm to it.
type shell struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    *bufio.Writer
	out   *bufio.Scanner
	dir   string
	limit *time.Timer
}

// Documents say this; the session has a socket of its own.
const documentedSocket = "/run/brood/control.sock"

func startShell(t *testing.T) *shell {
	t.Helper()
	dir, err := os.MkdirTemp("", "bd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name[0] != '.' && name != "bin" {
			if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"bin", "run"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", "--norc")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "PWD="+dir, "PATH="+binDir+":"+os.Getenv("PATH"),
		"BROOD_SOCKET="+filepath.Join(dir, "run", "control.sock"), "XDG_RUNTIME_DIR="+filepath.Join(dir, "run"),
		"PYTHONPATH="+filepath.Join(root, "worker/python"), "PYTHONDONTWRITEBYTECODE=1", "NODE_PATH="+filepath.Join(root, "worker/node"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &shell{t, cmd, bufio.NewWriter(in), bufio.NewScanner(out), dir,
		time.AfterFunc(3*time.Minute, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })}
}

// close ends the shell and what runs in it.
func (sh *shell) close() {
	if sh.socket() != "" {
		sh.run("brood shutdown >/dev/null 2>&1")
	}
	fmt.Fprintln(sh.in, "exit")
	sh.in.Flush()
	syscall.Kill(-sh.cmd.Process.Pid, syscall.SIGTERM) // jobs in the background
	sh.cmd.Wait()
	sh.limit.Stop()
}

// socket is the path of the session's supervisor's; empty: there is none.
func (sh *shell) socket() string {
	for _, name := range []string{"run", "bin"} {
		path := filepath.Join(sh.dir, name, "control.sock")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// background is a line that starts a job and does not say where its output goes.
var background = regexp.MustCompile(`^([^>]*[^>&\s])\s*&$`)

// startsBrood is a line that starts a supervisor in the background.
var startsBrood = regexp.MustCompile(`(?m)^brood (run|demo)\b.*&$`)

const endOfExample = "--- end of example"

// run types one command and returns what it prints until the shell is back. A
// supervisor that it starts in the background writes to brood.log unless the line
// says otherwise, and has until its workers are ready: people type slowly.
func (sh *shell) run(command string) []string {
	sh.t.Helper()
	typed := strings.ReplaceAll(background.ReplaceAllString(command, "$1 >>brood.log 2>&1 &"), documentedSocket, "$BROOD_SOCKET")
	if startsBrood.MatchString(command) {
		typed += "\nbrood health --wait 30s >/dev/null"
	}
	fmt.Fprintf(sh.in, "{ %s\n} 2>&1; echo; echo '%s'\n", typed, endOfExample)
	if err := sh.in.Flush(); err != nil {
		sh.t.Fatal(err)
	}
	var got []string
	for sh.out.Scan() {
		line := sh.out.Text()
		if line == endOfExample {
			for len(got) > 0 && got[len(got)-1] == "" {
				got = got[:len(got)-1]
			}
			return got
		}
		got = append(got, sh.documented(line))
	}
	sh.t.Fatalf("the shell ended at %q; the log:\n%s", command, sh.log())
	return nil
}

// slowHello is said of a worker that was so slow to say HELLO, as interpreters on a
// busy machine are, that it was taken for a plain one, until it is ready after all.
var slowHello = regexp.MustCompile(`it is a plain worker|it has said HELLO and is awaited to say READY`)

// runReady is run, and again whenever a worker is ready after all that was slow to say
// HELLO.
func (sh *shell) runReady(command string) []string {
	sh.t.Helper()
	ctx, cancel := context.WithTimeout(sh.t.Context(), 20*time.Second)
	defer cancel()
	readyAfterAll := errors.New("said HELLO, and READY")
	for seen, late := uint64(0), ""; ; {
		got := sh.run(command)
		if !slowHello.MatchString(strings.Join(got, "\n")) {
			return got
		}
		c := client.New(sh.socket())
		err := c.FollowEvents(ctx, seen, "", func(got api.Events) error {
			for _, e := range got.Events {
				seen = e.Seq
				switch {
				case e.Kind != "state":
				case strings.Contains(e.Text, "HELLO"):
					late = e.Target
				case e.Target == late && strings.HasPrefix(e.Text, "ready"):
					return readyAfterAll
				}
			}
			return nil
		})
		c.Close()
		if !errors.Is(err, readyAfterAll) {
			sh.t.Logf("%s: no worker says HELLO: %v", command, err)
			return got
		}
	}
}

// documented is a line of output as a document would have it.
func (sh *shell) documented(line string) string {
	return strings.ReplaceAll(line, filepath.Join(sh.dir, "run", "control.sock"), documentedSocket)
}

func (sh *shell) log() string {
	var all strings.Builder
	for _, name := range []string{"brood.log", "bin/brood.log"} {
		b, _ := os.ReadFile(filepath.Join(sh.dir, name))
		all.Write(b)
	}
	return all.String()
}

// compare holds what a document shows against what was printed. "…" stands for
// anything within a line, alone on a line for any lines. Process ids and times
// vary, so a number of four digits or more, a time with its unit, and the width of
// what stands in columns are compared by form alone.
func compare(want, got []string) string {
	for len(want) > 0 && want[len(want)-1] == "" {
		want = want[:len(want)-1]
	}
	var re strings.Builder
	re.WriteString(`(?s)^`)
	for i, w := range want {
		last := i == len(want)-1
		switch {
		case w == "…" && last:
			re.WriteString(`.*`)
		case w == "…":
			re.WriteString(`(?:[^\n]*\n)*?`)
		case last:
			re.WriteString(lineForm(w))
		default:
			re.WriteString(lineForm(w) + `\n`)
		}
	}
	re.WriteString(`$`)
	if regexp.MustCompile(re.String()).MatchString(strings.Join(got, "\n")) {
		return ""
	}
	return "want:\n" + strings.Join(want, "\n")
}

// amount is a span of time such as 1m30s, 2.5ms or 17µs.
var amount = regexp.MustCompile(`\b(?:\d+(?:\\\.\d+)?(?:h|m|s|ms|µs|us|ns))+\b`)

func lineForm(w string) string {
	w = regexp.QuoteMeta(strings.TrimRight(w, " "))
	w = strings.ReplaceAll(w, "…", "[^\n]*")
	w = amount.ReplaceAllString(w, `(?:\d+(?:\.\d+)?(?:h|m|s|ms|µs|us|ns))+`)
	w = regexp.MustCompile(` {2,}`).ReplaceAllString(w, ` +`)
	return regexp.MustCompile(`\b\d{4,}\b`).ReplaceAllString(w, `\d+`) + ` *`
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		want, got string
		same      bool
	}{
		{"4711", "17", true},
		{"471", "17", false},
		{"up 2s", "up 1m30s", true},
		{"took 1.5ms", "took 17µs", true},
		{"took 1.5ms", "took long", false},
		{"a  b", "a      b", true},
		{"a b", "a  b", false},
		{"a … z", "a b c z", true},
		{"a\n…\nz", "a\nb\nc\nz", true},
		{"a\n…\nz", "a\nz", true},
		{"a\n…", "a\nb\nc", true},
		{"…", "", true},
		{"", "anything", false},
		{"exit code 1", "exit code 2", false},
		{"a.b", "axb", false},
	} {
		if diff := compare(strings.Split(c.want, "\n"), strings.Split(c.got, "\n")); (diff == "") != c.same {
			t.Errorf("%q, %q: %s", c.want, c.got, diff)
		}
	}
}

// TestRunReady: a worker that is ready as a plain one, after a second, says HELLO.
func TestRunReady(t *testing.T) {
	t.Parallel()
	sh := startShell(t)
	defer sh.close()
	sh.run("brood run -n 1 --name web -- sh -c 'sleep 3; exec brood demo-worker' &")
	if got := sh.runReady("brood send web/1 echo hello"); len(got) != 1 || got[0] != "hello" {
		t.Errorf("%q\n%s", got, sh.log())
	}
}
