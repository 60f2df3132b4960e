package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// programs are what this binary can be.
var programs = map[string]func(args []string){
	// open holds a tree until it is killed, with a process in it if told so.
	"open": func(args []string) {
		tr, err := Open(args[0])
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(tr.dir)
		_, _ = io.Copy(io.Discard, os.Stdin)
	},
	// nobody can't write.
	"nobody": func([]string) {
		if err := syscall.Setuid(65534); err != nil {
			fmt.Println(err)
			return
		}
		_, err := Open("")
		fmt.Println(err)
	},
	// alone enables a controller in the cgroup that it is alone in.
	"alone": func(args []string) {
		fmt.Println(enableAlone(args[0], args[1]))
	},
	// crowded tries that where another process is.
	"crowded": func(args []string) {
		tr, err := Open(args[0])
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(tr.enable(args[1]))
		if err := tr.Close(); err != nil {
			fmt.Println(err)
		}
	},
	// hog takes memory until it is killed.
	"hog": func([]string) {
		var all [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
			fmt.Println(len(all))
		}
	},
}

// forest starts 50 processes, in sessions and groups of their own, each of
// which says so. They live until their descriptor 3 ends.
const forest = `exec 3<&0
i=0
while [ $i -lt 25 ]; do
	(setsid sh -c 'echo $$; (setsid sh -c "echo \$\$; read x <&3" &) ; read x <&3' &)
	i=$((i+1))
done
read x <&3`

const trees = 50

func plant(t *testing.T, g *Group) (leader *program, pids []int) {
	t.Helper()
	leader = start(t, g.dir, "sh", "-c", forest)
	for range trees {
		var pid int
		if _, err := fmt.Sscan(leader.line(t), &pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return leader, append(pids, leader.Process.Pid)
}

func TestKillTakesEverythingWithIt(t *testing.T) {
	for name, kill := range map[string]func(*Group) error{
		"cgroup.kill": (*Group).Kill,
		"frozen":      func(g *Group) error { return killFrozen(g.dir) },
	} {
		t.Run(name, func(t *testing.T) {
			tr := tree(t, writable(t))
			g, err := tr.New("web.2.7", Limits{})
			if err != nil {
				t.Fatal(err)
			}
			leader, pids := plant(t, g)
			procs, err := g.Procs()
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				if !slices.Contains(procs, pid) {
					t.Errorf("%d is not in the group", pid)
				}
			}
			if err := kill(g); err != nil {
				t.Fatal(err)
			}
			if err := g.Remove(deadline(t)); err != nil {
				t.Fatal(err)
			}
			if left := alive(pids); len(left) > 0 {
				t.Errorf("alive: %v", left)
			}
			_ = leader.Wait()
			if status := leader.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
				t.Errorf("the leader ended by %v", status)
			}
			for what, err := range map[string]error{"Kill": g.Kill(), "Remove": g.Remove(deadline(t))} {
				if err != nil {
					t.Errorf("%s of what is gone: %v", what, err)
				}
			}
		})
	}
}

func TestPathIsWhatProcShows(t *testing.T) {
	tr := tree(t, scratch(t))
	g, err := tr.New("web.2.7", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, g.dir, "cat")
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if path, _ := ownPath(string(b)); path != g.Path() {
		t.Errorf("%s, and /proc says %s", g.Path(), path)
	}
	p.kill(t)
	if err := g.Remove(deadline(t)); err != nil {
		t.Error(err)
	}
}

func TestRemoveWaitsForTheLastProcess(t *testing.T) {
	tr := tree(t, writable(t))
	g, err := tr.New("web.1.1", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "", "cat")
	if err := g.Add(p.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Rmdir(g.dir); err != unix.EBUSY {
		t.Fatalf("with a process in it: %v", err)
	}
	over, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("as the test wants")
	ended := make(chan error, 1)
	go func() { ended <- g.Remove(over) }()
	cancel(cause)
	err = <-ended
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), fmt.Sprint(p.Process.Pid)) {
		t.Errorf("the error is %v", err)
	}
	go func() { ended <- g.Remove(deadline(t)) }()
	p.stdin.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRemoveTakesGroupsOfTheWorkersOwn(t *testing.T) {
	tr := tree(t, writable(t))
	g, err := tr.New("web.1.1", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(g.dir, "a", "b")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	p := start(t, inner, "cat")
	if procs, err := g.Procs(); err != nil || !slices.Equal(procs, []int{p.Process.Pid}) {
		t.Errorf("%v, %v", procs, err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(deadline(t)); err != nil {
		t.Fatal(err)
	}
}

func TestTwoTreesOfOneProgram(t *testing.T) {
	base := scratch(t)
	a, b := tree(t, base), tree(t, base)
	if a.dir == b.dir {
		t.Fatal("they share a directory")
	}
	want := fmt.Sprintf("brood-%d", os.Getpid())
	if filepath.Base(a.dir) != want || filepath.Base(b.dir) != want+"-2" {
		t.Errorf("%s and %s", a.dir, b.dir)
	}
}

func TestNamesThatCantBeGroups(t *testing.T) {
	tr := tree(t, scratch(t))
	for _, name := range []string{"", ".", "..", "a/b", "cgroup.procs", leaf, "a\nb"} {
		if _, err := tr.New(name, Limits{}); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	g, err := tr.New("web.1.1", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.New("web.1.1", Limits{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("twice: %v", err)
	}
	if err := g.Remove(deadline(t)); err != nil {
		t.Error(err)
	}
}

func TestWhoMayNotWriteIsToldSo(t *testing.T) {
	writable(t)
	p := itself(t, "", "nobody")
	got := p.line(t)
	if !strings.Contains(got, "not ours to write") || !strings.Contains(got, "permission denied") {
		t.Error(got)
	}
	for base, want := range map[string]string{
		t.TempDir():                           "is no cgroup v2",
		filepath.Join(t.TempDir(), "missing"): "no such file",
	} {
		if _, err := Open(base); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestLeftoversOfTheDeadAreRemoved(t *testing.T) {
	base := scratch(t)
	living, dead := itself(t, "", "open", base), itself(t, "", "open", base)
	livingDir, deadDir := living.line(t), dead.line(t)
	if err := os.Mkdir(filepath.Join(deadDir, "web.1.1"), 0o755); err != nil {
		t.Fatal(err)
	}
	dead.kill(t)
	foreign := filepath.Join(base, "brood-x")
	if err := os.Mkdir(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	tr := tree(t, base)
	if _, err := os.Stat(deadDir); err == nil {
		t.Errorf("%s is still there", deadDir)
	}
	for _, dir := range []string{livingDir, foreign} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	if left := tr.Leftovers(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLeftoversWithProcessesStay(t *testing.T) {
	base := scratch(t)
	dead := itself(t, "", "open", base)
	dir := dead.line(t)
	inner := filepath.Join(dir, "web.1.1")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	p := start(t, inner, "cat")
	dead.kill(t)
	if left := tree(t, base).Leftovers(); !slices.Equal(left, []string{dir}) {
		t.Errorf("left: %v, and not %s", left, dir)
	}
	if len(alive([]int{p.Process.Pid})) != 1 {
		t.Error("its process was killed")
	}
	g := Group{dir: inner}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(deadline(t)); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, base).Leftovers(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is still there", dir)
	}
}

// TestAReusedPidDoesNotKeepALeftover: the lock says who lives, not the name.
func TestAReusedPidDoesNotKeepALeftover(t *testing.T) {
	base := scratch(t)
	dir := filepath.Join(base, "brood-1")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tree(t, base)
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is still there, though it is only its number that lives", dir)
	}
}

// freeController is one that this machine's cgroup v2 could hand down.
func freeController(t *testing.T) (root, controller string) {
	t.Helper()
	root = writable(t)
	list, err := words(root, "cgroup.controllers")
	if err != nil || len(list) == 0 {
		t.Skipf("needs a controller in cgroup v2 (%v, %v)", list, err)
	}
	return root, list[0]
}

// handDown enables a controller below dir for the length of the test.
func handDown(t *testing.T, dir, controller string) {
	t.Helper()
	on, err := words(dir, "cgroup.subtree_control")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(on, controller) {
		return
	}
	if err := write(dir, "cgroup.subtree_control", "+"+controller); err != nil {
		t.Skipf("needs to enable the %s controller: %v", controller, err)
	}
	t.Cleanup(func() { _ = write(dir, "cgroup.subtree_control", "-"+controller) })
}

func TestTheSupervisorMovesToALeafIfItMust(t *testing.T) {
	root, controller := freeController(t)
	handDown(t, root, controller)
	base := scratch(t)
	p := itself(t, base, "alone", base, controller)
	p.expect(t, "<nil>")
	_ = p.Wait()
	if subs, _ := subgroups(base); len(subs) > 0 {
		t.Errorf("left: %v", subs)
	}
}

func enableAlone(base, controller string) error {
	before, _ := os.ReadFile("/proc/self/cgroup")
	tr, err := Open(base)
	if err != nil {
		return err
	}
	if err := tr.enable(controller); err != nil {
		return err
	}
	if !tr.moved {
		return errors.New("it was not moved")
	}
	g, err := tr.New("web.1.1", Limits{})
	if err != nil {
		return err
	}
	have, err := words(g.dir, "cgroup.controllers")
	if err != nil || !slices.Contains(have, controller) {
		return fmt.Errorf("the group has %v, %v", have, err)
	}
	if err := g.Remove(context.Background()); err != nil {
		return err
	}
	if err := tr.Close(); err != nil {
		return err
	}
	if after, _ := os.ReadFile("/proc/self/cgroup"); string(after) != string(before) {
		return fmt.Errorf("it was in %q and is now in %q", before, after)
	}
	return nil
}

func TestOthersInTheWayAreNamed(t *testing.T) {
	root, controller := freeController(t)
	handDown(t, root, controller)
	base := scratch(t)
	other := start(t, base, "cat")
	p := itself(t, base, "crowded", base, controller)
	got := p.line(t)
	if !strings.Contains(got, "other processes are in") || !strings.Contains(got, fmt.Sprint(other.Process.Pid)) {
		t.Error(got)
	}
	if rest, _ := io.ReadAll(p.out); len(rest) > 0 {
		t.Errorf("closing: %s", rest)
	}
	_ = p.Wait()
}

// TestMemoryLimit: either it holds, or it is said why not.
func TestMemoryLimit(t *testing.T) {
	tr := tree(t, writable(t))
	limits := Limits{MemoryMax: 64 << 20, MemoryHigh: 48 << 20, PIDsMax: 100}
	sentences := tr.Check(limits)
	g, err := tr.New("web.1.1", limits)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Remove(deadline(t)); err != nil {
			t.Error(err)
		}
	}()
	if len(sentences) > 0 {
		t.Log(strings.Join(sentences, "\n"))
		for _, s := range sentences {
			if !strings.Contains(s, "not enforced, as ") || !strings.Contains(s, "controller") && !strings.Contains(s, "other processes") {
				t.Errorf("it does not say why: %s", s)
			}
		}
		if _, err := g.OOMKills(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("OOMKills without the controller: %v", err)
		}
		return
	}
	p := itself(t, g.dir, "hog")
	timer := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
	_, _ = io.Copy(io.Discard, p.out)
	_ = p.Wait()
	timer.Stop()
	if n, err := g.OOMKills(); err != nil || n < 1 {
		t.Errorf("%d kills, %v", n, err)
	}
}
