package control

import (
	"bufio"
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

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// The test binary plays other processes: with this variable set it is no test but
// the actor of that name.
const actorVariable = "BROOD_CONTROL_TEST_ACTOR"

var actors = map[string]func(in *bufio.Scanner, args []string){
	"supervisor": actSupervisor,
	"client":     actClient,
	"intruder":   actIntruder,
	"shortage":   actShortage,
}

func init() {
	if act := actors[os.Getenv(actorVariable)]; act != nil {
		act(bufio.NewScanner(os.Stdin), os.Args[1:])
		os.Exit(0)
	}
}

// actSupervisor listens and closes as it is told, and says how it went.
func actSupervisor(in *bufio.Scanner, args []string) {
	var l *Listener
	for in.Scan() {
		switch in.Text() {
		case "listen":
			var err error
			l, err = Listen(ListenConfig{Path: args[0], every: time.Hour})
			switch {
			case err == nil:
				fmt.Println("won")
			case errors.Is(err, ErrInUse):
				fmt.Println("in use:", err)
			default:
				fmt.Println("failed:", err)
			}
		case "close":
			fmt.Println("closed:", l.Close())
		}
	}
}

// actClient connects once and keeps the connection until its stdin ends.
func actClient(in *bufio.Scanner, args []string) {
	c, err := net.Dial("unix", args[0])
	if err != nil {
		fmt.Println("refused:", errors.Is(err, unix.EACCES), err)
		return
	}
	fmt.Println("connected")
	in.Scan()
	c.Close()
}

// actIntruder tries to connect to every socket it can see in a directory until its
// stdin ends. It says when it sees the first, and at the end how many let it in.
func actIntruder(in *bufio.Scanner, args []string) {
	stop, entered := make(chan struct{}), make(chan int)
	fmt.Println("ready")
	go func() {
		seen, n := 0, 0
		for {
			select {
			case <-stop:
				entered <- n
				return
			default:
			}
			entries, _ := os.ReadDir(args[0])
			for _, e := range entries {
				if e.Type()&os.ModeSocket == 0 {
					continue
				}
				if seen++; seen == 1 {
					fmt.Println("seen")
				}
				if c, err := net.Dial("unix", filepath.Join(args[0], e.Name())); err == nil {
					n++
					c.Close()
				}
			}
		}
	}()
	in.Scan()
	close(stop)
	fmt.Println("entered:", <-entered)
}

// actShortage runs out of descriptors while two clients come: accept4(2) takes a
// descriptor before it finds nobody there, so one may be left over for the first.
func actShortage(in *bufio.Scanner, args []string) {
	lines := newLogLines()
	l, err := Listen(ListenConfig{Path: args[0], Log: lines.logger(), every: time.Hour})
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64})
	first := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		first <- c
	}()
	var hoard []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			fmt.Println("full:", errors.Is(err, unix.EMFILE))
			break
		}
		hoard = append(hoard, f)
	}
	select {
	case line := <-lines.c:
		fmt.Println("short:", strings.Contains(line, "cannot accept"))
	case <-time.After(patience):
		fmt.Println("never short")
		return
	}
	in.Scan()
	for _, f := range hoard {
		f.Close()
	}
	c := <-first
	c2, err := l.Accept()
	fmt.Println("accepted:", c != nil && c2 != nil, err)
	fmt.Println("closed:", l.Close(), "more lines:", len(lines.c))
}

// An actor is another process, as seen by the test that drives it.
type actor struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner

	deadline interface{ SetReadDeadline(time.Time) error } // of out
}

// start runs an actor, as another user if cred is not nil. The test's end ends it.
func start(t *testing.T, cred *syscall.Credential, name string, args ...string) *actor {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" {
		exe = "/proc/self/exe" // needs no way to the file, which another user has not got
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), actorVariable+"="+name)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{t, cmd, in, bufio.NewScanner(out), out.(*os.File)}
	t.Cleanup(a.kill)
	return a
}

func (a *actor) say(line string) {
	a.t.Helper()
	if _, err := io.WriteString(a.in, line+"\n"); err != nil {
		a.t.Fatal(err)
	}
}

func (a *actor) hear() string {
	a.t.Helper()
	a.deadline.SetReadDeadline(time.Now().Add(patience))
	if !a.out.Scan() {
		a.t.Fatalf("the actor is gone: %v", a.out.Err())
	}
	return a.out.Text()
}

func (a *actor) expect(prefix string) {
	a.t.Helper()
	if got := a.hear(); !strings.HasPrefix(got, prefix) {
		a.t.Fatalf("the actor said %q, want %q", got, prefix)
	}
}

func (a *actor) kill() {
	a.in.Close()
	a.cmd.Process.Kill()
	a.cmd.Wait()
}

// nobody is another user: uid and gid 65534, with these supplementary groups.
func nobody(t *testing.T, groups ...uint32) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run a process as another user")
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534, Groups: groups}
}

// newPath is a control socket's path in a directory that is not made yet. Its
// parent is open for everybody to look into.
func newPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "brood-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "run", "control.sock")
}

// listen is Listen without the looks that come by themselves.
func listen(t *testing.T, cfg ListenConfig) *Listener {
	t.Helper()
	if cfg.every == 0 {
		cfg.every = time.Hour
	}
	l, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// talk has a client connect and checks that it is l it reaches.
func talk(t *testing.T, l *Listener) {
	t.Helper()
	c := dial(t, l.plan.path)
	defer c.Close()
	greet(t, c, 1)
	if got := serveOne(t, l); got != 1 {
		t.Fatalf("reached another client: %d", got)
	}
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func greet(t *testing.T, c net.Conn, number byte) {
	t.Helper()
	if _, err := c.Write([]byte{number}); err != nil {
		t.Fatal(err)
	}
}

// serveOne accepts a client and reads the number it greets with.
func serveOne(t *testing.T, l *Listener) byte {
	t.Helper()
	late := time.AfterFunc(patience, func() { l.Close() })
	defer late.Stop()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b [1]byte
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return b[0]
}

// logLines is a log that can be waited for, line by line.
type logLines struct{ c chan string }

func newLogLines() logLines { return logLines{make(chan string, 100)} }

func (l logLines) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l.c <- string(line)
	}
	return len(p), nil
}

func (l logLines) logger() hclog.Logger { return hclog.New(&hclog.LoggerOptions{Output: l}) }

// wait returns the next line that has text in it.
func (l logLines) wait(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line := <-l.c:
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			t.Fatalf("the log never said %q", text)
		}
	}
}

// patience is how long a test waits for what does not come before it fails.
const patience = 20 * time.Second

// noLeaks fails the test if goroutines or descriptors are left when it ends. To be
// called first, so that what the test cleans up is cleaned up before.
func noLeaks(t *testing.T) {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil { // the runtime's poller opens its own on first use
		r.Close()
		w.Close()
	}
	goroutines, fds := runtime.NumGoroutine(), countFDs(t)
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
			runtime.Gosched() // one that has said it is done may not be gone yet
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%d goroutines before, %d after", goroutines, n)
		}
		if n := countFDs(t); n != fds {
			t.Errorf("%d descriptors before, %d after", fds, n)
		}
	})
}

func countFDs(t *testing.T) int {
	t.Helper()
	dir := "/dev/fd"
	if runtime.GOOS == "linux" {
		dir = "/proc/self/fd"
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			n++
		}
	}
	return n
}

// staleSocket leaves a node behind that nobody listens on, as a supervisor does
// that is killed.
func staleSocket(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	ul, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ul.SetUnlinkOnClose(false)
	ul.Close()
}
