package process

import (
	"bufio"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each end of a program takes a second
	programs["die-with-me"] = dieWithMe
	programs["print-file-limit"] = printFileLimit
}

func ptr[T any](v T) *T { return &v }

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// status is /proc/PID/status (proc_pid_status(5)), and with it the limits, nice,
// oom_score_adj and cgroup, each under a name of its own.
func status(t testing.TB, pid int) map[string]string {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	all := map[string]string{"oom_score_adj": read("oom_score_adj"), "cgroup": read("cgroup")}
	for l := range strings.Lines(read("status")) {
		name, value, _ := strings.Cut(l, ":")
		all[name] = strings.Join(strings.Fields(value), " ")
	}
	for l := range strings.Lines(read("limits")) {
		if f := strings.Fields(l[min(26, len(l)):]); len(f) >= 2 {
			all[strings.TrimSpace(l[:26])] = f[0] + " " + f[1]
		}
	}
	stat := read("stat")
	all["nice"] = strings.Fields(stat[strings.LastIndexByte(stat, ')'):])[17]
	return all
}

// changing are lines of status that differ from process to process.
func changing(name, _ string) bool {
	for _, prefix := range []string{"Pid", "Tgid", "FDSize", "Ngid", "NS", "Vm", "Rss", "Hugetlb", "THP", "voluntary", "nonvoluntary", "SigQ", "State", "x86_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Each attribute reaches the program, and nothing but what was asked for
// changes.
func TestAttributesReachTheProgram(t *testing.T) {
	needRoot(t)
	user := &Credential{UID: 1234, GID: 2345, Groups: []uint32{4567, 2345, 3456, 4567}}
	becoming := map[string]string{"Uid": "1234 1234 1234 1234", "Gid": "2345 2345 2345 2345", "Groups": "2345 3456 4567"}
	powerless := map[string]string{"CapPrm": strings.Repeat("0", 16), "CapEff": strings.Repeat("0", 16)}
	umask := map[string]string{"Umask": "0027"}
	for _, c := range []struct {
		name string
		attr Attr
		want []map[string]string
	}{
		{"nothing", Attr{}, nil},
		{"credential", Attr{Credential: user}, []map[string]string{becoming, powerless}},
		{"no groups", Attr{Credential: &Credential{UID: 1234, GID: 2345}}, []map[string]string{becoming, powerless, {"Groups": ""}}},
		{"umask", Attr{Umask: ptr(uint32(0o027))}, []map[string]string{umask}},
		{"umask and credential", Attr{Umask: ptr(uint32(0o027)), Credential: user}, []map[string]string{umask, becoming, powerless}},
		{"root itself", Attr{Umask: ptr(uint32(0o027)), Credential: &Credential{}}, []map[string]string{umask, {"Groups": ""}}},
		{"limits", Attr{Limits: []Limit{{LimitNames["nofile"], 100, 200}, {LimitNames["core"], 0, 4096}}}, []map[string]string{{"Max open files": "100 200", "Max core file size": "0 4096"}}},
		{"nice", Attr{Nice: ptr(-5)}, []map[string]string{{"nice": "-5"}}},
		{"oom_score_adj", Attr{OOMScoreAdj: ptr(500)}, []map[string]string{{"oom_score_adj": "500"}}},
		{"no_new_privs", Attr{NoNewPrivs: true}, []map[string]string{{"NoNewPrivs": "1"}}},
		{"everything", Attr{
			Credential: user, Umask: ptr(uint32(0o027)), Nice: ptr(-5), OOMScoreAdj: ptr(500), NoNewPrivs: true,
			Limits: []Limit{{LimitNames["nofile"], 300, 300}, {LimitNames["nproc"], 1000, 1000}},
		}, []map[string]string{
			becoming, powerless, umask,
			{"nice": "-5", "oom_score_adj": "500", "NoNewPrivs": "1", "Max open files": "300 300", "Max processes": "1000 1000"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := status(t, begin(t, spec(t, "sleep", "1000")).PID)
			for _, more := range c.want {
				maps.Copy(want, more)
			}
			s := spec(t, "sleep", "1000")
			s.Attr = c.attr
			got := status(t, begin(t, s).PID)
			maps.DeleteFunc(want, changing)
			maps.DeleteFunc(got, changing)
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if got[name] != want[name] {
					t.Errorf("%s: %s, want %s", name, got[name], want[name])
				}
			}
		})
	}
}

// What the program finds is the same with the shim and without it: arguments,
// environment, directory, descriptors and their numbers, process group.
func TestShimIsNotSeen(t *testing.T) {
	plain, shimmed := find(t, Attr{}), find(t, Attr{Nice: ptr(0)})
	if !slices.Equal(plain, shimmed) {
		t.Errorf("without the shim:\n%q\nwith it:\n%q", plain, shimmed)
	}
}

// find starts a program with three more descriptors and looks what it has.
func find(t *testing.T, attr Attr) []string {
	s := spec(t, "sh", "-c", "echo ready; read line", "zero", "", "ä b")
	s.Dir, s.Attr = t.TempDir(), attr
	s.Env = append(s.Env, "A=1", "EMPTY=", "A=2", "not a variable")
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	t.Cleanup(func() { hold.Close() }) // until then it reads
	s.Stdin = stdin
	for range 3 {
		f, err := os.Open("/dev/zero")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s.Extra = append(s.Extra, f)
	}
	out := output(t, &s)
	pid := begin(t, s).PID
	line(t, out) // it opens nothing more
	var seen []string
	for _, name := range []string{"cmdline", "environ", "comm"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, string(b))
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != s.Dir {
		t.Errorf("its directory is %s, want %s: %v", cwd, s.Dir, err)
	}
	if group, err := unix.Getpgid(pid); err != nil || group != pid {
		t.Errorf("process %d is of group %d: %v", pid, group, err)
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err != nil {
			t.Fatal(err)
		}
		to, _, _ = strings.Cut(to, ":[") // the number of a pipe
		seen = append(seen, fd.Name()+" "+to)
	}
	return seen
}

// A limit on memory below what the shim itself has reserved does not break it.
func TestShimBearsALimitOnMemory(t *testing.T) {
	for _, name := range []string{"as", "data"} {
		s := spec(t, "sleep", "1000")
		s.Env = append(s.Env, "LARGE="+strings.Repeat("x", 100_000))
		s.Attr.Limits = []Limit{{LimitNames[name], 16 << 20, 16 << 20}}
		begin(t, s)
	}
}

// The Go runtime raises the soft limit of open files for itself; the program
// gets what the supervisor was started with.
func TestProgramHasTheOldFileLimit(t *testing.T) {
	cmd := exec.Command("sh", append([]string{"-c", `ulimit -Sn 500; exec "$@"`, "sh"}, asProgram("print-file-limit")...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil || string(out) != "500\n500\n" {
		t.Errorf("plain and shimmed: %q, %v", out, err)
	}
}

func printFileLimit() {
	for _, attr := range []Attr{{}, {Nice: ptr(0)}} {
		p, err := Start(Spec{Command: []string{"sh", "-c", "ulimit -Sn"}, Env: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Attr: attr})
		if err != nil {
			log.Fatal(err)
		}
		_, _ = p.Wait()
	}
}

// PR_SET_PDEATHSIG is cleared when a process changes its user. A worker of
// another user dies with the supervisor all the same.
func TestPdeathsigSurvivesTheChangeOfUser(t *testing.T) {
	needRoot(t)
	supervisor := exec.Command(os.Args[0], asProgram("die-with-me")[1:]...)
	supervisor.Stderr = os.Stderr
	out, err := supervisor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	var gone []func()
	for range dieAttrs {
		pid := pidIn(t, r)
		if got := status(t, pid)["Uid"]; got != "65534 65534 65534 65534" {
			t.Errorf("Uid: %s", got)
		}
		gone = append(gone, pidfdOf(t, pid))
	}
	_ = supervisor.Process.Kill()
	_ = supervisor.Wait()
	for _, wait := range gone {
		wait()
	}
}

// dieAttrs change the user with the shim and without it.
var dieAttrs = []Attr{
	{Credential: &Credential{UID: 65534, GID: 65534}},
	{Credential: &Credential{UID: 65534, GID: 65534}, Umask: ptr(uint32(0o22))},
}

func dieWithMe() {
	spawner := NewSpawner(nil)
	for _, attr := range dieAttrs {
		p, err := spawner.Start(Spec{Command: []string{"sleep", "1000"}, Env: os.Environ(), Attr: attr})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.PID)
	}
	select {}
}

// python is the system's own: what PATH finds may be a script.
func python(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("needs python3")
	return ""
}

// sd_listen_fds(3): LISTEN_PID is the pid of the process that is to take the
// sockets, and they are descriptors 3 and up.
func TestListenPIDIsItsOwn(t *testing.T) {
	const program = `import os
print(os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["LISTEN_FDS"], [os.readlink("/proc/self/fd/%d" % n) for n in (3, 4, 5)], os.path.exists("/proc/self/fd/6"))`
	s := spec(t, python(t), "-c", program)
	s.Env = append(s.Env, "LISTEN_PID=1", "LISTEN_FDS=2")
	for _, name := range []string{"/dev/zero", "/dev/full", "/dev/null"} {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s.Extra = append(s.Extra, f)
	}
	s.Attr.ListenFDs = 2
	out := output(t, &s)
	begin(t, s)
	if got := line(t, out); got != "True 2 ['/dev/zero', '/dev/full', '/dev/null'] False" {
		t.Errorf("it found %s", got)
	}
}

func TestBornIntoItsCgroup(t *testing.T) {
	needRoot(t)
	var root string
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(dir + "/cgroup.procs"); err == nil {
			root = dir
		}
	}
	if root == "" {
		t.Skip("needs a mounted cgroup2")
	}
	dir, err := os.MkdirTemp(root, "brood-test-")
	if err != nil {
		t.Skip("needs a cgroup2 that is ours to write:", err)
	}
	t.Cleanup(func() { // after the processes
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, attr := range []Attr{{}, {Nice: ptr(1), Credential: &Credential{UID: 65534, GID: 65534}}} {
		s := spec(t, "sleep", "1000")
		s.Attr, s.CgroupFD = attr, int(f.Fd())
		if got := status(t, begin(t, s).PID)["cgroup"]; !strings.Contains(got, "0::/"+filepath.Base(dir)) {
			t.Errorf("its cgroups are %s", got)
		}
	}
}
