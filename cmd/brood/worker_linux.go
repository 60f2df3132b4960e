package main

import "syscall"

// withParent has a process die with this one, however that ends.
func withParent(a *syscall.SysProcAttr) *syscall.SysProcAttr {
	a.Pdeathsig = syscall.SIGKILL
	return a
}
