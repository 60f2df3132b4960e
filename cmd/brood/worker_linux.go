package main

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// startBound starts a process that dies with this one, however that ends, and with
// it what is left in its process group, if it has one of its own. wait, which must be
// called, is cmd.Wait.
//
// The kernel signals it when the thread that forked it ends, not the process,
// prctl(2). So that thread is held until the process is reaped.
func startBound(cmd *exec.Cmd) (wait func() error, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if cmd.SysProcAttr.Setpgid {
			endGroup(cmd.Process.Pid)
		}
		ended <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return func() error { return <-ended }, nil
}

// endGroup kills a group when its leader has ended. That is not reaped yet, so the
// group's number can't be another's.
func endGroup(leader int) {
	for errors.Is(unix.Waitid(unix.P_PID, leader, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	syscall.Kill(-leader, syscall.SIGKILL)
}
