//go:build 386 || arm

package shim

import "syscall"

// Without the suffix these calls take ids of 16 bits here.
const (
	sysSetgroups = syscall.SYS_SETGROUPS32
	sysGetgroups = syscall.SYS_GETGROUPS32
	sysSetresgid = syscall.SYS_SETRESGID32
	sysSetresuid = syscall.SYS_SETRESUID32
	sysGetresgid = syscall.SYS_GETRESGID32
	sysGetresuid = syscall.SYS_GETRESUID32
)
