package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lineage is a program under test, and those that take its place.
type lineage struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
	kept  []string // read, and not yet asked for
}

// softLimit is that of open files of a lineage: less than the runtime raises it
// to, and than is handed over.
const softLimit = 500

// found starts a lineage, which is gone at the end of the test.
func found(t *testing.T, env ...string) *lineage {
	t.Helper()
	script := fmt.Sprintf(`ulimit -Sn %d && exec "$@"`, softLimit)
	l := &lineage{t: t, cmd: exec.Command("sh", append([]string{"-c", script, "sh"}, asProgram("generations")...)...), lines: make(chan string, 1024)}
	l.cmd.Env = append(os.Environ(), env...)
	l.cmd.Stderr = os.Stderr
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l.cmd.Stdout = w
	if l.stdin, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
		for range l.lines { // to the end: the children have died too
		}
		out.Close()
	})
	l.await("generation 1 of pid " + strconv.Itoa(l.cmd.Process.Pid))
	return l
}

func (l *lineage) order(format string, args ...any) {
	l.t.Helper()
	if _, err := fmt.Fprintf(l.stdin, format+"\n", args...); err != nil {
		l.t.Fatal(err)
	}
}

// await returns what comes after prefix in the line that has it, whichever lines
// come before.
func (l *lineage) await(prefix string) string {
	l.t.Helper()
	for i, text := range l.kept {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			l.kept = append(l.kept[:i], l.kept[i+1:]...)
			return rest
		}
	}
	deadline := time.After(time.Minute)
	for {
		select {
		case text, ok := <-l.lines:
			if !ok {
				l.t.Fatalf("it has ended (%v); want %q after %q", l.cmd.Wait(), prefix, l.kept)
			}
			if rest, is := strings.CutPrefix(text, prefix); is {
				return rest
			}
			if strings.HasPrefix(text, "failed") {
				l.t.Fatal(text)
			}
			l.kept = append(l.kept, text)
		case <-deadline:
			l.t.Fatalf("no line %q; there are %q", prefix, l.kept)
		}
	}
}

// next has it execute itself by an order.
func (l *lineage) next(number int, order string) {
	l.t.Helper()
	l.order("%s", order)
	l.arrive(number)
}

func (l *lineage) arrive(number int) {
	l.t.Helper()
	l.await(fmt.Sprintf("generation %d of pid %d", number, l.cmd.Process.Pid))
}

// start has it start a child by an order, which must have no signal blocked.
func (l *lineage) start(order string) *child {
	l.t.Helper()
	l.order("%s", order)
	pid, err := strconv.Atoi(strings.TrimSpace(l.await("started")))
	if err != nil {
		l.t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { unix.Close(fd) })
	if set := maskOf(fmt.Sprintf("/proc/%d/status", pid), "SigBlk"); set != 0 {
		l.t.Errorf("%s: it has signals blocked: %#x", order, set)
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil || limit.Cur != softLimit {
		l.t.Errorf("%s: its limit of open files is %d, %v", order, limit.Cur, err)
	}
	return &child{pid, fd}
}

type child struct{ pid, fd int }

// ended waits for the end up to limit.
func (c *child) ended(t *testing.T, limit time.Duration) bool {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, int(limit.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	}
}

func alive(t *testing.T, children []*child) {
	t.Helper()
	for _, c := range children {
		if c.ended(t, 0) {
			t.Fatalf("child %d has ended", c.pid)
		}
	}
}

// tables are the two ways in which the first generation may have descriptors.
var tables = map[string][]string{"own table": nil, "shared table": {"TEST_SHARED_TABLE=1"}}

// gate makes a FIFO; a child that reads it goes on when open is called.
func gate(t *testing.T) (path string, open func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func() {
		if _, err := f.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
	}
}
