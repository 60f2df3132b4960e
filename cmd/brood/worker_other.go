//go:build !linux

package main

import "os/exec"

// startBound starts a process; here it does not die with this one, nor its group with
// it. wait is cmd.Wait.
func startBound(cmd *exec.Cmd) (wait func() error, err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd.Wait, nil
}
