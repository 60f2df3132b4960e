package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain runs this binary as one of the programs when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "as-program" {
		program := programs[os.Args[2]]
		if program == nil {
			log.Fatalf("no test program %q", os.Args[2])
		}
		program()
		return
	}
	os.Exit(m.Run())
}

// programs are what this binary can be.
var programs = map[string]func(){
	// elsewhere leaves its own process group, in which a child stays behind.
	"elsewhere": func() {
		stays, goes := exec.Command("sleep", "1000"), exec.Command("sleep", "1000")
		goes.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := errors.Join(stays.Start(), goes.Start()); err != nil {
			log.Fatal(err)
		}
		if err := unix.Setpgid(0, goes.Process.Pid); err != nil {
			log.Fatal(err)
		}
		fmt.Println(goes.Process.Pid)
		select {}
	},
}

func asProgram(name string) []string { return []string{os.Args[0], "as-program", name} }

// spec is a command with the environment of the test and no input. It fails
// the test if what it needs is missing.
func spec(t testing.TB, command ...string) Spec {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	return Spec{Command: command, Env: os.Environ(), Stdin: null, Stdout: null, Stderr: os.Stderr}
}

// begin starts s on a thread that lives on, and has it gone by the test's end.
func begin(t testing.TB, s Spec) *Process {
	t.Helper()
	spawner := NewSpawner(nil)
	t.Cleanup(spawner.Close)
	p, err := spawner.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.Signal(unix.SIGKILL) == nil {
			_, _ = p.Wait()
		}
	})
	return p
}

// output gives s a pipe as stdout and returns what reads it.
func output(t testing.TB, s *Spec) *bufio.Reader {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Stdout = w
	t.Cleanup(func() { r.Close(); w.Close() })
	return bufio.NewReader(r)
}

func line(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	text, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

// pidIn reads a line that is one.
func pidIn(t testing.TB, r *bufio.Reader) int {
	t.Helper()
	pid, err := strconv.Atoi(line(t, r))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestExitTellsHowItEnded(t *testing.T) {
	for _, c := range []struct {
		script string
		want   Exit
	}{
		{"exit 0", Exit{}},
		{"exit 7", Exit{Code: 7}},
		{"exit 255", Exit{Code: 255}},
		{"kill -TERM $$", Exit{Code: -1, Signal: syscall.SIGTERM}},
		{"kill -KILL $$", Exit{Code: -1, Signal: syscall.SIGKILL}},
	} {
		got, err := begin(t, spec(t, "sh", "-c", c.script)).Wait()
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.script, got, err, c.want)
		}
	}
}

func TestSignalAfterTheEnd(t *testing.T) {
	p := begin(t, spec(t, "sleep", "1000"))
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e, err := p.Wait(); err != nil || e.Signal != syscall.SIGTERM {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, ErrEnded) {
		t.Errorf("once reaped: %v", err)
	}
}

// Reaping takes no exit code from a child that another part of the program
// waits for.
func TestReapingNeverSteals(t *testing.T) {
	const n = 20
	ours := make([]*Process, n)
	theirs := make([]*exec.Cmd, n)
	for i := range n {
		script := fmt.Sprintf("exit %d", i)
		ours[i] = begin(t, spec(t, "sh", "-c", script))
		theirs[i] = exec.Command("sh", "-c", script)
		if err := theirs[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if e, err := ours[i].Wait(); err != nil || e.Code != i {
			t.Errorf("ours: %+v, %v, want code %d", e, err, i)
		}
		_ = theirs[i].Wait()
		if code := theirs[i].ProcessState.ExitCode(); code != i {
			t.Errorf("theirs: code %d, want %d", code, i)
		}
	}
}

// What can't be started says what is missing, not just that something is.
func TestStartSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Spec)
		is     error
		words  string
	}{
		{func(s *Spec) { s.Command = []string{"/no/such/program"} }, fs.ErrNotExist, "/no/such/program"},
		{func(s *Spec) { s.Command = []string{"no-such-program"}; s.Env = []string{"PATH=/no:/such"} }, nil, `"no-such-program" is not in PATH (/no:/such)`},
		{func(s *Spec) { s.Command = []string{text} }, fs.ErrPermission, text + " may not be executed"},
		{func(s *Spec) { s.Command = []string{dir} }, nil, dir + " is no program but a d"},
		{func(s *Spec) { s.Dir = dir + "/missing" }, fs.ErrNotExist, "working directory: stat " + dir + "/missing"},
		{func(s *Spec) { s.Dir = text }, unix.ENOTDIR, "working directory: chdir " + text},
	} {
		s := spec(t, "sleep", "1000")
		c.change(&s)
		_, err := Start(s)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("got %v, want %q", err, c.words)
		}
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	program, text := filepath.Join(bin, "tool"), filepath.Join(bin, "text")
	if err := errors.Join(os.Mkdir(bin, 0o755), os.WriteFile(program, nil, 0o755), os.WriteFile(text, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(bin)
	for _, c := range []struct {
		name, dir, path string
		want            string // empty: it is not found
	}{
		{"tool", "", bin, program},
		{"tool", "", "/no/such:" + bin, program},
		{"tool", "", "/no/such", ""},
		{"tool", "", "", ""},
		{"tool", "", ".:", ""}, // never from the working directory
		{"text", "", bin, ""},
		{"bin", "", dir, ""},
		{program, "/", "/no/such", program},
		{"./tool", "", "/no/such", program},
		{"bin/tool", dir, "/no/such", program},
		{"./tool", dir, bin, ""},
		{"./text", "", bin, ""},
	} {
		got, err := LookPath(c.name, c.dir, []string{"PATH=/overridden", "PATH=" + c.path})
		if (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("%q from %q, PATH=%q: %q, %v, want %q", c.name, c.dir, c.path, got, err, c.want)
		}
	}
}
