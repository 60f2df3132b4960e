package shim

import (
	"syscall"
	"unsafe"
)

const (
	// Name is argv[0] of a shim, for those who look at the process list.
	Name = "brood-shim"
	// Variable names the descriptor with the order.
	Variable = "BROOD_SHIM"
)

// Of fcntl(2), linux/fcntl.h.
const (
	getSeals = 1034
	allSeals = 0x1 | 0x2 | 0x4 | 0x8 // seal, shrink, grow, write
)

// failed is the exit code of a shim that did not start its program. Who reads
// the report does not need it.
const failed = 127

func init() {
	if fd, ok := recognize(); ok {
		if o, ok := load(fd); ok {
			o.carryOut()
		}
		syscall.Exit(failed)
	}
}

// recognize reports whether this process is a shim, and the descriptor of its
// order. From there on it is nothing else: it never goes on to the program's
// main.
func recognize() (fd int, ok bool) {
	value, ok := syscall.Getenv(Variable)
	if !ok {
		return 0, false
	}
	fd, ok = number(value)
	if !ok || !sealed(fd) || syscall.Getuid() != syscall.Geteuid() || syscall.Getgid() != syscall.Getegid() {
		return 0, false
	}
	var head [len(mark)]byte
	return fd, readAt(fd, head[:]) && string(head[:]) == mark
}

// load reads the order, and sees to it that the program inherits neither it nor
// the pipe.
func load(fd int) (*Order, bool) {
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) != nil {
		return nil, false
	}
	b := make([]byte, st.Size)
	if !readAt(fd, b) {
		return nil, false
	}
	o, ok := decode(b)
	syscall.CloseOnExec(fd)
	syscall.CloseOnExec(o.Report)
	return &o, ok
}

func number(s string) (n int, ok bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, true
}

func sealed(fd int) bool {
	seals, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), getSeals, 0)
	return errno == 0 && seals&allSeals == allSeals
}

// readAt fills b from the beginning of the file.
func readAt(fd int, b []byte) bool {
	for n := 0; n < len(b); {
		m, err := syscall.Pread(fd, b[n:], int64(n))
		if err == syscall.EINTR {
			continue
		}
		if err != nil || m == 0 {
			return false
		}
		n += m
	}
	return true
}

// carryOut does what was ordered and returns only if that failed, which it has
// reported then.
//
// It runs on the main thread, to which the runtime locks every init: what
// belongs to a thread (nice, credentials, no_new_privs) is that of the process
// after execve(2). What needs privileges comes before they are given up. From the
// first limit on nothing is allocated, as a limit on memory may well be below
// what the Go runtime has reserved.
func (o *Order) carryOut() {
	var listenPID string
	if o.ListenPID {
		listenPID = "LISTEN_PID=" + decimal(syscall.Getpid()) + "\x00"
	}
	path, dir := pointer(o.Path), pointer(o.Dir)
	argv, envv := pointers(o.Argv, ""), pointers(o.Env, listenPID)
	who := newIdentity(o.Credential)
	restoreFileLimit()

	if !o.scheduling() || !o.limits() || !who.become(o) {
		return
	}
	if o.NoNewPrivs {
		if errno := prctl(prSetNoNewPrivs, 1); errno != 0 {
			report(o.Report, StepNoNewPrivs, 0, errno)
			return
		}
	}
	// A change of user has cleared it (PR_SET_PDEATHSIG, prctl(2)). Where the
	// supervisor ended before this call, there is nobody to run the program for.
	if errno := prctl(syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL)); errno != 0 {
		report(o.Report, StepDeathSig, 0, errno)
		return
	}
	if syscall.Getppid() != o.Parent {
		return
	}
	if o.Dir != "" {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(dir)), 0, 0); errno != 0 {
			report(o.Report, StepDir, 0, errno)
			return
		}
	}
	report(o.Report, StepExec, 0, 0)
	// Not syscall.Exec, which allocates. What its lock is for, a thread of the
	// runtime that is created meanwhile and meets EAGAIN, the runtime retries.
	_, _, errno := syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
	report(o.Report, StepExec, 0, errno)
}

func (o *Order) scheduling() bool {
	if o.OOMScoreAdj != nil {
		if err := setOOMScoreAdj(*o.OOMScoreAdj); err != nil {
			report(o.Report, StepOOM, 0, errnoOf(err))
			return false
		}
	}
	if o.Nice != nil {
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, *o.Nice); err != nil {
			report(o.Report, StepNice, 0, errnoOf(err))
			return false
		}
	}
	if o.Umask != nil {
		syscall.Umask(int(*o.Umask))
	}
	return true
}

func (o *Order) limits() bool {
	for i := range o.Limits {
		rlim := [2]uint64{o.Limits[i].Soft, o.Limits[i].Hard}
		_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, uintptr(o.Limits[i].Resource), uintptr(unsafe.Pointer(&rlim)), 0, 0, 0)
		if errno != 0 {
			report(o.Report, StepLimit, i, errno)
			return false
		}
	}
	return true
}

// restoreFileLimit undoes what the init of package syscall did to the soft
// limit of open files. Only an exec by package syscall does that, so one is
// made, of no file.
func restoreFileLimit() { _ = syscall.Exec("", []string{""}, nil) }

// setOOMScoreAdj writes to proc_pid_oom_score_adj(5).
func setOOMScoreAdj(n int) error {
	fd, err := syscall.Open("/proc/self/oom_score_adj", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = syscall.Write(fd, []byte(decimal(n)))
	syscall.Close(fd)
	return err
}

const prSetNoNewPrivs = 38 // linux/prctl.h

func prctl(option, arg uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg, 0, 0, 0, 0)
	return errno
}

// errnoOf: package syscall gives no other errors for system calls.
func errnoOf(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}

func decimal(n int) string {
	if n < 0 {
		return "-" + decimal(-n)
	}
	if n < 10 {
		return string(rune('0' + n))
	}
	return decimal(n/10) + string(rune('0'+n%10))
}

// pointer gives a string of an order to the kernel: it has a NUL behind it.
func pointer(s string) *byte { return unsafe.StringData(s) }

// pointers is a list as execve(2) takes it, with last, unless it is empty, at
// its end.
func pointers(l []string, last string) []*byte {
	p := make([]*byte, 0, len(l)+2)
	for _, s := range l {
		p = append(p, pointer(s))
	}
	if last != "" {
		p = append(p, pointer(last))
	}
	return append(p, nil)
}
