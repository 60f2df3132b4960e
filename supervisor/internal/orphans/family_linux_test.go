package orphans

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/cgroup"
)

// left are ways to leave processes behind. Each prints the pids of what it
// leaves, of which there are n.
var left = []struct {
	name, script string
	n            int
	group        bool // they stay in the worker's process group
}{
	{"in the group", `(sh -c 'echo $$; exec cat <&3' &)`, 1, true},
	{"forked twice, setsid at last", `(setsid sh -c 'echo $$; read x <&3; exec sleep 1000' &)`, 1, false},
	{"setsid between the forks, no environment", `setsid env -i sh -c '(sh -c "echo \$\$; exec sleep 1000" &)' &`, 1, false},
	{"its child has no environment", `(setsid sh -c 'env -i setsid sh -c "echo \$\$; exec sleep 1000" & echo $$; exec sleep 1000' &)`, 2, false},
	{"a daemon of a daemon", `(setsid sh -c '(setsid sh -c "echo \$\$; exec sleep 1000" &) ; echo $$; exec sleep 1000' &)`, 2, false},
}

// startLeaving starts one of them as web/2#7.
func (h *house) startLeaving(t *testing.T, script string) *leader {
	t.Helper()
	r, w, err := os.Pipe() // what reads it stays until the end of the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return h.start(t, options{worker: "web/2", generation: 7, third: r}, script+"\nread x")
}

// TestNothingIsLeftAfterAStop: whichever way a worker leaves something behind,
// it is found, named and killed, and nothing of it stays, not even a zombie.
func TestNothingIsLeftAfterAStop(t *testing.T) {
	needs(t, "setsid")
	for _, c := range left {
		for _, all := range []bool{false, true} {
			t.Run(c.name+map[bool]string{true: ", all"}[all], func(t *testing.T) {
				h := open(t, all)
				l := h.startLeaving(t, c.script)
				f := h.Family(Origin{Worker: "web/2", Generation: 7, Leader: l.pid})
				pids := l.pids(t, c.n)
				f.Note()
				afterTheForks(t, pids)
				l.end()
				checkSweep(t, f, c.group, pids)
				killed, err := f.End(deadline(t))
				if err != nil {
					t.Fatal(err)
				}
				if !c.group && len(killed) != c.n || c.group && len(killed) != 0 {
					t.Errorf("killed %v", killed)
				}
				if left := there(pids...); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
				h.isEmpty(t)
			})
		}
	}
}

// afterTheForks waits until what forked pids, or made their sessions, has ended
// but for this process and those among themselves.
func afterTheForks(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if !soon(func() bool {
			p, err := readStat(pid)
			own, _ := unix.Getsid(0)
			return err == nil && (p.parent == os.Getpid() || slices.Contains(pids, p.parent)) &&
				(p.session == own || slices.Contains(pids, p.session) || len(living(p.session)) == 0)
		}) {
			t.Fatalf("%d was not adopted", pid)
		}
	}
}

func checkSweep(t *testing.T, f *Family, group bool, pids []int) {
	t.Helper()
	found, err := f.Sweep()
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, s := range found {
		got = append(got, s.PID)
		if s.Worker != "web/2" || s.Generation != 7 || s.Group != group || s.Name == "" {
			t.Errorf("found %+v", s)
		}
	}
	slices.Sort(got)
	slices.Sort(pids)
	if !slices.Equal(got, pids) {
		t.Errorf("found %v, and there are %v", got, pids)
	}
}

// isEmpty: nothing is kept of what is over.
func (h *house) isEmpty(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.families) + len(h.claims) + len(h.known) + len(h.cgroups) + len(h.strays); n > 0 {
		t.Errorf("kept: families %v claims %v known %v cgroups %v strays %v", h.families, h.claims, h.known, h.cgroups, h.strays)
	}
}

// TestBesideIsNotTheWorker: the end of what was started beside a worker takes with
// it what that has left behind, and nothing of the worker's.
func TestBesideIsNotTheWorker(t *testing.T) {
	needs(t, "setsid")
	const daemon = `(setsid sh -c 'echo $$; exec sleep 1000' &)` + "\nread x"
	h := open(t, false)
	l := h.start(t, options{worker: "web/2", generation: 7}, daemon)
	f := h.Family(Origin{Worker: "web/2", Generation: 7, Leader: l.pid})
	workers := l.pids(t, 1)
	mark, n := h.Beside()
	b := h.start(t, options{worker: "web/2", generation: 7, mark: mark}, daemon)
	beside := h.Family(Origin{Worker: "web/2", Generation: 7, Leader: b.pid, Beside: n})
	others := b.pids(t, 1)
	afterTheForks(t, slices.Concat(workers, others))
	b.end()
	if killed, err := beside.End(deadline(t)); len(killed) != 1 || killed[0].PID != others[0] || err != nil {
		t.Errorf("killed %v, %v", killed, err)
	}
	if len(living(workers...)) == 0 {
		t.Fatal("the worker's own was killed")
	}
	l.end()
	if killed, err := f.End(deadline(t)); len(killed) != 1 || killed[0].PID != workers[0] || err != nil {
		t.Errorf("killed %v, %v", killed, err)
	}
	h.isEmpty(t)
}

// TestNoteKnowsWhatHidesItself: a child without environment, in a session of
// its own, still below the worker when the stop begins.
func TestNoteKnowsWhatHidesItself(t *testing.T) {
	needs(t, "setsid")
	h := open(t, false)
	l := h.start(t, options{worker: "web/1", generation: 1}, `env -i setsid sh -c 'echo $$; exec sleep 1000' & read x`)
	f := h.Family(Origin{Worker: "web/1", Generation: 1, Leader: l.pid})
	pids := l.pids(t, 1)
	f.Note()
	l.kill()
	if killed, err := f.End(deadline(t)); err != nil || len(killed) != 1 || killed[0].PID != pids[0] {
		t.Errorf("killed %v, %v", killed, err)
	}
	if left := there(pids...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestASessionSeenOnceIsKnown: what has hidden itself forks after the stop has
// begun, and ends.
func TestASessionSeenOnceIsKnown(t *testing.T) {
	needs(t, "setsid")
	h := open(t, false)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := h.start(t, options{worker: "web/1", generation: 1, third: r}, `env -i setsid sh -c 'echo $$; read x <&3; sleep 1000 & echo $!' & read x`)
	r.Close()
	f := h.Family(Origin{Worker: "web/1", Generation: 1, Leader: l.pid})
	l.pids(t, 1)
	f.Note()
	w.Close()
	pids := l.pids(t, 1)
	l.end()
	adopted(t, pids...)
	if killed, err := f.End(deadline(t)); err != nil || len(killed) != 1 || killed[0].PID != pids[0] {
		t.Errorf("killed %v, %v", killed, err)
	}
	h.isEmpty(t)
}

// TestAnotherWorkersAreLeftAlone: what a living worker has put out of its
// hands lives on when another of the pool, or an older generation, is stopped.
func TestAnotherWorkersAreLeftAlone(t *testing.T) {
	needs(t, "setsid")
	h := open(t, false)
	const script = `(setsid sh -c 'echo $$; exec sleep 1000' &) ; (sh -c 'echo $$; exec sleep 1000' &) ; read x`
	origins := []Origin{{Worker: "web/1", Generation: 1}, {Worker: "web/1", Generation: 2}, {Worker: "web/2", Generation: 1}}
	var families []*Family
	var leaders []*leader
	var pids [][]int
	for _, o := range origins {
		l := h.start(t, options{worker: o.Worker, generation: o.Generation}, script)
		o.Leader = l.pid
		leaders, families = append(leaders, l), append(families, h.Family(o))
		pids = append(pids, l.pids(t, 2))
	}
	for i, f := range families {
		f.Note()
		leaders[i].end()
		if _, err := f.End(deadline(t)); err != nil {
			t.Fatal(err)
		}
		if left := there(pids[i]...); len(left) > 0 {
			t.Errorf("%v: left %v", origins[i], left)
		}
		for _, others := range pids[i+1:] {
			if left := living(others...); len(left) != len(others) {
				t.Fatalf("%v: its end has hit another: %v of %v live", origins[i], left, others)
			}
		}
	}
	h.isEmpty(t)
}

// TestAnOuterSupervisorsVariablesProveNothing: a program that is a worker itself
// hands its own BROOD_WORKER on to what it starts.
func TestAnOuterSupervisorsVariablesProveNothing(t *testing.T) {
	h := open(t, false)
	cmd := exec.Command("cat")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BROOD_WORKER=web/1", "BROOD_GENERATION=1", "BROOD_RUN=another"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := h.start(t, options{worker: "web/1", generation: 1}, "read x")
	f := h.Family(Origin{Worker: "web/1", Generation: 1, Leader: l.pid})
	l.end()
	if killed, err := f.End(deadline(t)); err != nil || len(killed) > 0 {
		t.Errorf("killed %v, %v", killed, err)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestCgroupTellsWhoseAZombieWas: with its environment gone and a session of
// its own nothing else does.
func TestCgroupTellsWhoseAZombieWas(t *testing.T) {
	needs(t, "setsid")
	if os.Getuid() != 0 {
		t.Skip("needs root, to write to a cgroup")
	}
	tree, err := cgroup.Open("")
	if err != nil {
		t.Skipf("needs cgroup v2: %v", err)
	}
	defer tree.Close()
	group, err := tree.New("web.3.1", cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := group.FD()
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	h := open(t, false)
	l := h.start(t, options{worker: "web/3", generation: 1, cgroup: int(fd.Fd())},
		`(env -i setsid sh -c 'echo $$; exec sleep 1000' &) ; (env -i setsid sh -c 'echo $$; exec sleep 1000' &) ; read x`)
	f := h.Family(Origin{Worker: "web/3", Generation: 1, Leader: l.pid, Cgroup: group.Path()})
	pids := l.pids(t, 2)
	adopted(t, pids...)
	if err := unix.Kill(pids[0], unix.SIGKILL); err != nil { // by nobody here: it dies on its own
		t.Fatal(err)
	}
	if !soon(func() bool { return len(there(pids[0])) == 0 }) {
		t.Error("the zombie stays")
	}
	if err := group.Kill(); err != nil {
		t.Fatal(err)
	}
	l.wait()
	if err := group.Remove(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if killed, err := f.End(deadline(t)); err != nil || len(killed) > 0 {
		t.Errorf("killed %v, %v", killed, err)
	}
	if left := there(pids...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	h.isEmpty(t)
}

// TestStraysAreToldOnceAndKilledAtShutdown: what can't be attributed is left
// alone until then.
func TestStraysAreToldOnceAndKilledAtShutdown(t *testing.T) {
	needs(t, "setsid")
	h := open(t, true)
	l := h.start(t, options{worker: "web/1", generation: 1}, `(env -i setsid sh -c 'echo $$; exec sleep 1000' &) ; read x`)
	f := h.Family(Origin{Worker: "web/1", Generation: 1, Leader: l.pid})
	pids := l.pids(t, 1)
	adopted(t, pids...)
	l.end()
	for range 3 {
		if killed, err := f.End(deadline(t)); err != nil || len(killed) > 0 {
			t.Errorf("killed %v, %v", killed, err)
		}
	}
	if n := strings.Count(h.logged.String(), fmt.Sprintf("%d (", pids[0])); n != 1 {
		t.Errorf("told %d times: %s", n, h.logged)
	}
	if len(living(pids...)) != 1 {
		t.Fatal("it is dead")
	}
	if killed, err := h.KillAll(deadline(t)); err != nil || len(killed) != 1 || killed[0].PID != pids[0] || killed[0].Worker != "" {
		t.Errorf("killed %v, %v", killed, err)
	}
	if left := there(pids...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	h.isEmpty(t)
}

// TestWhatMayBeTheProgramsOwnOutlivesKillAll: children of all shapes that
// os/exec has started.
func TestWhatMayBeTheProgramsOwnOutlivesKillAll(t *testing.T) {
	h := open(t, false)
	var own []*exec.Cmd
	var ends []func()
	for _, attr := range []*syscall.SysProcAttr{nil, {Setsid: true}, {Setpgid: true}} {
		cmd := exec.Command("sh", "-c", "read x; exit 7")
		cmd.SysProcAttr = attr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		own, ends = append(own, cmd), append(ends, func() { stdin.Close() })
	}
	if killed, err := h.KillAll(deadline(t)); err != nil || len(killed) > 0 {
		t.Errorf("killed %v, %v", killed, err)
	}
	for i, cmd := range own {
		ends[i]()
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Errorf("child %d: %v", i, err)
		}
	}
}

// TestInheritedChildrenAreNotKilled: those that the program had before it, or
// the program it replaced, started a supervisor.
func TestInheritedChildrenAreNotKilled(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o, err := Start(Options{Leaders: &Leaders{}, All: true})
	if err != nil {
		t.Fatal(err)
	}
	if killed, err := o.KillAll(deadline(t)); err != nil || len(killed) > 0 {
		t.Errorf("killed %v, %v", killed, err)
	}
	if len(living(cmd.Process.Pid)) != 1 {
		t.Error("it is dead")
	}
	o.Close() // or its zombie would be reaped
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestEndEndsWithItsContext: and the family stays known.
func TestEndEndsWithItsContext(t *testing.T) {
	needs(t, "setsid")
	h := open(t, false)
	l := h.start(t, options{worker: "web/1", generation: 1}, `(setsid sh -c 'echo $$; exec sleep 1000' &) ; read x`)
	f := h.Family(Origin{Worker: "web/1", Generation: 1, Leader: l.pid})
	pids := l.pids(t, 1)
	l.end()
	cause := errors.New("as the test wants")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := f.End(ctx); !errors.Is(err, cause) {
		t.Errorf("the error is %v", err)
	}
	if _, err := f.End(deadline(t)); err != nil {
		t.Error(err)
	}
	if left := there(pids...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	h.isEmpty(t)
}
