package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// upgradable is a brood of its own file, which a test may replace.
type upgradable struct {
	*server
	program, file string
}

// serveUpgradable runs config, or what it names, by a copy of brood.
func serveUpgradable(t *testing.T, config string, args ...string) *upgradable {
	t.Helper()
	u := newUpgradable(t, config, args...)
	u.awaitHealthy()
	return u
}

// newUpgradable does, and does not wait for its workers.
func newUpgradable(t *testing.T, config string, args ...string) *upgradable {
	t.Helper()
	dir := socketDir(t)
	u := &upgradable{program: filepath.Join(dir, "brood"), file: filepath.Join(dir, "brood.yaml")}
	u.install(t)
	u.write(t, config)
	u.server = serveProgram(t, u.program, filepath.Join(dir, "control.sock"), append([]string{"-c", u.file}, args...)...)
	return u
}

// install puts brood where it is started from.
func (u *upgradable) install(t testing.TB) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(binDir, "brood"))
	if err == nil {
		err = os.WriteFile(u.program, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (u *upgradable) write(t testing.TB, config string) {
	t.Helper()
	if err := os.WriteFile(u.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace puts another program in the place of brood's, as an installation does.
func (u *upgradable) replace(text string) {
	u.t.Helper()
	os.Remove(u.program)
	if err := os.WriteFile(u.program, []byte(text), 0o755); err != nil {
		u.t.Fatal(err)
	}
}

func (u *upgradable) upgrade() {
	u.t.Helper()
	if r := shell(u.t, u.socket, "brood upgrade --wait 30s"); r.code != 0 || !strings.HasPrefix(r.stdout, "the supervisor is now brood ") {
		u.t.Fatalf("brood upgrade: %v\n%v", r, u.log)
	}
}

func (u *upgradable) status() api.Status {
	u.t.Helper()
	c := client.New(u.socket)
	defer c.Close()
	st, err := c.Status(u.t.Context())
	if err != nil {
		u.t.Fatalf("%v\n%v", err, u.log)
	}
	return st
}

// workers is each slot's generation and pid, in words.
func workersOf(st api.Status) (all []string) {
	for _, p := range st.Pools {
		for _, w := range p.Slots {
			all = append(all, fmt.Sprintf("%s#%d pid %d %s", w.Target, w.Generation, w.PID, w.State))
		}
	}
	return all
}

const upgradeConfig = `pools:
  web:
    command: [echo-worker]
    workers: 3
    ready: {when: hello}
    restart: {backoff: 10ms..100ms, budget: off}
  plain:
    command: [sh, -c, 'echo begin; trap "exit 0" TERM; i=0; while :; do i=$((i+1)); echo "line $i"; sleep 0.05; done']
    ready: {log: begin}
    commands: {hello: {exec: [echo, hello]}}
  told:
    command: [python3, -c, 'import os,socket,time; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.connect(os.environ["NOTIFY_SOCKET"]); s.send(b"READY=1\nSTATUS=at work"); [(time.sleep(0.1), s.send(b"WATCHDOG=1\nSTATUS=still at work")) for _ in iter(int,1)]']
    ready: {when: notify}
    health: {beat: 5s}
  down:
    command: [echo-worker]
  broken:
    command: [sh, -c, 'echo sorry >&2; exit 78']
    restart: {give_up_codes: [78]}
`

// TestUpgrade: the workers keep pid and generation through upgrades, under load
// from clients of all kinds, of which none sees a failure; what was known before
// is known after, and all goes on as it did.
func TestUpgrade(t *testing.T) {
	need(t, "python3")
	sound, _, _ := strings.Cut(upgradeConfig, "  broken:")
	u := serveUpgradable(t, sound, "--log-level", "warn")
	shell(t, u.socket, "brood stop down")
	u.write(t, upgradeConfig)
	shell(t, u.socket, "brood reload")
	until(t, "the pool broken has failed", func() bool {
		return strings.Contains(shell(t, u.socket, "brood status broken/1 -o json").stdout, `"failed"`)
	})
	before := u.status()
	c := startCrowd(u.socket)
	const upgrades = 3
	for i := range upgrades {
		served := c.ok.Load()
		until(t, "each client gets answers", func() bool { return c.ok.Load() > served+64 })
		u.upgrade()
		if st := u.status(); !slices.Equal(workersOf(st), workersOf(before)) || st.PID != before.PID || st.Started != before.Started {
			t.Fatalf("after upgrade %d:\n%v\nbefore:\n%v", i+1, workersOf(st), workersOf(before))
		}
	}
	served := c.ok.Load()
	until(t, "each client gets answers", func() bool { return c.ok.Load() > served+64 })
	c.end()
	t.Logf("%d commands and %d looks through %d upgrades, %d failed", c.ok.Load(), c.looks.Load(), upgrades, c.failed.Load())
	if first := c.first.Load(); first != nil {
		t.Errorf("a client saw a failure: %s\n%v", *first, u.log)
	}

	// What was known is known.
	lines := strings.Fields(strings.ReplaceAll(shell(t, u.socket, "brood logs plain/1 -n 100000").stdout, "line ", "line"))
	n := 0
	for _, w := range lines {
		if strings.HasPrefix(w, "line") {
			if n++; w != fmt.Sprintf("line%d", n) {
				t.Fatalf("line %d of the output is %q", n, w)
			}
		}
	}
	if r := shell(t, u.socket, "brood status broken/1 -o json"); !strings.Contains(r.stdout, "sorry") || !strings.Contains(r.stdout, `"code": 78`) && !strings.Contains(r.stdout, `"code":78`) {
		t.Errorf("the end of broken/1 is forgotten: %v", r)
	}
	// All goes on.
	for line, want := range map[string]string{
		"brood send plain/1 hello": "hello", "brood send web/2#1 echo on": "on",
		"brood ping web/3":  "web/3",
		"brood start down":  "done",
		"brood status told": "still at work",
	} {
		if r := shell(t, u.socket, line); r.code != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("%s: %v", line, r)
		}
	}
	w := before.Pools[0].Slots[0]
	syscall.Kill(w.PID, syscall.SIGKILL)
	until(t, "a worker that dies is replaced", func() bool {
		s := u.status().Pools[0].Slots[0]
		return s.Generation == w.Generation+1 && s.State == "ready" && s.LastExit != nil && s.LastExit.Signal == "SIGKILL"
	})
	if r := shell(t, u.socket, "brood restart web"); r.code != 0 {
		t.Errorf("brood restart web: %v", r)
	}
	pids := []int{}
	for _, p := range u.status().Pools {
		for _, w := range p.Slots {
			if w.PID != 0 {
				pids = append(pids, w.PID)
			}
		}
	}
	// Law 5 holds for the workers of all programs.
	u.cmd.Process.Kill()
	<-u.ended
	until(t, "no worker outlives the supervisor", func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool { return syscall.Kill(pid, 0) == nil && !isZombie(pid) })
	})
}

func isZombie(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

// crowd is 16 clients that send commands without a pause, each in its own way,
// and some that look.
type crowd struct {
	stop              context.CancelFunc
	wg                sync.WaitGroup
	ok, looks, failed atomic.Int64
	first             atomic.Pointer[string]
}

func startCrowd(socket string) *crowd {
	ctx, cancel := context.WithCancel(context.Background())
	c := &crowd{stop: cancel}
	loop := func(count *atomic.Int64, ask func(i int) error) {
		c.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := ask(i); err != nil {
					c.failed.Add(1)
					text := err.Error()
					c.first.CompareAndSwap(nil, &text)
					continue
				}
				count.Add(1)
			}
		})
	}
	for who := range 4 {
		kept := client.New(socket)
		loop(&c.ok, func(i int) error { // a connection that is kept, and a pool
			text := fmt.Sprintf("kept %d.%d", who, i)
			r, err := kept.Call(context.Background(), "web", "echo", jsonArgs(text))
			return wanted(err, string(r.Message.Payload), text)
		})
		loop(&c.ok, func(i int) error { // one each
			fresh := client.New(socket)
			defer fresh.Close()
			text := fmt.Sprintf("fresh %d.%d", who, i)
			r, err := fresh.Call(context.Background(), fmt.Sprintf("web/%d", 1+i%3), "echo", ipc.Text(text))
			return wanted(err, string(r.Message.Payload), text)
		})
		loop(&c.ok, func(i int) error { // the line protocol, one each
			text := fmt.Sprintf("line%d.%d", who, i)
			got, err := oneLine(socket, "@web/1 echo "+text+"\n")
			return wanted(err, strings.TrimSpace(got), text)
		})
		var lines net.Conn
		loop(&c.ok, func(i int) error { // the line protocol, kept
			if lines == nil {
				var err error
				if lines, err = net.Dial("unix", socket); err != nil {
					return err
				}
			}
			text := fmt.Sprintf("linekept%d.%d", who, i)
			if _, err := fmt.Fprintf(lines, "json @web/2 echo %s\n", text); err != nil {
				return err
			}
			var answer struct{ Outcome, Result string }
			err := json.NewDecoder(lines).Decode(&answer)
			return wanted(err, answer.Result, text)
		})
	}
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	loop(&c.looks, func(int) error {
		resp, err := web.Get("http://brood/v1/status")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return wanted(err, resp.Status, "200 OK")
	})
	followed := client.New(socket)
	c.wg.Go(func() { // events come without gaps
		last := uint64(0)
		err := client.ErrBrokeOff // an upgrade hangs up on who follows
		for errors.Is(err, client.ErrBrokeOff) && ctx.Err() == nil {
			err = followed.FollowEvents(ctx, last, "", func(e api.Event) error {
				if last != 0 && e.Seq != last+1 {
					return fmt.Errorf("event %d comes after %d", e.Seq, last)
				}
				last = e.Seq
				return nil
			})
		}
		if ctx.Err() == nil {
			text := fmt.Sprintf("following events ended: %v", err)
			c.failed.Add(1)
			c.first.CompareAndSwap(nil, &text)
		}
	})
	return c
}

func (c *crowd) end() {
	c.stop()
	c.wg.Wait()
}

func wanted(err error, got, want string) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %q, wanted %q", got, want)
	}
	return err
}

// oneLine asks one thing and hangs up.
func oneLine(socket, line string) (string, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, line); err != nil {
		return "", err
	}
	c.(*net.UnixConn).CloseWrite()
	b, err := io.ReadAll(c)
	return string(b), err
}

// TestUpgradeRefused: what can't take over is refused with its own words, and
// nothing has happened.
func TestUpgradeRefused(t *testing.T) {
	u := serveUpgradable(t, "pools: {web: {command: [echo-worker], workers: 2, ready: {when: hello}}}")
	before := workersOf(u.status())
	refused := func(why string, code int) {
		t.Helper()
		r := shell(t, u.socket, "brood upgrade --wait 2s")
		if r.code != code || !strings.Contains(r.stderr, why) {
			t.Errorf("wanted exit %d and %q, got %v", code, why, r)
		}
		if now := workersOf(u.status()); !slices.Equal(now, before) {
			t.Errorf("after %q: %v, before %v", why, now, before)
		}
		if r := shell(t, u.socket, "brood send web echo still here"); r.stdout != "still here\n" {
			t.Errorf("after %q: %v", why, r)
		}
	}
	u.replace("#!/bin/sh\necho 'libfoo.so.3: cannot open shared object file' >&2\nexit 127\n")
	refused("libfoo.so.3: cannot open", 1)
	u.replace("#!/bin/sh\nexit 0\n")
	refused("brood handover", 1)
	u.replace("#!/bin/sh\nkill -SEGV $$\n")
	refused("SIGSEGV", 1)
	u.replace("\x7fELF nonsense")
	refused(u.program, 1)
	os.Chmod(u.program, 0o644)
	refused("permission denied", 1)
	os.Remove(u.program)
	refused("no such file", 1)
	os.Remove(u.program)
	u.install(t)
	u.write(t, "pools: {web: {comand: [echo-worker]}}")
	refused("brood.yaml:1:15", 1)
	u.write(t, "pools: {web: {command: [echo-worker], workers: 2, ready: {when: hello}}}")

	asked := make(chan result, 1)
	go func() { asked <- shell(t, u.socket, "brood send web/1 sleep 3s") }()
	until(t, "the command is under way", func() bool { return u.status().Pools[0].Slots[0].Inflight == 1 })
	refused("sleep", 1)
	if r := <-asked; r.stdout != "slept 3s\n" {
		t.Errorf("the command that was in the way: %v", r)
	}
	u.upgrade()
	if now := workersOf(u.status()); !slices.Equal(now, before) {
		t.Errorf("%v, before %v", now, before)
	}
}

// TestUpgradeBySignal, with a configuration that has changed meanwhile: what
// differs is rolled afterwards, all else is left alone.
func TestUpgradeBySignal(t *testing.T) {
	u := serveUpgradable(t, "pools: {web: {command: [echo-worker], ready: {when: hello}, rollout: {soak: 1ms}}, jobs: {command: [echo-worker], ready: {when: hello}}}")
	before := u.status()
	u.write(t, "pools: {web: {command: [echo-worker], ready: {when: hello}, env: {A: b}, rollout: {soak: 1ms}}, jobs: {command: [echo-worker], ready: {when: hello}}, more: {command: [echo-worker], ready: {when: hello}}}")
	u.cmd.Process.Signal(syscall.SIGUSR2)
	until(t, "the configuration of now is in force", func() bool {
		st := u.status()
		return len(st.Pools) == 3 && st.Pools[0].Slots[0].Generation == 2 && st.Pools[0].Slots[0].State == "ready" && st.Pools[2].Slots[0].State == "ready"
	})
	if a, b := before.Pools[1].Slots[0], u.status().Pools[1].Slots[0]; a.PID != b.PID {
		t.Errorf("jobs/1 was %d and is %d", a.PID, b.PID)
	}
	if code := u.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the end: exit %d\n%v", code, u.log)
	}
}

// TestUpgradeOften: workers die and hang, clients come and go, while one upgrade
// follows the other. Nothing is lost or left over.
func TestUpgradeOften(t *testing.T) {
	u := serveUpgradable(t, `pools:
  web:
    command: [echo-worker]
    workers: 4
    ready: {when: hello}
    health: {ping: 200ms, timeout: 200ms, failures: 2}
    restart: {backoff: 1ms..20ms, budget: off, rate: off}
    stop: {timeout: 1s}
`, "--log-level", "error")
	rounds := 12
	if raced {
		rounds = 5
	}
	var first int
	for i := range rounds {
		for n, w := range u.status().Pools[0].Slots {
			switch {
			case w.PID == 0:
			case n == i%4:
				syscall.Kill(w.PID, syscall.SIGKILL)
			case n == (i+1)%4 && i%3 == 0:
				syscall.Kill(w.PID, syscall.SIGSTOP)
			}
		}
		u.upgrade()
		u.awaitHealthy()
		kids := childrenOf(u.cmd.Process.Pid)
		if len(kids) != 4 || slices.ContainsFunc(kids, func(p child) bool { return p.state == "Z" }) {
			until(t, "there are four children and no zombie", func() bool {
				kids = childrenOf(u.cmd.Process.Pid)
				return len(kids) == 4 && !slices.ContainsFunc(kids, func(p child) bool { return p.state == "Z" })
			})
		}
		if i == 1 {
			first = openFDs(u.cmd.Process.Pid)
		}
	}
	until(t, "as many descriptors are open as after the first upgrades", func() bool { return openFDs(u.cmd.Process.Pid) <= first })
	if code := u.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the end: exit %d\n%v", code, u.log)
	}
}

func openFDs(pid int) int {
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(fds)
}

// TestUpgradeUnderServiceManager: Type=notify sees a reload, under the same pid.
func TestUpgradeUnderServiceManager(t *testing.T) {
	dir := socketDir(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	t.Setenv("WATCHDOG_USEC", "30000000")
	u := serveUpgradable(t, "pools: {web: {command: [echo-worker], ready: {when: hello}}}")
	said := func(word string) {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(30 * time.Second))
		for b := make([]byte, 4096); ; {
			n, err := manager.Read(b)
			if err != nil {
				t.Fatalf("%s was not said: %v\n%v", word, err, u.log)
			}
			if slices.Contains(strings.Split(string(b[:n]), "\n"), word) {
				return
			}
		}
	}
	said("READY=1")
	for range 2 {
		u.upgrade()
		said("RELOADING=1")
		said("READY=1")
	}
}

// TestUpgradeAmongCrashes: the moment that an upgrade takes is found where workers
// crash all the time.
func TestUpgradeAmongCrashes(t *testing.T) {
	u := serveUpgradable(t, "pools: {web: {command: [echo-worker], ready: {when: hello}}}", "--log-level", "error")
	u.write(t, `pools:
  web: {command: [echo-worker], ready: {when: hello}}
  crashes: {command: [sh, -c, exit 1], workers: 12, ready: {when: alive}, restart: {backoff: 1ms..2ms, budget: off, rate: off}}
`)
	u.cmd.Process.Signal(syscall.SIGHUP) // which does not wait for them to be up
	crashes := func() (n int) {
		for _, p := range u.status().Pools[1:] {
			for _, w := range p.Slots {
				n += w.Restarts
			}
		}
		return n
	}
	until(t, "the workers crash", func() bool { return crashes() > 100 })
	before := workersOf(u.status())[0]
	for range 2 {
		u.upgrade()
		seen := crashes()
		until(t, "they go on crashing", func() bool { return crashes() > seen+20 })
	}
	if now := workersOf(u.status())[0]; now != before {
		t.Errorf("%s, before %s", now, before)
	}
}

// TestUpgradeAndStop: whenever SIGTERM comes, it is not lost.
func TestUpgradeAndStop(t *testing.T) {
	rounds := 24
	if raced {
		rounds = 6
	}
	for i := range rounds {
		u := serveUpgradable(t, "pools: {web: {command: [echo-worker], workers: 2, ready: {when: hello}}}", "--log-level", "error")
		kids := childrenOf(u.cmd.Process.Pid)
		u.cmd.Process.Signal(syscall.SIGUSR2)
		time.Sleep(time.Duration(i) * time.Millisecond)
		u.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-u.ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("SIGTERM that came %dms after SIGUSR2 was lost\n%v", i, u.log)
		}
		until(t, "no worker is left", func() bool {
			return !slices.ContainsFunc(kids, func(p child) bool { return syscall.Kill(p.pid, 0) == nil && !isZombie(p.pid) })
		})
	}
}

// TestUpgradeWaitsForReload, and a reload does for an upgrade that is tried and comes
// to nothing.
func TestUpgradeWaitsForReload(t *testing.T) {
	const config = `pools:
  web: {command: [sh, -c, 'sleep 1; echo ready; exec sleep 1000'], ready: {when: log, log: ready}, rollout: {soak: 1ms}, env: {A: %s}}
  jobs: {command: [echo-worker], ready: {when: hello}}
`
	u := serveUpgradable(t, fmt.Sprintf(config, "a"))
	u.write(t, fmt.Sprintf(config, "b"))
	u.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the reload is under way", func() bool {
		return slices.ContainsFunc(childrenOf(u.cmd.Process.Pid), func(p child) bool { return environHas(p.pid, "A=b") })
	})
	u.upgrade()
	if w := u.status().Pools[0].Slots[0]; w.Generation != 2 || w.State != "ready" {
		t.Errorf("after the upgrade web/1 is %+v", w)
	}

	asked := make(chan result, 1)
	go func() { asked <- shell(t, u.socket, "brood send jobs/1 sleep 3s") }()
	until(t, "a command is under way", func() bool { return u.status().Pools[1].Slots[0].Inflight == 1 })
	u.cmd.Process.Signal(syscall.SIGUSR2)
	u.write(t, strings.Replace(fmt.Sprintf(config, "b"), "jobs: {", "jobs: {stop: {timeout: 3s}, ", 1))
	u.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the reload is done", func() bool { return strings.Contains(u.log.String(), `kind=inplace fields=["stop"]`) })
	<-asked
}

func environHas(pid int, kv string) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return slices.Contains(strings.Split(string(b), "\x00"), kv)
}

// TestUpgradeRefusedBeforeReady: the service manager is not told READY=1 by an
// upgrade that comes to nothing before all is up.
func TestUpgradeRefusedBeforeReady(t *testing.T) {
	dir := socketDir(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	u := newUpgradable(t, "pools: {web: {command: [sleep, 1000], ready: {when: exec, exec: [sleep, 60]}}}")
	until(t, "the check runs", func() bool { return len(childrenOf(u.cmd.Process.Pid)) == 2 })
	if r := shell(t, u.socket, "brood upgrade --wait 500ms"); r.code == 0 || !strings.Contains(r.stderr, "beside") {
		t.Errorf("brood upgrade: %v", r)
	}
	manager.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	for b := make([]byte, 4096); ; {
		n, err := manager.Read(b)
		if err != nil {
			break
		}
		if strings.Contains(string(b[:n]), "READY=1") {
			t.Errorf("it says %q", b[:n])
		}
	}
}

// TestUpgradeWithoutProc: where there is no /proc, as in some chroots, the workers
// are children of the thread that executes the next program all the same.
func TestUpgradeWithoutProc(t *testing.T) {
	need(t, "unshare", "umount")
	if os.Geteuid() != 0 {
		t.Skip("only root can take /proc away")
	}
	dir := socketDir(t)
	u := &upgradable{program: filepath.Join(dir, "brood"), file: filepath.Join(dir, "brood.yaml")}
	u.install(t)
	u.write(t, "pools: {web: {command: [echo-worker], workers: 2, ready: {when: hello}}}")
	start := filepath.Join(dir, "start")
	script := fmt.Sprintf("#!/bin/sh\nexec unshare -m sh -c 'umount -l /proc && exec \"$0\" \"$@\"' %s \"$@\"\n", u.program)
	if err := os.WriteFile(start, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	u.server = serveProgram(t, start, filepath.Join(dir, "control.sock"), "-c", u.file)
	u.awaitHealthy()
	before := workersOf(u.status())
	for range 3 {
		u.upgrade()
		if r := shell(t, u.socket, "brood send 'web/*' echo here"); r.code != 0 {
			t.Errorf("%v\n%v", r, u.log)
		}
	}
	if now := workersOf(u.status()); !slices.Equal(now, before) {
		t.Errorf("%v, before %v", now, before)
	}
}
