package main

import (
	"os/exec"
	"runtime"
	"syscall"
)

// startBound starts a process that dies with this one, however that ends. wait,
// which must be called, is cmd.Wait.
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
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return func() error { return <-ended }, nil
}
