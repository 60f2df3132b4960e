package shim

import (
	"syscall"
	"unsafe"
)

// identity is the user to become, with room for what the kernel says of it
// afterwards.
type identity struct {
	c   *Credential // nil: stay
	got []uint32
}

func newIdentity(c *Credential) identity {
	if c == nil {
		return identity{}
	}
	return identity{c, make([]uint32, len(c.Groups)+1)}
}

// become changes the calling thread's user, which execve(2) makes the process's,
// and asks the kernel whether it has become that: all of it, and for good.
func (id identity) become(o *Order) bool {
	c := id.c
	if c == nil {
		return true
	}
	if errno := setGroups(c.Groups); errno != 0 {
		report(o.Report, StepGroups, 0, errno)
		return false
	}
	gid, uid := uintptr(c.GID), uintptr(c.UID)
	if _, _, errno := syscall.RawSyscall(sysSetresgid, gid, gid, gid); errno != 0 {
		report(o.Report, StepGID, 0, errno)
		return false
	}
	if _, _, errno := syscall.RawSyscall(sysSetresuid, uid, uid, uid); errno != 0 {
		report(o.Report, StepUID, 0, errno)
		return false
	}
	if !id.is() || id.canReturn() {
		report(o.Report, StepVerify, 0, 0)
		return false
	}
	return true
}

func setGroups(groups []uint32) syscall.Errno {
	_, _, errno := syscall.RawSyscall(sysSetgroups, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	return errno
}

// is compares real, effective and saved ids, and the supplementary groups.
func (id identity) is() bool {
	var r, e, s uint32
	for _, ids := range [...]struct {
		call uintptr
		want uint32
	}{{sysGetresuid, id.c.UID}, {sysGetresgid, id.c.GID}} {
		_, _, errno := syscall.RawSyscall(ids.call, uintptr(unsafe.Pointer(&r)), uintptr(unsafe.Pointer(&e)), uintptr(unsafe.Pointer(&s)))
		if errno != 0 || r != ids.want || e != ids.want || s != ids.want {
			return false
		}
	}
	n, _, errno := syscall.RawSyscall(sysGetgroups, uintptr(len(id.got)), uintptr(unsafe.Pointer(&id.got[0])), 0)
	if errno != 0 || int(n) != len(id.c.Groups) {
		return false
	}
	for i, g := range id.c.Groups {
		if id.got[i] != g {
			return false
		}
	}
	return true
}

// canReturn tries to be root again, which works where the capability CAP_SETUID
// was kept.
func (id identity) canReturn() bool {
	if id.c.UID == 0 {
		return false
	}
	const same = ^uintptr(0)
	_, _, errno := syscall.RawSyscall(sysSetresuid, same, 0, same)
	return errno == 0
}
