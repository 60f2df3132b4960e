package process

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	// pending executes itself with a signal that waits, and may be ignored.
	programs["pending"] = func() {
		n, _ := strconv.Atoi(os.Args[3])
		sig := unix.Signal(n)
		if os.Args[4] == "then" {
			if sig == unix.SIGHUP || sig == unix.SIGINT { // which are still ignored
				_ = unix.Kill(os.Getpid(), sig)
			} else if !pending("SigPnd", sig) {
				log.Fatal("it does not wait")
			}
			return
		}
		runtime.LockOSThread()
		set := setOf(sig)
		_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
		does := handler{} // its default, which nohup(1) may have changed
		if os.Args[4] == "true" {
			does[0] = sigIgn
		}
		_ = sigaction(sig, &does, nil)
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
		os.Args[4] = "then"
		log.Fatal(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
}

// A signal that comes in the middle, until the next program asks for it, is told
// to it.
func TestExecKeepsSignals(t *testing.T) {
	for name, env := range tables {
		t.Run(name, func(t *testing.T) {
			l := found(t, env...)
			number := 1
			for range 2 { // from the first generation and from one that came by a handover
				const all = "hangup, interrupt, terminated, user defined signal 1, user defined signal 2"
				l.order("deaf")
				l.await("deaf")
				for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1} {
					if err := l.cmd.Process.Signal(sig); err != nil {
						t.Fatal(err)
					}
				}
				number++
				l.arrive(number)
				l.order("signals")
				if got := l.await("signals "); got != all {
					t.Errorf("before it asks for any: %s", got)
				}
				number++
				l.order("dozing")
				l.await("dozing")
				l.arrive(number)
				l.order("signals")
				if got := l.await("signals "); got != all {
					t.Errorf("after its main function has begun: %s", got)
				}
				number++
				l.next(number, "late")
				l.order("signals")
				if got := l.await("signals "); got != all {
					t.Errorf("as it executes itself: %s", got)
				}
			}
			l.start("start exec sleep 1000")
		})
	}
}

// It does not matter when an order comes: it never kills, and there is always
// somebody to whom it is told.
func TestExecInStormOfSignals(t *testing.T) {
	for name, env := range tables {
		t.Run(name, func(t *testing.T) {
			l := found(t, env...)
			lives := l.start("start exec sleep 1000")
			const last = 30
			for range last {
				l.order("storm %d", last)
			}
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				tick := time.NewTicker(300 * time.Microsecond)
				defer tick.Stop()
				orders := []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, 40}
				for i := 0; ; i++ {
					select {
					case <-tick.C:
						_ = l.cmd.Process.Signal(orders[i%len(orders)])
					case <-stop:
						return
					}
				}
			}()
			l.await("weathered")
			close(stop)
			<-stopped
			alive(t, []*child{lives})
			l.order("return 6")
			if err := l.cmd.Wait(); l.cmd.ProcessState.ExitCode() != 6 {
				t.Error(err)
			}
		})
	}
}

// A signal that this program is told while it executes the next one is told to
// that one too; where that fails it was told once.
func TestHold(t *testing.T) {
	for _, c := range []struct{ sig, waits unix.Signal }{{unix.SIGUSR1, unix.SIGUSR1}, {unix.SIGHUP, 62}, {unix.SIGINT, 63}, {unix.SIGTERM, 64}} {
		t.Run(c.sig.String(), func(t *testing.T) { testHold(t, c.sig, c.waits) })
	}
}

func testHold(t *testing.T, sig, waits unix.Signal) {
	told := make(chan os.Signal, 16)
	signal.Notify(told, sig)
	defer signal.Stop(told)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const status = "/proc/thread-self/status"
	before := maskOf(status, "SigBlk")
	for range 20 {
		undo := hold()
		if set := setOf(held...); maskOf(status, "SigBlk") != before|uint64(set.Val[0]) {
			t.Errorf("mask %#x, before %#x", maskOf(status, "SigBlk"), before)
		}
		if err := unix.Kill(unix.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		<-told
		for deadline := time.Now().Add(time.Minute); !pending("SigPnd", waits); {
			if time.Now().After(deadline) {
				t.Fatal("it does not wait for the next program")
			}
			runtime.Gosched()
		}
		undo()
		if pending("SigPnd", waits) {
			t.Error("it still waits")
		}
		if after := maskOf(status, "SigBlk"); after != before {
			t.Errorf("mask %#x, before %#x", after, before)
		}
	}
	if len(told) > 0 {
		t.Errorf("%d were told again", len(told))
	}
}

// The runtime does with signals what hold relies on: of a program that was just
// executed it honours the mask, but for signals that it would die of, and of
// those it leaves the ones ignored that are.
func TestRuntimeAndSignals(t *testing.T) {
	l := found(t, "TEST_NO_SIGNALS=1")
	l.next(2, "exec")
	status := fmt.Sprintf("/proc/%d/status", l.cmd.Process.Pid)
	if set := maskOf(status, "SigBlk"); set != 0 { // once it has a Spawner
		t.Errorf("the main thread has signals blocked: %#x", set)
	}
	if set := maskOf(status, "SigIgn"); set != 0 {
		t.Errorf("ignored: %#x", set)
	}
	for _, c := range []struct {
		sig     unix.Signal
		ignored bool
		dies    bool
	}{
		{unix.SIGUSR1, false, false}, {unix.SIGALRM, false, false}, {64, false, false},
		{unix.SIGHUP, false, true}, {unix.SIGINT, false, true}, {unix.SIGTERM, false, true},
		{unix.SIGHUP, true, false}, {unix.SIGINT, true, false},
	} {
		program := asProgram("pending")
		out, err := exec.Command(program[0], append(program[1:], strconv.Itoa(int(c.sig)), strconv.FormatBool(c.ignored))...).CombinedOutput()
		if died := err != nil; died != c.dies {
			t.Errorf("%v, ignored %v: %v, %s", c.sig, c.ignored, err, out)
		}
	}
}

// pending tells whether a signal waits; which is the key of proc_pid_status(5).
func pending(which string, sig unix.Signal) bool {
	return maskOf("/proc/thread-self/status", which)>>(sig-1)&1 == 1
}

// awaitPending waits until a signal does, which is blocked: signalfd(2) tells, and
// takes it only where it is read.
func awaitPending(sig unix.Signal) {
	set := setOf(sig)
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC)
	if err != nil {
		log.Fatal(os.NewSyscallError("signalfd", err))
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(time.Minute); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(time.Until(deadline), 0).Milliseconds()))
		if n == 1 {
			return
		}
		if err != unix.EINTR {
			log.Fatalf("%v does not come, %v", sig, err)
		}
	}
}

// maskOf is a set of signals in a status file; all of them if it can't be read.
func maskOf(path, which string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return ^uint64(0)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), which+":"); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			if err != nil {
				break
			}
			return n
		}
	}
	return ^uint64(0)
}
