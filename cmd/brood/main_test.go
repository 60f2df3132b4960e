package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.com/brood/supervisor/control/client"
)

// The tests run real processes. This binary is brood when it is started under
// that name, and the echo worker and the hoarder under those.

// binDir holds this binary under those names. It is in $PATH.
var binDir string

func TestMain(m *testing.M) {
	path := os.Args[0] // Main shortens it
	testscript.Main(tests{m}, map[string]func(){
		"brood":       func() { os.Args[0] = path; main() },
		"echo-worker": func() { os.Exit(brood([]string{"demo-worker"})) },
		"hoarder":     hoarder,
	})
}

// hoarder connects to a socket so many times, says so after each hundred, and keeps
// them all until its standard input ends.
func hoarder() {
	n, err := strconv.Atoi(os.Args[2])
	var held []net.Conn
	for err == nil && len(held) < n {
		var c net.Conn
		if c, err = connect(os.Args[1], nil); err == nil {
			if held = append(held, c); len(held)%100 == 0 {
				fmt.Println(len(held))
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(held)
}

// tests are what this binary does under its own name.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	path, err := exec.LookPath("brood")
	binDir = filepath.Dir(path)
	for _, p := range []string{filepath.Dir(binDir), binDir, path, filepath.Join(binDir, "echo-worker"), filepath.Join(binDir, "hoarder")} {
		if err == nil {
			err = os.Chmod(p, 0o755) // other users are to run it
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Unsetenv("BROOD_SOCKET")
	os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")) // else each command takes a second
	return t.m.Run()
}

// result is how one command ended.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
}

// shell runs one line of sh with the socket in the environment.
func shell(t testing.TB, socket, line string) result {
	t.Helper()
	return runCmd(t, socket, exec.Command("sh", "-c", line))
}

func runCmd(t testing.TB, socket string, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "BROOD_SOCKET="+socket, "NO_COLOR=1")
	timer := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.WaitDelay = 70 * time.Second // what sh has started may hold its output
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// server is a `brood run` at work.
type server struct {
	t      testing.TB
	cmd    *exec.Cmd
	socket string
	log    *logFile
	ended  chan struct{}
}

// logFile is a file that a process writes to and the test reads.
type logFile struct{ path string }

func (l *logFile) String() string {
	b, _ := os.ReadFile(l.path)
	return string(b)
}

// socketDir is a directory that other users may pass through.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serve starts `brood run` with args and waits until its workers are up. It is
// shut down at the test's end.
func serve(t testing.TB, args ...string) *server {
	t.Helper()
	s := serveOn(t, filepath.Join(socketDir(t), "control.sock"), args...)
	s.awaitHealthy()
	if args[len(args)-1] == "echo-worker" {
		s.awaitHello()
	}
	return s
}

// awaitHello waits until all workers speak: one that takes more than a second to is
// ready before.
func (s *server) awaitHello() {
	s.t.Helper()
	c := client.New(s.socket)
	defer c.Close()
	until(s.t, "all workers are ready and have said HELLO", func() bool {
		st, err := c.Status(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, p := range st.Pools {
			for _, w := range p.Slots {
				if w.SDK == "" || !w.Ready {
					return false
				}
			}
		}
		return true
	})
}

func serveOn(t testing.TB, socket string, args ...string) *server {
	t.Helper()
	return serveProgram(t, filepath.Join(binDir, "brood"), socket, args...)
}

// serveProgram is serveOn by a program that becomes brood.
func serveProgram(t testing.TB, program, socket string, args ...string) *server {
	t.Helper()
	s := &server{t: t, socket: socket, log: &logFile{filepath.Join(t.TempDir(), "log")}, ended: make(chan struct{})}
	f, err := os.Create(s.log.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.cmd = exec.Command(program, append([]string{"run", "--socket", socket}, args...)...)
	s.cmd.Env = append(os.Environ(), "NO_COLOR=1")
	s.cmd.Stdout, s.cmd.Stderr = f, f
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() { s.stop(syscall.SIGTERM) })
	return s
}

// awaitHealthy waits until all workers are ready.
func (s *server) awaitHealthy() {
	s.t.Helper()
	if r := shell(s.t, s.socket, "brood health --wait 60s"); r.code != 0 {
		s.t.Fatalf("%v\n%v", r, s.log)
	}
}

// stop ends the supervisor and returns its exit code.
func (s *server) stop(sig syscall.Signal) int {
	s.t.Helper()
	s.cmd.Process.Signal(sig)
	select {
	case <-s.ended:
	case <-time.After(60 * time.Second):
		s.cmd.Process.Kill()
		s.t.Errorf("brood run did not stop: %v", s.log)
	}
	return s.cmd.ProcessState.ExitCode()
}

// need skips the test by name when a program is missing.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	need(t, "setpriv")
}

// asOther runs line as a user who is neither root nor the supervisor's.
func asOther(t testing.TB, socket, line string) result {
	t.Helper()
	return runCmd(t, socket, exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", line))
}

func wantIn(t testing.TB, where, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%s: got %q, want it to contain %q", where, text, want)
	}
}

// until waits for what must come to be.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	if !comes(f) {
		t.Fatalf("still not so that %s", what)
	}
}

// comes looks again and again, for half a minute, and reports whether f was true.
// It is for what nobody announces: all else is waited for where it happens.
func comes(f func() bool) bool { return comesWithin(30*time.Second, f) }

func comesWithin(limit time.Duration, f func() bool) bool {
	for end := time.Now().Add(limit); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
