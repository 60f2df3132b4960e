package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A container's brood is process 1 of its pid namespace: what nobody waits for
// becomes its child, signals without a handler do not reach it, and when it ends
// everything does.

// container is a `brood run` that is process 1 of a namespace of its own. cmd is
// the unshare(1) around it, whose exit code is brood's.
type container struct {
	*server
	pid int // of brood, as seen from outside
}

func startContainer(t *testing.T, args ...string) *container {
	t.Helper()
	need(t, "unshare", "nsenter")
	if os.Geteuid() != 0 {
		t.Skip("only root can make a pid namespace")
	}
	socket := filepath.Join(socketDir(t), "control.sock")
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	words := append([]string{"--pid", "--fork", "--mount-proc", "--kill-child", "brood", "run", "--socket", socket}, args...)
	s := &server{t: t, cmd: exec.Command("unshare", words...), socket: socket, log: &logFile{log}, ended: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), "NO_COLOR=1")
	s.cmd.Stdout, s.cmd.Stderr = f, f
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	c := &container{server: s}
	t.Cleanup(func() {
		if c.pid != 0 {
			syscall.Kill(c.pid, syscall.SIGKILL)
		}
		s.cmd.Process.Kill()
		<-s.ended
	})
	return c
}

// start waits until the workers are up, and finds brood.
func (c *container) start() *container {
	c.t.Helper()
	c.awaitHealthy()
	all := childrenOf(c.cmd.Process.Pid)
	if len(all) != 1 {
		c.t.Fatalf("unshare has the children %v", all)
	}
	c.pid = all[0].pid
	if r := shell(c.t, c.socket, "brood status -o json"); !strings.Contains(r.stdout, `"pid": 1,`) && !strings.Contains(r.stdout, `"pid":1,`) {
		c.t.Fatalf("brood is not process 1: %v", r)
	}
	return c
}

// signal is sent from outside; the exit code is what a container's would be.
func (c *container) signal(sig syscall.Signal) (code int) {
	c.t.Helper()
	if err := syscall.Kill(c.pid, sig); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-c.ended:
	case <-time.After(60 * time.Second):
		c.t.Fatalf("%v did not end it: %v", sig, c.log)
	}
	c.pid = 0
	return c.cmd.ProcessState.ExitCode()
}

// child is a process as /proc/PID/stat has it.
type child struct {
	pid   int
	name  string
	state string
}

// childrenOf looks into /proc.
func childrenOf(parent int) (all []child) {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		b, _ := os.ReadFile(path)
		open, end := strings.IndexByte(string(b), '('), strings.LastIndexByte(string(b), ')')
		if open < 0 || end < open {
			continue // it has just gone
		}
		f := strings.Fields(string(b[end+1:]))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:open])))
		if len(f) > 1 && f[1] == strconv.Itoa(parent) {
			all = append(all, child{pid, string(b[open+1 : end]), f[0]})
		}
	}
	return all
}

// stateOf is a process's state, proc_pid_stat(5); empty: it is gone.
func stateOf(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	rest := string(b[bytes.LastIndexByte(b, ')')+1:])
	state, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	return state
}

func isZombie(pid int) bool { return stateOf(pid) == "Z" }

// isGone tells whether a process has ended, reaped or not.
func isGone(pid int) bool { return stateOf(pid) == "" || isZombie(pid) }

func environHas(pid int, kv string) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return slices.Contains(strings.Split(string(b), "\x00"), kv)
}

func TestPID1ReapsOrphans(t *testing.T) {
	// The worker leaves a hundred processes behind that have ended, or will.
	c := startContainer(t, "-n", "2", "--name", "web", "--", "sh", "-c",
		`i=0; while [ $i -lt 50 ]; do (sleep 0.0$i & true & :); i=$((i+1)); done; exec sleep 1000`).start()
	// So does somebody who looks in from outside, as docker exec does.
	enter := exec.Command("nsenter", "-t", strconv.Itoa(c.pid), "-p", "-m", "sh", "-c", `(sleep 0.05 & true & :); (setsid sleep 0.05 & :)`)
	if out, err := enter.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var left []child
	comes(func() bool { // a worker may still be at it
		left = childrenOf(c.pid)
		return len(left) == 2 && left[0].name == "sleep" && left[1].name == "sleep" && left[0].state != "Z" && left[1].state != "Z"
	})
	if len(left) != 2 {
		t.Errorf("left are %+v, and not the two workers", left)
	}
	for _, p := range left {
		if p.name != "sleep" || p.state == "Z" {
			t.Errorf("left is %+v", p)
		}
	}
	// A worker whose exit code an eager wait(-1) would have stolen.
	r := shell(t, c.socket, "brood status")
	wantIn(t, "status", r.stdout, "web: 2 of 2 ready")
	if code := c.signal(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d: %v", code, c.log)
	}
}

func TestPID1PassesSignalsOn(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "brood.yaml")
	text := fmt.Sprintf("pools:\n  web:\n    command: [sh, -c, 'trap \"echo asked >%s/asked; exit 0\" TERM; touch %[1]s/up; while :; do sleep 0.01; done']\n    ready: {exec: [test, -e, %[1]s/up]}\n", dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		os.Remove(filepath.Join(dir, "asked"))
		os.Remove(filepath.Join(dir, "up"))
		c := startContainer(t, "-c", file).start()
		if sig == syscall.SIGTERM {
			syscall.Kill(c.pid, syscall.SIGUSR2)
			until(t, "SIGUSR2 upgrades", func() bool { return strings.Contains(c.log.String(), "has taken over") })
			syscall.Kill(c.pid, syscall.SIGHUP)
			until(t, "SIGHUP reloads", func() bool { return strings.Contains(c.log.String(), "kind=unchanged") })
		}
		if code := c.signal(sig); code != 0 {
			t.Errorf("%v: exit %d: %v", sig, code, c.log)
		}
		if _, err := os.Stat(filepath.Join(dir, "asked")); err != nil {
			t.Errorf("%v: the worker was not asked to stop: %v\n%v", sig, err, c.log)
		}
	}
}

func TestPID1ExitCodes(t *testing.T) {
	c := startContainer(t, "-c", "/nonexistent.yaml")
	<-c.ended
	if code := c.cmd.ProcessState.ExitCode(); code != exitUsage {
		t.Errorf("a configuration that is not there: exit %d: %v", code, c.log)
	}
	c = startContainer(t, "-n", "1", "--", "echo-worker").start()
	if r := shell(t, c.socket, "brood shutdown"); r.code != 0 {
		t.Error(r)
	}
	<-c.ended
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("brood shutdown: exit %d: %v", code, c.log)
	}
	c.pid = 0
	// A worker that ignores TERM, and an operator who is in a hurry.
	c = startContainer(t, "-n", "1", "--name", "web", "--", "sh", "-c", `trap "" TERM; while :; do sleep 1; done`).start()
	syscall.Kill(c.pid, syscall.SIGTERM)
	until(t, "the stop has begun", func() bool { return strings.Contains(c.log.String(), "a second signal kills") })
	if code := c.signal(syscall.SIGTERM); code != 0 {
		t.Errorf("a second TERM: exit %d: %v", code, c.log)
	}
}
