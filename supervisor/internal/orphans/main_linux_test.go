package orphans

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// TestMain runs this binary as another program when the first argument names
// one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "as-program" {
		if err := programs[os.Args[2]](); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	before := measure()
	code := m.Run()
	if code == 0 && !soon(func() bool { return measure().within(before) }) {
		stacks := make([]byte, 64<<10)
		fmt.Printf("leak: before %+v, now %+v\n%s", before, measure(), stacks[:runtime.Stack(stacks, true)])
		code = 1
	}
	os.Exit(code)
}

type usage struct{ goroutines, fds, children int }

func measure() usage {
	if r, w, err := os.Pipe(); err == nil { // the runtime's poller makes its own descriptors at the first use
		r.Close()
		w.Close()
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	return usage{runtime.NumGoroutine(), len(fds), len(childPIDs())}
}

func (u usage) within(limit usage) bool {
	return u.goroutines <= limit.goroutines+1 && u.fds <= limit.fds && u.children <= limit.children // one: os/signal's own
}

// childPIDs are all children of this process, zombies included.
func childPIDs() []int {
	all, _ := pids()
	kept := all[:0]
	for _, pid := range all {
		if _, ours := peekAt(pid); ours {
			kept = append(kept, pid)
		}
	}
	return kept
}

// patience is how long a test waits for what must come.
const patience = 8 * time.Second

// soon waits for what has no event to wait for.
func soon(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		if ok() {
			return true
		}
	}
	return ok()
}

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// house is an Orphans with its leaders and what it has logged.
type house struct {
	*Orphans
	leaders *Leaders
	logged  *journal
}

type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func open(t testing.TB, all bool) *house {
	t.Helper()
	h := &house{leaders: &Leaders{}, logged: &journal{}}
	var err error
	h.Orphans, err = Start(Options{Leaders: h.leaders, All: all, Log: hclog.New(&hclog.LoggerOptions{Output: h.logged})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		if t.Failed() {
			endTheRest()
		}
	})
	return h
}

// endTheRest is for the tests that come after one that has failed.
func endTheRest() {
	for _, pid := range childPIDs() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
}

// leader is a shell that lives until its standard input ends.
type leader struct {
	h     *house
	pid   int
	stdin *os.File
	out   *bufio.Reader
	pipe  *os.File
	code  int
	once  sync.Once
}

// options of a leader beside its script.
type options struct {
	worker     string
	generation uint64
	cgroup     int      // descriptor; 0: none
	third      *os.File // descriptor 3; nil: /dev/null
	mark       string   // empty: Env
}

// start runs a script as package process would.
func (h *house) start(t testing.TB, opt options, script string) *leader {
	t.Helper()
	in, inEnd, out, outEnd := pipes(t)
	defer in.Close()
	defer outEnd.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if opt.third == nil {
		opt.third = null
	}
	l := &leader{h: h, stdin: inEnd, out: bufio.NewReader(out), pipe: out}
	if opt.mark == "" {
		opt.mark = h.Env()
	}
	attr := &syscall.ProcAttr{
		Env: []string{
			"PATH=" + os.Getenv("PATH"), opt.mark,
			"BROOD_WORKER=" + opt.worker, fmt.Sprintf("BROOD_GENERATION=%d", opt.generation),
		},
		Files: []uintptr{in.Fd(), outEnd.Fd(), 2, opt.third.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: opt.cgroup > 0, CgroupFD: opt.cgroup},
	}
	err = h.leaders.Fork(func() (int, error) {
		var err error
		l.pid, err = syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, attr)
		return l.pid, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.end() })
	return l
}

func pipes(t testing.TB) (in, inEnd, out, outEnd *os.File) {
	t.Helper()
	in, inEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, outEnd, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return in, inEnd, out, outEnd
}

// pids reads n numbers that the script has printed.
func (l *leader) pids(t testing.TB, n int) []int {
	t.Helper()
	got := make([]int, n)
	for i := range got {
		if _, err := fmt.Fscan(l.out, &got[i]); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// wait reaps it as package process does, without killing its group, and
// returns its exit code; -1: a signal; -2: its status was stolen.
func (l *leader) wait() int {
	l.once.Do(func() {
		for unix.Waitid(unix.P_PID, l.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		l.h.leaders.Reap(l.pid, func() {
			var ws unix.WaitStatus
			if pid, err := unix.Wait4(l.pid, &ws, 0, nil); err != nil || pid != l.pid {
				l.code = -2
				return
			}
			l.code = ws.ExitStatus()
		})
		l.pipe.Close()
	})
	return l.code
}

// end has it exit, and reaps it.
func (l *leader) end() int {
	l.stdin.Close()
	return l.wait()
}

// kill ends it with its whole group, as a stop does at last.
func (l *leader) kill() int {
	_ = unix.Kill(-l.pid, unix.SIGKILL)
	l.stdin.Close()
	return l.wait()
}

// living are those of pids that are neither gone nor zombies.
func living(pids ...int) (left []int) {
	for _, pid := range pids {
		if p, err := readStat(pid); err == nil && !p.ended() {
			left = append(left, pid)
		}
	}
	return left
}

// there are those of pids that are there at all.
func there(pids ...int) (left []int) {
	for _, pid := range pids {
		if _, err := readStat(pid); err == nil {
			left = append(left, pid)
		}
	}
	return left
}

// adopted waits until all pids are children of this process.
func adopted(t testing.TB, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if !soon(func() bool { p, err := readStat(pid); return err == nil && p.parent == os.Getpid() }) {
			p, err := readStat(pid)
			t.Fatalf("%d was not adopted: %+v, %v", pid, p, err)
		}
	}
}

func needs(t testing.TB, program string) {
	t.Helper()
	for _, dir := range strings.Split(os.Getenv("PATH"), ":") {
		if unix.Access(dir+"/"+program, unix.X_OK) == nil {
			return
		}
	}
	t.Skipf("needs the program %s", program)
}
