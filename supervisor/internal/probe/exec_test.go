package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor/internal/process"
)

// programs are what this binary can be. Descriptor 3 is the test's.
var programs = map[string]func(){
	// leaver is ready, and leaves a process outside its group that holds its
	// output.
	"leaver": func() {
		stays := exec.Command("sleep", "1000")
		stays.Stdout, stays.Stderr = os.Stdout, os.Stderr
		stays.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := stays.Start(); err != nil {
			log.Fatal(err)
		}
		fmt.Println("serving")
		fmt.Fprintln(os.NewFile(3, "test"), stays.Process.Pid)
	},
	// supervises checks a worker, and waits to be killed.
	"supervises": func() {
		check := sh("echo up >&3; exec sleep 1000")
		check.Spec.Extra = []*os.File{os.NewFile(3, "test")}
		log.Fatal(check.Ready(context.Background()))
	},
}

// sh is a check by a shell script.
func sh(script string) Exec {
	return Exec{Spec: process.Spec{Command: []string{"/bin/sh", "-c", script}, Env: os.Environ()}}
}

// told gives check a pipe as descriptor 3, and returns the end to read.
func told(t *testing.T, check *Exec) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	_ = r.SetReadDeadline(time.Now().Add(20 * time.Second))
	check.Spec.Extra = []*os.File{w}
	check.Start = func(s process.Spec) (Process, error) {
		defer w.Close()
		return process.Start(s)
	}
	return r
}

func TestExecVerdicts(t *testing.T) {
	noLeaks(t)
	for _, c := range []struct {
		script string
		want   []string // of the error; none: ready
	}{
		{"exit 0", nil},
		{"echo much to say; echo more >&2; cat", nil}, // its input is empty
		{"sleep 1000 & exit 0", nil},                  // what is left of the group is killed
		{"exit 3", []string{"exit code 3"}},
		{"echo no; printf 'port\\033 80\\377' >&2; exit 1", []string{"exit code 1: no port 80\uFFFD"}},
		{"kill -9 $$", []string{"signal 9", "killed"}},
		{"echo going; kill -TERM $$; sleep 1000", []string{"signal 15", ": going"}},
		{"head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the reason; exit 1", []string{"exit code 1", "the reason"}},
	} {
		err := sh(c.script).Ready(soon(t))
		if c.want != nil {
			wantError(t, err, c.want...)
		} else if err != nil {
			t.Errorf("%s: %v", c.script, err)
		}
	}
	for _, command := range [][]string{{"/nonexistent/check"}, {"no-such-check"}, {""}, nil} {
		check := Exec{Spec: process.Spec{Command: command, Env: os.Environ()}}
		if err := check.Ready(soon(t)); err == nil {
			t.Errorf("%q is ready", command)
		}
	}
	dir := sh("test $PWD = /tmp && test $MODE = test")
	dir.Spec.Dir, dir.Spec.Env = "/tmp", append(os.Environ(), "MODE=test")
	if err := dir.Ready(soon(t)); err != nil {
		t.Error(err)
	}
}

// TestExecEndsWithItsContext: the whole group goes, whatever it does.
func TestExecEndsWithItsContext(t *testing.T) {
	noLeaks(t)
	for name, script := range map[string]string{
		"hangs":         "sleep 1000 & echo up >&3; wait",
		"ignores TERM":  "trap '' TERM INT HUP; echo up >&3; while :; do sleep 1000; done",
		"floods":        "echo up >&3; exec yes",
		"stopped":       "echo up >&3; kill -STOP $$",
		"a child holds": "sh -c 'trap \"\" TERM; echo up >&3; sleep 1000' & sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			check := sh(script)
			r := told(t, &check)
			ctx, cancel := context.WithCancel(soon(t))
			done := make(chan error, 1)
			go func() { done <- check.Ready(ctx) }()
			if _, err := io.ReadFull(r, make([]byte, len("up\n"))); err != nil {
				t.Fatal(err)
			}
			cancel()
			wantError(t, <-done, "still running")
			if rest, err := io.ReadAll(r); err != nil || len(rest) != 0 {
				t.Errorf("one of its group lives on: %q, %v", rest, err)
			}
		})
	}
	t.Run("ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(soon(t))
		cancel()
		if err := sh("exit 0").Ready(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("each attempt", func(t *testing.T) {
		ctx, cancel := context.WithCancel(soon(t))
		check, starts := sh("exec sleep 1000"), 0
		check.Start = func(s process.Spec) (Process, error) {
			if starts++; starts == 3 {
				cancel()
			}
			return process.Start(s)
		}
		err := Run(ctx, check, ms, 50*time.Millisecond)
		wantError(t, err, "after 3 checks", "not within 50ms", "still running")
	})
}

// TestExecGrandchildHoldsOutput: one that has left the group, and holds the
// output, holds nobody up.
func TestExecGrandchildHoldsOutput(t *testing.T) {
	noLeaks(t)
	check := Exec{Spec: process.Spec{Command: []string{os.Args[0], "as-program", "leaver"}, Env: os.Environ()}}
	r := told(t, &check)
	if err := check.Ready(soon(t)); err != nil {
		t.Error(err)
	}
	var pid int
	if _, err := fmt.Fscan(r, &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("it is not there any more: %v", err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// TestExecStealsNoExitCode: processes that others wait for end as they end.
func TestExecStealsNoExitCode(t *testing.T) {
	noLeaks(t)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var all sync.WaitGroup
	defer all.Wait()
	for i := range 30 {
		code := 1 + i
		all.Go(func() {
			if err := sh(fmt.Sprintf("exit %d", code)).Ready(soon(t)); err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("exit code %d", code)) {
				t.Errorf("a check: %v, want code %d", err, code)
			}
		})
		p, err := process.Start(process.Spec{
			Command: []string{"/bin/sh", "-c", fmt.Sprintf("exit %d", 100+i)}, Env: os.Environ(), Stdin: null, Stdout: null, Stderr: null,
		})
		if err != nil {
			t.Fatal(err)
		}
		if exit, err := p.Wait(); err != nil || exit.Code != 100+i {
			t.Errorf("a worker: %+v, %v, want code %d", exit, err, 100+i)
		}
	}
}

// undying is a process that no signal ends for now.
type undying struct {
	Process
	killed chan struct{}
	end    chan struct{}
}

func (u *undying) Signal(syscall.Signal) error { close(u.killed); return nil }

func (u *undying) Wait() (process.Exit, error) {
	<-u.end
	_ = u.Process.Signal(syscall.SIGKILL)
	return u.Process.Wait()
}

func TestExecSurvivesWhatSurvivesSIGKILL(t *testing.T) {
	noLeaks(t)
	u := &undying{killed: make(chan struct{}), end: make(chan struct{})}
	check := sh("exec sleep 1000")
	ctx, cancel := context.WithCancel(soon(t))
	check.Start = func(s process.Spec) (Process, error) {
		defer cancel()
		p, err := process.Start(s)
		u.Process = p
		return u, err
	}
	if err := check.Ready(ctx); !errors.Is(err, errStays) {
		t.Errorf("got %v", err)
	}
	<-u.killed
	close(u.end) // it is reaped all the same
}

// TestExecDiesWithTheSupervisor: that is killed, and so the check is.
func TestExecDiesWithTheSupervisor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs PR_SET_PDEATHSIG")
	}
	noLeaks(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(os.Args[0], "as-program", "supervises")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{w}, os.Stderr
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.SetReadDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(r)
	if _, err := in.ReadString('\n'); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if rest, err := io.ReadAll(in); err != nil {
		t.Errorf("the check lives on: %q, %v", rest, err)
	}
}
