package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

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
	c := startCrowd(t, u.socket)
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
		return !slices.ContainsFunc(pids, func(pid int) bool { return !isGone(pid) })
	})
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
		until(t, "there are four children and no zombie", func() bool {
			kids := childrenOf(u.cmd.Process.Pid)
			return len(kids) == 4 && !slices.ContainsFunc(kids, func(p child) bool { return p.state == "Z" })
		})
		if i == 1 {
			first = countFDs(t, u.server)
		}
	}
	until(t, "as many descriptors are open as after the first upgrades", func() bool { return countFDs(t, u.server) <= first })
	if code := u.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the end: exit %d\n%v", code, u.log)
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
		time.Sleep(time.Duration(i) * time.Millisecond) // not for anything: SIGTERM is to come at every moment of an upgrade
		u.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-u.ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("SIGTERM that came %dms after SIGUSR2 was lost\n%v", i, u.log)
		}
		until(t, "no worker is left", func() bool {
			return !slices.ContainsFunc(kids, func(p child) bool { return !isGone(p.pid) })
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
