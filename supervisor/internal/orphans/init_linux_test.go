package orphans

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// programs are what this binary can be.
var programs = map[string]func() error{
	"init":       asInit,
	"blind init": asBlindInit,
}

// TestPID1 of a pid namespace, with and without a /proc of its own, reaps what
// it adopts, and is told of nothing twice.
func TestPID1(t *testing.T) {
	needs(t, "unshare")
	needs(t, "setsid")
	if os.Getuid() != 0 {
		t.Skip("needs root, for a pid namespace")
	}
	for name, flags := range map[string][]string{
		"init":       {"--pid", "--fork", "--kill-child", "--mount-proc"},
		"blind init": {"--pid", "--fork", "--kill-child"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(deadline(t), "unshare", append(flags, os.Args[0], "as-program", name)...)
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
			out, err := cmd.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "clean" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// breed starts a shell that leaves n processes behind, half of them in sessions
// of their own and without environment, and exits. They end with descriptor 3.
func breed(leaders *Leaders, third *os.File, n int) (pid int, err error) {
	script := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do (env -i setsid sh -c 'read x <&3' &) ; (sh -c 'read x <&3; exit 1' &) ; i=$((i+1)); done; exit 4`, n/2)
	err = leaders.Fork(func() (int, error) {
		pid, err = syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{
			Env: os.Environ(), Files: []uintptr{0, 1, 2, third.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true},
		})
		return pid, err
	})
	return pid, err
}

// endOf awaits a leader's end and checks its exit code.
func endOf(leaders *Leaders, pid, code int) (err error) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	leaders.Reap(pid, func() {
		var ws unix.WaitStatus
		if _, err = unix.Wait4(pid, &ws, 0, nil); err == nil && ws.ExitStatus() != code {
			err = fmt.Errorf("the leader ended with %d", ws.ExitStatus())
		}
	})
	return err
}

func asInit() error {
	if os.Getpid() != 1 {
		return fmt.Errorf("this is process %d", os.Getpid())
	}
	var leaders Leaders
	o, err := Start(Options{Leaders: &leaders, All: true})
	if err != nil {
		return err
	}
	defer o.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	const n = 40
	pid, err := breed(&leaders, r, n)
	if err != nil {
		return err
	}
	if err := endOf(&leaders, pid, 4); err != nil {
		return err
	}
	r.Close()
	w.Close()
	if !soon(func() bool { return len(childPIDs()) == 0 }) {
		return fmt.Errorf("left: %v", childPIDs())
	}
	if all, err := pids(); err != nil || len(all) != 1 {
		return fmt.Errorf("left: %v, %v", all, err)
	}
	return killAllAsInit(o, &leaders)
}

// killAllAsInit leaves others alive, for KillAll.
func killAllAsInit(o *Orphans, leaders *Leaders) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	pid, err := breed(leaders, r, 2)
	if err != nil {
		return err
	}
	if err := endOf(leaders, pid, 4); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	killed, err := o.KillAll(ctx)
	if err != nil || len(killed) != 2 {
		return fmt.Errorf("killed %v, %v", killed, err)
	}
	if all, err := pids(); err != nil || len(all) != 1 {
		return fmt.Errorf("left: %v, %v", all, err)
	}
	fmt.Println("clean")
	return nil
}

// asBlindInit has the /proc of another namespace, in which its numbers mean
// others.
func asBlindInit() error {
	var leaders Leaders
	if _, err := Start(Options{Leaders: &leaders}); err == nil || !strings.Contains(err.Error(), "another pid namespace") {
		return fmt.Errorf("without All it is %v", err)
	}
	o, err := Start(Options{Leaders: &leaders, All: true})
	if err != nil {
		return err
	}
	defer o.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	pid, err := breed(&leaders, r, 20)
	if err != nil {
		return err
	}
	f := o.Family(Origin{Worker: "web/1", Generation: 1, Leader: pid})
	r.Close()
	w.Close()
	f.Note()
	if err := endOf(&leaders, pid, 4); err != nil {
		return err
	}
	if !soon(func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.deaths == 20 }) {
		return errors.New("not all were reaped")
	}
	if _, err := f.End(context.Background()); err == nil {
		return errors.New("it claims to have found what it can't see")
	}
	fmt.Println("clean")
	return nil
}
