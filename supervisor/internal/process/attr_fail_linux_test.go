package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/shim"
)

func init() {
	programs["refused"] = func() {
		for _, attr := range refusals {
			printOutcome(attr)
		}
	}
	programs["become-nobody"] = func() {
		printOutcome(Attr{Credential: nobody})
		printOutcome(Attr{Credential: nobody, Umask: ptr(uint32(0))})
	}
}

var nobody = &Credential{UID: 65534, GID: 65534, User: "nobody"}

// printOutcome starts a program and prints in a line what came of it.
func printOutcome(attr Attr) {
	p, err := Start(Spec{Command: []string{"sh", "-c", "sleep 1000"}, Env: os.Environ(), Attr: attr})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = p.Signal(syscall.SIGKILL)
	_, _ = p.Wait()
	fmt.Println("started")
}

// reachable is a copy of this binary that others than root may run, in a
// directory they may enter.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "brood-process-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// outcomes are the lines that a command prints, which needs setpriv(1) or
// unshare(1).
func outcomes(t *testing.T, command ...string) []string {
	t.Helper()
	needRoot(t)
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skip("needs " + command[0])
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "/"
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v: %s", command, err, &stderr)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func compare(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

// refusals are what the kernel gives to no one but root.
var refusals = []Attr{
	{Nice: ptr(-5)},
	{OOMScoreAdj: ptr(-500)},
	{Limits: []Limit{{LimitNames["core"], 0, 0}, {LimitNames["nofile"], 1000000, 1000000}}},
	{Limits: []Limit{{LimitNames["memlock"], 5, Unlimited}}},
	{Credential: nobody},
	{Umask: ptr(uint32(0o77)), Nice: ptr(19), OOMScoreAdj: ptr(900), NoNewPrivs: true, Limits: []Limit{{LimitNames["core"], 0, 0}}},
}

// What can't be had is said by name, and the program does not start without it.
func TestRefusedAttributes(t *testing.T) {
	got := outcomes(t, "setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "prlimit", "--memlock=65536", reachable(t), "as-program", "refused")
	compare(t, got,
		"setpriority nice -5: permission denied (to go below the supervisor's own takes the capability CAP_SYS_NICE)",
		"oom_score_adj -500: permission denied (to go below the supervisor's own takes the capability CAP_SYS_RESOURCE)",
		"setrlimit nofile 1000000: operation not permitted (the supervisor's hard limit is ",
		"setrlimit memlock 5:unlimited: operation not permitted (the supervisor's hard limit is 65536; to raise it takes the capability CAP_SYS_RESOURCE)",
		"only root can become user nobody (uid 65534, gid 65534) and brood runs as uid 1234; start it as root, or leave user: and group: away",
		"started",
	)
}

// Root can't become another user where its capabilities are taken away or the
// user does not exist. Then nothing starts, least of all as root.
func TestPrivilegesOnlyGoDown(t *testing.T) {
	for _, c := range []struct {
		name    string
		command []string
		want    [2]string // without the shim, and with it
	}{
		{"CAP_SETUID is missing", []string{"setpriv", "--bounding-set=-setuid"}, [2]string{
			"it can't become user nobody (uid 65534, gid 65534); brood needs the capabilities CAP_SETUID and CAP_SETGID",
			"setresuid for user nobody (uid 65534, gid 65534): operation not permitted"}},
		{"CAP_SETGID is missing", []string{"setpriv", "--bounding-set=-setgid"}, [2]string{
			"it can't become user nobody (uid 65534, gid 65534)",
			"setgroups for user nobody (uid 65534, gid 65534): operation not permitted"}},
		{"capabilities are kept", []string{"setpriv", "--securebits=+no_setuid_fixup"}, [2]string{
			"the process did not become user nobody (uid 65534, gid 65534) for good",
			"the process did not become user nobody (uid 65534, gid 65534) for good"}},
		{"no such id in its namespace", []string{"unshare", "--user", "--map-root-user"}, [2]string{
			"it can't become user nobody (uid 65534, gid 65534)",
			"setgroups for user nobody (uid 65534, gid 65534): operation not permitted"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			compare(t, outcomes(t, append(c.command, reachable(t), "as-program", "become-nobody")...), c.want[:]...)
		})
	}
	t.Run("a set-user-id supervisor", func(t *testing.T) {
		needRoot(t)
		path := reachable(t)
		if err := errors.Join(os.Chown(path, 1234, 1234), os.Chmod(path, 0o755|os.ModeSetuid)); err != nil {
			t.Fatal(err)
		}
		compare(t, outcomes(t, path, "as-program", "become-nobody"), "only root can become user nobody", "only root can become user nobody")
		got := outcomes(t, path, "as-program", "refused")
		compare(t, got[5:], "the supervisor runs with a set-user-id or set-group-id bit, which it must not")
	})
}

// The new user is the one who must be able to enter the directory and to run the
// program, whatever root may.
func TestTheNewUserEntersAndRuns(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nsleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, attr := range []Attr{{Credential: nobody}, {Credential: nobody, Umask: ptr(uint32(0))}} {
		for _, change := range []func(*Spec){func(s *Spec) { s.Dir = dir }, func(s *Spec) { s.Command = []string{program} }} {
			s := spec(t, "sleep", "1000")
			s.Attr = attr
			change(&s)
			_, err := Start(s)
			if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "user nobody (uid 65534, gid 65534) may not execute it, or not enter its directory") {
				t.Errorf("%v", err)
			}
		}
	}
}

// A program that can't be executed is told of as without the shim.
func TestShimTellsOfTheProgramAsItIs(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, command := range [][]string{
		{"/no/such/program"},
		{"no-such-program"},
		{dir},
		{write("interpreter", "#!/no/such/interpreter\n")},
		{write("format", "\x00\x01\x02\x03")},
		{"sleep", "a\x00b"},
		{"sleep", strings.Repeat("x", 200_000)}, // MAX_ARG_STRLEN, execve(2)
	} {
		s := spec(t, "sleep")
		s.Command = command
		_, plain := Start(s)
		s.Attr.Nice = ptr(0)
		_, shimmed := Start(s)
		if plain == nil || shimmed == nil || plain.Error() != shimmed.Error() {
			t.Errorf("%.40q:\nwithout the shim: %v\nwith it: %v", command, plain, shimmed)
		}
		for _, is := range []error{unix.ENOENT, unix.ENOEXEC, unix.EINVAL, unix.E2BIG} {
			if errors.Is(plain, is) != errors.Is(shimmed, is) {
				t.Errorf("%.40q: only one is %v", command, is)
			}
		}
	}
}

// ETXTBSY comes back from the shim, and is tried as often as without it.
func TestShimTriesABusyProgramAgain(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fresh")
	writer, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := writer.Write(binary); err != nil {
		t.Fatal(err)
	}
	s := spec(t, path, "1000")
	s.Attr.Nice = ptr(0)
	tries := 0
	try := func() (*Process, error) {
		tries++
		cmd, err := command(s)
		if err != nil {
			return nil, err
		}
		return startShim(s, cmd, forkHere, nil)
	}
	if _, err := retryBusy(try); !errors.Is(err, unix.ETXTBSY) || tries != busyTries {
		t.Fatalf("while it is written: %v after %d tries", err, tries)
	}
	tries = 0
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := retryBusy(func() (*Process, error) {
		if tries == 2 {
			writer.Close()
		}
		return try()
	})
	if err != nil || tries != 3 {
		t.Fatalf("closed before the third try: %v after %d tries", err, tries)
	}
	p.discard(nil, false)
}

// What the kernel would cut off, or take without a word, is refused.
func TestCheckRefusesWhatTheKernelWouldBend(t *testing.T) {
	for _, c := range []struct {
		change func(*Spec)
		want   string
	}{
		{func(s *Spec) { s.Command = nil }, "there is no program"},
		{func(s *Spec) { s.Attr.Umask = ptr(uint32(0o1777)) }, "umask 01777 is more than 0777"},
		{func(s *Spec) { s.Attr.Nice = ptr(20) }, "nice 20 is not within -20 and 19"},
		{func(s *Spec) { s.Attr.OOMScoreAdj = ptr(-1001) }, "oom_score_adj -1001 is not within"},
		{func(s *Spec) { s.Attr.ListenFDs = 1 }, "1 listening sockets are announced and 0 descriptors handed over"},
		{func(s *Spec) { s.Attr.Limits = []Limit{{LimitNames["nofile"], Unlimited, 5}} }, "limit nofile: the soft one (unlimited) is above the hard one (5)"},
		{func(s *Spec) { s.Attr.Limits = []Limit{{99, 1, 1}} }, "setrlimit resource 99 1: invalid argument"},
	} {
		s := spec(t, "sleep", "1000")
		c.change(&s)
		if _, err := Start(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestCgroupThatIsNone(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, attr := range []Attr{{}, {Nice: ptr(0)}} {
		s := spec(t, "sleep", "1000")
		s.Attr, s.CgroupFD = attr, int(dir.Fd())
		if _, err := Start(s); err == nil || !strings.Contains(err.Error(), "its cgroup does not take it in: ") {
			t.Errorf("%v", err)
		}
	}
}

// A shim that says nothing, or does not end, is no program that runs.
func TestShimWithoutAWord(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := awaitShim(int(r.Fd()), time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, ErrShim) {
		t.Errorf("open: %v", err)
	}
	if _, err := io.WriteString(w, "\x09\x00\x00"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if failure, err := awaitShim(int(r.Fd()), time.Minute); failure != nil || !errors.Is(err, ErrShim) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("closed: %+v, %v", failure, err)
	}
}

// Nothing is left of a start through the shim, be it good or bad: no
// descriptor, no process.
func TestShimLeavesNothing(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	good, bad, missing, nul := spec(t, "true"), spec(t, "true"), spec(t, "true"), spec(t, "true")
	for _, s := range []*Spec{&good, &bad, &missing, &nul} {
		s.Attr.Nice = ptr(0)
	}
	bad.Attr.Limits = []Limit{{99, 1, 1}}
	missing.Command = []string{"/no/such/program"}
	nul.Command = []string{"true", "\x00"}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	once := func() {
		for _, s := range []Spec{bad, missing, nul} {
			if _, err := Start(s); err == nil {
				t.Fatal("started")
			}
		}
		p, err := Start(good)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := p.Wait(); err != nil || e != (Exit{}) {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	once() // the runtime's own descriptors are made at the first use
	before := count()
	for range 10 {
		once()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", unix.Gettid()))
	if err != nil || len(children) > 0 {
		t.Errorf("children of this thread: %q, %v", children, err)
	}
}

// Nothing of the worker's environment has power over the shim, which still has
// the supervisor's rights.
func TestShimHasAnEnvironmentOfItsOwn(t *testing.T) {
	for _, kv := range shimEnv(7) {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case shim.Variable, "GOMAXPROCS", "GOGC", "GODEBUG":
		case "LD_LIBRARY_PATH":
			if kv != name+"="+os.Getenv(name) {
				t.Error(kv)
			}
		default:
			t.Error(kv)
		}
	}
	// A shim that obeyed this would print to the worker's stderr.
	s := spec(t, "true")
	s.Env = append(s.Env, "GODEBUG=inittrace=1,gctrace=1", "GOTRACEBACK=crash", "GOMEMLIMIT=1")
	s.Attr.Nice = ptr(0)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.Stderr = w
	p := begin(t, s)
	w.Close()
	if text, err := io.ReadAll(r); err != nil || len(text) > 0 {
		t.Errorf("%q, %v", text, err)
	}
	_, _ = p.Wait()
}
