//go:build !386 && !arm

package shim

import "syscall"

const (
	sysSetgroups = syscall.SYS_SETGROUPS
	sysGetgroups = syscall.SYS_GETGROUPS
	sysSetresgid = syscall.SYS_SETRESGID
	sysSetresuid = syscall.SYS_SETRESUID
	sysGetresgid = syscall.SYS_GETRESGID
	sysGetresuid = syscall.SYS_GETRESUID
)
