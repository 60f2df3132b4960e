package supervisor

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/cgroup"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/process"
)

// launch is what processes of one version of a pool are started from. What it
// takes from the system is looked up by the spawner until it is found, and then
// kept.
type launch struct {
	pool *Pool // not to be written to

	mu    sync.Mutex // held during a look-up, so that one is made for all that start
	found bool
	attr  process.Attr
}

// attributes are those that the configuration asks for.
func (l *launch) attributes() (process.Attr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.found {
		return l.attr, nil
	}
	attr, err := l.lookUp()
	if err != nil {
		return attr, err // the user may be made yet
	}
	l.attr, l.found = attr, true
	return attr, nil
}

func (l *launch) lookUp() (process.Attr, error) {
	p := l.pool
	a := process.Attr{
		Umask: p.Umask, Nice: p.Nice, OOMScoreAdj: p.OOMScoreAdj, NoNewPrivs: p.NoNewPrivs, ListenFDs: len(p.Listen),
	}
	for _, name := range slices.Sorted(maps.Keys(p.Limits)) {
		resource, ok := process.LimitNames[name]
		if !ok {
			return a, fmt.Errorf("there is no limit %q on this system", name)
		}
		a.Limits = append(a.Limits, process.Limit{Resource: resource, Soft: p.Limits[name].Soft, Hard: p.Limits[name].Hard})
	}
	if p.User == "" && p.Group == "" {
		return a, nil
	}
	var err error
	a.Credential, err = process.LookupUser(p.User, p.Group)
	return a, err
}

// kept are the variables of the supervisor's own that CleanEnv leaves.
var kept = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TERM"}

// Environment is what a worker of this pool gets beside the BROOD_ variables
// and what hands sockets over. It reads EnvFile.
func (p Pool) Environment() ([]string, error) {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		ours := strings.HasPrefix(key, "BROOD_") || slices.Contains([]string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}, key)
		return ours || p.CleanEnv && !slices.Contains(kept, key) && !strings.HasPrefix(key, "LC_")
	})
	for _, path := range p.EnvFile {
		more, err := readEnvFile(path)
		if err != nil {
			return nil, err
		}
		env = append(env, more...)
	}
	for _, k := range slices.Sorted(maps.Keys(p.Env)) {
		env = append(env, k+"="+p.Env[k])
	}
	return env, nil
}

// maxEnvFile bounds an environment file in bytes.
const maxEnvFile = 1 << 20

// openEnvFile opens an environment file, which may have become anything since it
// was checked. O_NONBLOCK: a FIFO that nobody writes to would hold the spawner up
// for ever, and with it the stop of what it was to start (open(2)).
func openEnvFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("environment file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file; put one with lines KEY=value in its place", path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("environment file: %w", err)
	}
	return f, nil
}

// readEnvFile reads KEY=value lines. Empty lines and those that begin with #
// are passed over; quotes are part of the value.
func readEnvFile(path string) ([]string, error) {
	f, err := openEnvFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var env []string
	lines := bufio.NewScanner(io.LimitReader(f, maxEnvFile))
	lines.Buffer(nil, maxEnvFile)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, ok := strings.Cut(string(line), "=")
		if !ok || !validEnvKey(key) || bytes.IndexByte(line, 0) >= 0 {
			return nil, fmt.Errorf("environment file %s, line %d: write KEY=value", path, n)
		}
		env = append(env, string(line))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("environment file %s: %w", path, err)
	}
	return env, nil
}

// Program is the file that the pool's command names: found as the start of a
// worker finds it, in the worker's PATH or, with a slash, from Dir.
func (p Pool) Program() (string, error) {
	env, err := p.Environment()
	if err != nil {
		return "", err
	}
	return process.LookPath(p.Command[0], p.Dir, env)
}

// startProcess starts the process of l with its ends of the pipes and of the
// socketpair. Listening sockets come first, from descriptor 3 on, as
// sd_listen_fds(3) demands.
func (s *Supervisor) startProcess(l *live, out, errs, child *os.File) (*process.Process, error) {
	p := l.launch.pool
	attr, err := l.launch.attributes()
	if err != nil {
		return nil, err
	}
	extra, names, err := s.sockets.files(p)
	if err != nil {
		return nil, err
	}
	env, err := s.workerEnv(l, p, names, child)
	if err != nil {
		return nil, err
	}
	spec := process.Spec{
		Command: p.Command, Dir: p.Dir, Env: env, Attr: attr,
		Stdin: s.devNull, Stdout: out, Stderr: errs, Extra: append(extra, child),
	}
	if p.Cgroup != (Cgroup{}) && s.cgroups != nil {
		if err := l.enterCgroup(s.cgroups, &spec); err != nil {
			return nil, err
		}
		defer l.cgroupFD.Close()
	}
	return s.spawner.Start(spec)
}

// workerEnv is the whole environment of a worker.
func (s *Supervisor) workerEnv(l *live, p *Pool, sockets []string, child *os.File) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(child.Fd()), &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	env, err := p.Environment()
	if err != nil {
		return nil, err
	}
	env = append(env, identity(l.id)...)
	env = append(env, fmt.Sprintf("BROOD_FD=%d:%d", 3+len(sockets), st.Ino))
	if s.cfg.Socket != "" {
		env = append(env, "BROOD_SOCKET="+s.cfg.Socket)
	}
	if mark := s.orphans.Env(); mark != "" {
		env = append(env, mark)
	}
	if len(sockets) > 0 {
		env = append(env, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES="+strings.Join(sockets, ":"))
	}
	if l.notify != nil {
		env = append(env, "NOTIFY_SOCKET="+l.notify.Path())
		if p.Health.Beat > 0 {
			env = append(env, fmt.Sprintf("WATCHDOG_USEC=%d", p.Health.Beat.Microseconds()))
		}
	}
	return env, nil
}

// identity tells a worker, and what it leaves behind, who it is.
func identity(id lifecycle.ID) []string {
	return []string{
		"BROOD_WORKER=" + id.Slot.String(),
		"BROOD_POOL=" + id.Pool,
		"BROOD_SLOT=" + strconv.Itoa(id.N),
		fmt.Sprintf("BROOD_GENERATION=%d", id.Generation),
	}
}

// enterCgroup makes the worker's own group for it to be born into.
func (l *live) enterCgroup(tree *cgroup.Tree, spec *process.Spec) error {
	c := l.launch.pool.Cgroup
	group, err := tree.New(fmt.Sprintf("%s.%d.%d", l.id.Pool, l.id.N, l.id.Generation), cgroup.Limits{MemoryMax: c.Memory, PIDsMax: c.PIDs})
	if err != nil {
		return err
	}
	l.cgroup = group
	if l.cgroupFD, err = group.FD(); err != nil {
		return err
	}
	spec.CgroupFD = int(l.cgroupFD.Fd())
	return nil
}

// groupGone is how long a worker's cgroup may take to become empty.
const groupGone = 5 * time.Second
