package shim

import (
	"syscall"
	"unsafe"
)

// Step names what a shim was at when it failed, in the order of the steps.
type Step uint8

const (
	StepOOM        Step = iota + 1 // oom_score_adj
	StepNice                       // setpriority(2)
	StepLimit                      // setrlimit(2); Index is that of the limit
	StepGroups                     // setgroups(2)
	StepGID                        // setresgid(2)
	StepUID                        // setresuid(2)
	StepVerify                     // the kernel's word on who it is now differs, or it could become root again
	StepNoNewPrivs                 // prctl(2)
	StepDeathSig                   // prctl(2)
	StepDir                        // chdir(2)
	StepExec                       // execve(2)
)

// Failure is why a shim did not start the program.
type Failure struct {
	Step  Step
	Index int           // for StepLimit, which one
	Errno syscall.Errno // 0 for StepVerify
}

// recordSize is the length of what the shim writes to the pipe at once: the
// step, a zero, the index in two bytes and the errno in four, lowest first. A
// record of StepExec without an errno says that execve(2) comes next: when after
// it the pipe ends, it was closed by the exec.
const recordSize = 8

// Outcome reads all that came through the pipe until its end. ran is whether the
// program was started; if not, failure says why, or is nil: the shim ended
// without a word.
func Outcome(b []byte) (ran bool, failure *Failure) {
	for ; len(b) >= recordSize; b = b[recordSize:] {
		errno := uint32(b[4]) | uint32(b[5])<<8 | uint32(b[6])<<16 | uint32(b[7])<<24
		if step := Step(b[0]); step == StepExec && errno == 0 {
			ran = true
		} else {
			return false, &Failure{Step: step, Index: int(b[2]) | int(b[3])<<8, Errno: syscall.Errno(errno)}
		}
	}
	return ran, nil
}

// record is the only one there is: reporting must neither allocate nor let the
// runtime's scheduler in, which may want to start a thread.
var record [recordSize]byte

// report writes a record to the pipe, which has room for it. If nobody reads it
// there is nobody to tell.
func report(fd int, step Step, index int, errno syscall.Errno) {
	record = [recordSize]byte{
		byte(step), 0, byte(index), byte(index >> 8),
		byte(errno), byte(errno >> 8), byte(errno >> 16), byte(errno >> 24),
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&record)), recordSize)
}
