package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/shim"
)

// shimDeadline bounds the time from the fork to the program's execve(2). A shim
// takes a millisecond or two; what can hold it up is a file system that does not
// answer.
const shimDeadline = 10 * time.Second

// ErrShim is in the chain of every error that says that a process could not be
// given its attributes.
var ErrShim = errors.New("its attributes can't be set")

// needShim reports whether there is something that os/exec can't do. Who becomes
// another user does so after all else, so then the shim does that too; and also
// where capabilities may outlive the change, as only the shim looks afterwards.
func (a Attr) needShim() bool {
	return a.Umask != nil || len(a.Limits) > 0 || a.Nice != nil || a.OOMScoreAdj != nil || a.NoNewPrivs || a.ListenFDs > 0 ||
		a.Credential != nil && secureBits() != 0
}

// secureBits are those of the calling thread (capabilities(7)). -1: not known.
func secureBits() int {
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		return -1
	}
	return bits
}

// startShim starts the shim in place of the program and returns when the one has
// become the other. The shim's own two descriptors come after those of the
// program, which so keep their numbers.
func startShim(s Spec, cmd *exec.Cmd, fork forker, table Table) (*Process, error) {
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() {
		return nil, fmt.Errorf("%w: the supervisor runs with a set-user-id or set-group-id bit, which it must not", ErrShim)
	}
	var report [2]int
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(report[0])
	reportEnd := os.NewFile(uintptr(report[1]), "shim-report")
	defer reportEnd.Close()
	orderFD := 3 + len(s.Extra)
	order, err := writeOrder(s, cmd, orderFD+1)
	if err != nil {
		return nil, err
	}
	defer order.Close()

	path := cmd.Path
	cmd.Path, cmd.Args, cmd.Env, cmd.Dir = "/proc/self/exe", []string{shim.Name}, shimEnv(orderFD), ""
	cmd.ExtraFiles = append(slices.Clone(s.Extra), order, reportEnd)
	pid, err := s.forkAs(cmd, nil, fork) // it is the shim that changes the user
	if err != nil {
		return nil, s.explain(fmt.Errorf("starting the shim that sets its attributes: %w", err))
	}
	p, err := adopt(pid, table)
	if err != nil {
		return nil, err
	}
	reportEnd.Close() // or its end would never be seen
	failure, err := awaitShim(report[0], shimDeadline)
	switch {
	case failure != nil:
		err = s.shimError(path, failure)
	case err == nil:
		return p, nil
	}
	p.discard(table, errors.Is(err, os.ErrDeadlineExceeded))
	return nil, err
}

// discard ends a process that is not to be and reaps it, in the background if it
// is stuck: a file system that does not answer can hold up even SIGKILL.
func (p *Process) discard(table Table, stuck bool) {
	_ = p.Signal(unix.SIGKILL)
	if stuck {
		go p.waitFor(table)
		return
	}
	p.waitFor(table)
}

// shimEnv is the whole environment of the shim. What the worker is to have is no
// business of the shim's: it would obey GODEBUG, and the dynamic loader
// LD_PRELOAD, still with the supervisor's rights. One processor is enough for
// it, and there is nothing to collect.
func shimEnv(orderFD int) []string {
	env := []string{fmt.Sprintf("%s=%d", shim.Variable, orderFD), "GOMAXPROCS=1", "GOGC=off", "GODEBUG=containermaxprocs=0"}
	if path, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok {
		env = append(env, "LD_LIBRARY_PATH="+path) // what this executable itself was loaded with
	}
	return env
}

// writeOrder puts what the shim is to do into a sealed memfd. The caller closes
// it.
func writeOrder(s Spec, cmd *exec.Cmd, reportFD int) (*os.File, error) {
	env := cmd.Environ() // without doubles
	a := s.Attr
	if a.ListenFDs > 0 {
		env = slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "LISTEN_PID=") })
	}
	o := shim.Order{
		Parent: os.Getpid(), Report: reportFD,
		Path: cmd.Path, Argv: cmd.Args, Env: env, Dir: s.Dir,
		OOMScoreAdj: a.OOMScoreAdj, Nice: a.Nice, Umask: a.Umask,
		NoNewPrivs: a.NoNewPrivs, ListenPID: a.ListenFDs > 0,
	}
	for _, l := range a.Limits {
		o.Limits = append(o.Limits, shim.Limit(l))
	}
	if c := a.Credential; c != nil {
		o.Credential = &shim.Credential{UID: c.UID, GID: c.GID, Groups: c.sortedGroups()}
	}
	b, err := o.Encode()
	if err != nil {
		return nil, &fs.PathError{Op: "fork/exec", Path: cmd.Path, Err: err}
	}
	return sealed(b)
}

// sealed makes a memfd that nobody can change any more.
func sealed(b []byte) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(shim.Name, flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // Linux before 6.3 does not know the flag that later ones may demand
		fd, err = unix.MemfdCreate(shim.Name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "shim-order")
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	return f, nil
}

// awaitShim reads the pipe to its end. Nil and nil: the program runs. An error
// is a shim that has not said what was wrong.
func awaitShim(fd int, limit time.Duration) (*shim.Failure, error) {
	deadline := time.Now().Add(limit)
	var got []byte
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int(max(0, time.Until(deadline).Milliseconds())))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("poll", err)
		}
		if n == 0 {
			return nil, fmt.Errorf("%w: the program was not executed within %v; is it on a file system that does not answer? %w", ErrShim, limit, os.ErrDeadlineExceeded)
		}
		var buf [64]byte
		n, err = unix.Read(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("read", err)
		}
		if got = append(got, buf[:n]...); n > 0 {
			continue
		}
		ran, failure := shim.Outcome(got)
		if !ran && failure == nil {
			err = fmt.Errorf("%w: the shim ended before it had set them; /proc/self/exe must be the program that embeds the supervisor", ErrShim)
		}
		return failure, err
	}
}

// shimError is a failure as a sentence.
func (s Spec) shimError(path string, f *shim.Failure) error {
	a := s.Attr
	say := func(hint, format string, args ...any) error {
		what := fmt.Sprintf(format, args...)
		if hint != "" {
			hint = " (" + hint + ")"
		}
		if f.Errno == 0 {
			return fmt.Errorf("%w: %s%s", ErrShim, what, hint)
		}
		return fmt.Errorf("%w: %s: %w%s", ErrShim, what, f.Errno, hint)
	}
	below := func(capability string) string {
		if isAny(f.Errno, unix.EPERM, unix.EACCES) {
			return "to go below the supervisor's own takes the capability " + capability
		}
		return ""
	}
	switch f.Step {
	case shim.StepOOM:
		return say(below("CAP_SYS_RESOURCE"), "oom_score_adj %d", *a.OOMScoreAdj)
	case shim.StepNice:
		return say(below("CAP_SYS_NICE"), "setpriority nice %d", *a.Nice)
	case shim.StepLimit:
		l := a.Limits[f.Index]
		return say(limitHint(l, f.Errno), "setrlimit %s", l)
	case shim.StepGroups:
		return s.explain(say("", "setgroups for %s", a.Credential))
	case shim.StepGID:
		return s.explain(say("", "setresgid for %s", a.Credential))
	case shim.StepUID:
		return s.explain(say("", "setresuid for %s", a.Credential))
	case shim.StepVerify:
		return say("", "the process did not become %s for good, so its program was not started; is a capability kept across setresuid?", a.Credential)
	case shim.StepNoNewPrivs:
		return say("", "prctl no_new_privs")
	case shim.StepDeathSig:
		return say("", "prctl pdeathsig")
	case shim.StepDir:
		return s.explain(&fs.PathError{Op: "chdir", Path: s.Dir, Err: f.Errno})
	default: // as os/exec would have it
		return s.explain(&fs.PathError{Op: "fork/exec", Path: path, Err: f.Errno})
	}
}

func limitHint(l Limit, errno error) string {
	var own unix.Rlimit
	if errno != unix.EPERM || unix.Getrlimit(l.Resource, &own) != nil {
		return ""
	}
	hint := "the supervisor's hard limit is " + limitValue(own.Max) + "; to raise it takes the capability CAP_SYS_RESOURCE"
	if l.Resource == unix.RLIMIT_NOFILE {
		hint += ", and nothing raises it above the sysctl fs.nr_open"
	}
	return hint
}
