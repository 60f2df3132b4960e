package orphans

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAnOrphanIsReaped while its worker lives.
func TestAnOrphanIsReaped(t *testing.T) {
	needs(t, "setsid")
	for name, script := range map[string]string{
		"in the group":             `(sh -c 'echo $$; read x <&3' &) ; read x`,
		"setsid between the forks": `setsid sh -c '(sh -c "echo \$\$; read x <&3" &)' & read x`,
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, false)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			l := h.start(t, options{worker: "web/1", generation: 1, third: r}, script)
			r.Close()
			f := h.Family(Origin{Worker: "web/1", Generation: 1, Leader: l.pid})
			pids := l.pids(t, 1)
			adopted(t, pids...)
			w.Close()
			if !soon(func() bool { return len(there(pids...)) == 0 }) {
				t.Errorf("left: %v", there(pids...))
			}
			if code := l.end(); code != 1 {
				t.Errorf("the leader's code is %d", code)
			}
			if _, err := f.End(deadline(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWait4OfAnyoneStealsExitCodes: it would, so nothing here does it. 200
// leaders and 200 orphans end in any order, some of the leaders while they are
// still being put down.
func TestWait4OfAnyoneStealsExitCodes(t *testing.T) {
	const n = 200
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprintf("all=%v", all), func(t *testing.T) {
			h := open(t, all)
			r, w, err := os.Pipe() // each newline ends one process, whichever reads it
			if err != nil {
				t.Fatal(err)
			}
			nursery := h.start(t, options{worker: "web/1", generation: 1, third: r},
				fmt.Sprintf(`i=0; while [ $i -lt %d ]; do ( (read x <&3; exit 9) & ); i=$((i+1)); done; echo 0; read x`, n))
			f := h.Family(Origin{Worker: "web/1", Generation: 1, Leader: nursery.pid})
			nursery.pids(t, 1)
			feed(t, w, n/2)
			var wg sync.WaitGroup
			wrong := make(chan string, n)
			for i := range n {
				code := 1 + i%200
				l := h.start(t, options{worker: "api/1", generation: uint64(i), third: r}, fmt.Sprintf("read x <&3; exit %d", code))
				wg.Go(func() {
					if got := l.wait(); got != code {
						wrong <- fmt.Sprintf("%d ended with %d, not %d", l.pid, got, code)
					}
				})
			}
			r.Close()
			feed(t, w, n+n/2)
			wg.Wait()
			w.Close()
			close(wrong)
			for text := range wrong {
				t.Error(text)
			}
			if !soon(func() bool { return h.toll() == n }) {
				t.Errorf("%d orphans were reaped, not %d", h.toll(), n)
			}
			nursery.end()
			if killed, err := f.End(deadline(t)); err != nil || len(killed) > 0 {
				t.Errorf("killed %v, %v", killed, err)
			}
			if left := childPIDs(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func feed(t *testing.T, w *os.File, n int) {
	t.Helper()
	for range n {
		if _, err := w.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *house) toll() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deaths
}

// TestAZombieInTheWayHidesNobody: waitid(2) tells of a leader that is not
// reaped yet first, for as long as it is there. The one here was adopted, so
// that the kernel keeps it in one list with the orphans behind it.
func TestAZombieInTheWayHidesNobody(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprintf("all=%v", all), func(t *testing.T) {
			h := open(t, all)
			const script = `(sh -c 'echo $$; read x <&3; exit 3' &) ; read x`
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			first := h.start(t, options{worker: "web/1", generation: 1, third: r}, script)
			slow := first.pids(t, 1)[0]
			adopted(t, slow)
			if err := h.leaders.Fork(func() (int, error) { return slow, nil }); err != nil {
				t.Fatal(err)
			}
			second := h.start(t, options{worker: "web/1", generation: 2, third: r}, script)
			r.Close()
			f := h.Family(Origin{Worker: "web/1", Generation: 2, Leader: second.pid})
			pids := second.pids(t, 1)
			adopted(t, pids...)
			w.Close()
			if !soon(func() bool { return len(there(pids...)) == 0 }) {
				t.Errorf("left: %v", there(pids...))
			}
			awaitZombie(t, slow)
			if err := endOf(h.leaders, slow, 3); err != nil {
				t.Error(err)
			}
			second.end()
			if _, err := f.End(deadline(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestALeaderIsItsOwnersThroughout: while it is being forked, though it has
// ended already, and while it is being reaped.
func TestALeaderIsItsOwnersThroughout(t *testing.T) {
	h := open(t, true)
	for range 20 {
		reaped := make(chan bool, 2)
		attempt := func(pid int) {
			begun := make(chan struct{})
			go func() {
				close(begun)
				reaped <- h.reap(pid)
			}()
			<-begun
			for n := 0; n < 100 && len(reaped) == 0; n++ { // time enough to do wrong
				runtime.Gosched()
			}
		}
		var pid int
		err := h.leaders.Fork(func() (int, error) {
			var err error
			pid, err = syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit 6"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}})
			if err == nil {
				awaitZombie(t, pid)
				attempt(pid)
			}
			return pid, err
		})
		if err != nil {
			t.Fatal(err)
		}
		h.leaders.Reap(pid, func() {
			attempt(pid)
			var ws unix.WaitStatus
			if got, err := unix.Wait4(pid, &ws, 0, nil); err != nil || got != pid || ws.ExitStatus() != 6 {
				t.Errorf("its status was stolen: %d, %v, %v", got, err, ws)
			}
		})
		for range 2 {
			if <-reaped {
				t.Error("it was reaped by another than its owner")
			}
		}
	}
}

// awaitZombie waits for an end without taking it.
func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// TestOtherChildrenOfTheProgramAreNeverReaped: os/exec at work beside it, all
// the time.
func TestOtherChildrenOfTheProgramAreNeverReaped(t *testing.T) {
	h := open(t, false)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				code := 1 + (i+n)%100
				cmd := exec.Command("sh", "-c", fmt.Sprintf("exit %d", code))
				cmd.SysProcAttr = []*syscall.SysProcAttr{nil, {Setsid: true}, {Setpgid: true}, {Setpgid: true}}[i]
				var exit *exec.ExitError
				if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != code {
					t.Errorf("a child of the program's own: %v, not %d", err, code)
					return
				}
			}
		})
	}
	for n := range 20 {
		l := h.start(t, options{worker: "web/1", generation: uint64(n)},
			`(setsid sh -c 'echo $$; exec sleep 1000' &) ; (sh -c 'echo $$; exec sleep 1000' &) ; read x`)
		f := h.Family(Origin{Worker: "web/1", Generation: uint64(n), Leader: l.pid})
		pids := l.pids(t, 2)
		f.Note()
		l.kill()
		if _, err := f.End(deadline(t)); err != nil {
			t.Error(err)
		}
		if left := there(pids...); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
	close(stop)
	wg.Wait()
	if strings.Contains(h.logged.String(), "left behind") {
		t.Errorf("a child of the program's own was told of: %s", h.logged)
	}
}

// TestCloseGivesTheAttributeBack once the last is closed.
func TestCloseGivesTheAttributeBack(t *testing.T) {
	if attribute(t) {
		t.Fatal("it is one before")
	}
	leaders := &Leaders{}
	a, err := Start(Options{Leaders: leaders})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Start(Options{Leaders: leaders})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if !attribute(t) {
		t.Error("the other still needs it")
	}
	b.Close()
	if attribute(t) {
		t.Error("it still is one")
	}
}

func attribute(t *testing.T) bool {
	t.Helper()
	is, err := isSubreaper()
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// TestNilDoesNothing: the supervisor goes on where Start has failed.
func TestNilDoesNothing(t *testing.T) {
	var o *Orphans
	f := o.Family(Origin{Worker: "web/1"})
	f.Note()
	if found, err := f.Sweep(); found != nil || err != nil {
		t.Error(found, err)
	}
	if killed, err := f.End(t.Context()); killed != nil || err != nil {
		t.Error(killed, err)
	}
	if killed, err := o.KillAll(t.Context()); killed != nil || err != nil {
		t.Error(killed, err)
	}
	o.Close()
}
