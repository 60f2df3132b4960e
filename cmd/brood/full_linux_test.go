package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What it is like when there are too many connections, too few descriptors, or
// workers that do not answer.

// serveSmall is a supervisor that may have few descriptors open, hence few
// connections: 32, of which 2 are reserved, and 4 in the lobby.
func serveSmall(t *testing.T, args ...string) *abused {
	t.Helper()
	dir := socketDir(t)
	script := filepath.Join(dir, "brood")
	text := fmt.Sprintf("#!/bin/sh\nulimit -n 128\nexec %s \"$@\"\n", filepath.Join(binDir, "brood"))
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	s := serveProgram(t, script, filepath.Join(dir, "control.sock"), append(args, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")...)
	s.awaitHealthy()
	return &abused{s, countFDs(t, s)}
}

// occupy opens connections that each have a command under way. One that comes
// while another is still leaving may be told that the house is full.
func (a *abused) occupy(t *testing.T, n int) []net.Conn {
	t.Helper()
	var held []net.Conn
	until(t, fmt.Sprintf("%d commands are under way", n), func() bool {
		for i := len(held); i < n; i++ {
			c := dial(t, a.socket)
			fmt.Fprintf(c, "timeout 1h @web/%d sleep 1h\n", i%2+1)
			held = append(held, c)
		}
		if busy(t, a, 1)+busy(t, a, 2) == n {
			return true
		}
		held = slices.DeleteFunc(held, hasAnswer)
		return false
	})
	return held
}

// hasAnswer reports whether a client has been told something.
func hasAnswer(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, err := c.Read(make([]byte, 1))
	c.SetReadDeadline(time.Now().Add(60 * time.Second))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.Close()
	return n > 0 || err != nil
}

func busy(t *testing.T, a *abused, slot int) int {
	n, err := strconv.Atoi(field(say(t, a.socket, fmt.Sprintf("show worker web/%d\n", slot)), "inflight"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFullHouse: when every place is taken by somebody who waits for a worker,
// what looks is answered, the rest is told, and a place that becomes free is
// given away.
func TestFullHouse(t *testing.T) {
	a := serveSmall(t)
	held := a.occupy(t, 32)
	const restartHTTP = "POST /v1/workers/web/1/commands/echo HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	for text, want := range map[string]string{
		"health\n":          "ok: web 2/2 ready\n",
		"status\n":          "brood ",
		"whoami\n":          "role admin",
		"@web/1 echo a\n":   "error: overloaded: ",
		"restart web\n":     "error: overloaded: ",
		getHealth:           "HTTP/1.1 200 OK",
		restartHTTP:         "HTTP/1.1 503 Service Unavailable",
		"json ping web/1\n": `{"outcome":"overloaded"`,
	} {
		for range 20 {
			wantIn(t, text, say(t, a.socket, text), want)
		}
	}
	// The lobby, too, is full of the idle: they make room.
	for range 20 {
		dial(t, a.socket)
	}
	if got := say(t, a.socket, "health\n"); got != "ok: web 2/2 ready\n" {
		t.Errorf("lobby: %q", got)
	}
	held[0].Close()
	until(t, "a place is free", func() bool { return say(t, a.socket, "@web/1 echo a\n") == "a\n" })
	for _, c := range held {
		c.Close()
	}
	a.well(t)
}

// crowdScript connects as often as it is told, says what it is told, and prints
// how many connections were hung up on, and the answer to one more question.
const crowdScript = `
import socket, sys, os, select
n, text = int(sys.argv[1]), sys.argv[2].encode()
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["BROOD_SOCKET"])
    return s
held = []
for i in range(n):
    s = connect()
    s.sendall(text)
    held.append(s)
s = connect()
s.sendall(b"health\n")
s.shutdown(socket.SHUT_WR)
answer = b"".join(iter(lambda: s.recv(4096), b"")).decode()
gone = 0
for s in held:
    r, _, _ = select.select([s], [], [], 0)
    gone += bool(r)
print(gone, answer, flush=True)
sys.stdin.read()
`

// TestOneUserDoesNotTakeEveryPlace: somebody else's idle connections cost only
// themselves, and the reserved places stay free.
func TestOneUserDoesNotTakeEveryPlace(t *testing.T) {
	needRoot(t)
	need(t, "/usr/bin/python3")
	a := serveSmall(t, "--mode", "0666")
	own := dial(t, a.socket) // idle, and the oldest of all
	io.WriteString(own, "version\n")
	crowd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", crowdScript, "100", "")
	crowd.Env = append(os.Environ(), "BROOD_SOCKET="+a.socket)
	in, err := crowd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := crowd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := crowd.Start(); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(out).ReadString('\n')
	gone, answer, _ := strings.Cut(got, " ")
	if n, nerr := strconv.Atoi(gone); err != nil || nerr != nil || n < 70 || n > 75 || answer != "ok: web 2/2 ready\n" {
		t.Errorf("the crowd: %q, %v; about 30 of its 101 connections may be there", got, err)
	}
	if got := say(t, a.socket, "@web/1 echo a\n"); got != "a\n" {
		t.Errorf("root beside the crowd: %q", got)
	}
	own.CloseWrite()
	if got := ended(t, own); !strings.HasPrefix(got, "brood ") {
		t.Errorf("root's idle connection was evicted for another user: %q", got)
	}
	in.Close()
	crowd.Wait()
	a.well(t)
}

// TestNoDescriptors: with none left nobody is locked out for good: the idle go,
// and when all are busy the newcomer is served once one has left. Accepting does
// not spin meanwhile.
func TestNoDescriptors(t *testing.T) {
	a := abuse(t)
	pid := a.cmd.Process.Pid
	limit := unix.Rlimit{Cur: uint64(a.fds + 6), Max: uint64(a.fds + 6)}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	var idle []net.Conn
	for range 50 {
		idle = append(idle, dial(t, a.socket))
	}
	for range 20 {
		if got := say(t, a.socket, "health\n"); got != "ok: web 2/2 ready\n" {
			t.Fatalf("among the idle: %q", got)
		}
	}
	for _, c := range idle {
		c.Close()
	}
	a.flat(t)
	held := a.occupy(t, 5)
	last := dial(t, a.socket)
	io.WriteString(last, "timeout 1h @web/1 sleep 1h\n")
	waiting := dial(t, a.socket)
	io.WriteString(waiting, "health\n")
	waiting.CloseWrite()
	before := cpuTicks(t, pid)
	// What is used meanwhile is measured.
	time.Sleep(500 * time.Millisecond)
	if used := cpuTicks(t, pid) - before; used > 25 { // of 50 at 100 a second
		t.Errorf("%d ticks of CPU in half a second of waiting", used)
	}
	for _, c := range held {
		c.Close()
	}
	if got := ended(t, waiting); got != "ok: web 2/2 ready\n" {
		t.Errorf("who waited: %q", got)
	}
	last.Close()
	a.well(t)
}

// cpuTicks is the CPU time of a process, in ticks (proc(5)).
func cpuTicks(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return user + system
}

// TestStoppedSupervisor: 5,000 clients connect and ask while the supervisor is
// stopped (SIGSTOP); each is answered when it goes on.
func TestStoppedSupervisor(t *testing.T) {
	a := abuse(t)
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur < 5100 {
		t.Skip("this user may not open 5,000 descriptors")
	}
	a.cmd.Process.Signal(syscall.SIGSTOP)
	var wg, connected sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	const crowd, queue = 5000, 4000 // what the backlog holds; who comes later waits in connect(2)
	begun := make(chan struct{}, crowd)
	for i := range crowd {
		wg.Add(1)
		client := func() {
			defer wg.Done()
			got := askHealth(a.socket, i%2 == 0, begun, func() {
				if i < queue {
					connected.Done()
				}
			})
			// Who was taken for idle in a full house, in the moment between its words
			// being read and being begun with, comes again.
			for deadline := time.Now().Add(60 * time.Second); got == nothing && time.Now().Before(deadline); {
				got = askHealth(a.socket, i%2 == 0, nil, func() {})
			}
			mu.Lock()
			answers[got]++
			mu.Unlock()
		}
		if i < queue {
			connected.Add(1)
		}
		go client()
		if i == queue-1 {
			connected.Wait()
		}
	}
	for range crowd {
		<-begun
	}
	a.cmd.Process.Signal(syscall.SIGCONT)
	wg.Wait()
	if answers["ok"] != crowd {
		t.Errorf("%v", answers)
	}
	a.well(t)
}

const nothing = "nothing"

// askHealth asks for the health in one of the two tongues. It is "ok", nothing,
// or what came instead. asked is called when all is sent, or nothing can be.
func askHealth(socket string, http bool, begun chan<- struct{}, asked func()) string {
	c, err := connect(socket, begun)
	if err != nil {
		asked()
		return err.Error()
	}
	defer c.Close()
	if http {
		io.WriteString(c, "GET /v1/health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
	} else {
		io.WriteString(c, "health\n")
		c.(*net.UnixConn).CloseWrite()
	}
	asked()
	c.SetReadDeadline(time.Now().Add(60 * time.Second))
	b, err := io.ReadAll(c)
	switch {
	case strings.Contains(string(b), "ok") && err == nil:
		return "ok"
	case len(b) == 0 && (err == nil || errors.Is(err, syscall.ECONNRESET)):
		return nothing
	}
	return fmt.Sprintf("%.100q %v", b, err)
}
