package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager plays systemd: it has the socket that NOTIFY_SOCKET names.
type manager struct {
	t    testing.TB
	conn *net.UnixConn
	path string

	status string // what STATUS= said last
}

func startManager(t testing.TB) *manager {
	t.Helper()
	path := filepath.Join(socketDir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &manager{t: t, conn: conn, path: path}
}

// hear waits for a message that has this assignment in it, and returns its
// assignments. What comes before is passed over, unless it is what must not come.
func (m *manager) hear(assignment string, not ...string) map[string]string {
	m.t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	buf := make([]byte, 8192)
	var heard []string
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			m.t.Fatalf("waiting for %s: %v; heard %q", assignment, err, heard)
		}
		text := string(buf[:n])
		heard = append(heard, text)
		all := map[string]string{}
		found := false
		for _, line := range strings.Split(text, "\n") {
			for _, wrong := range not {
				if strings.HasPrefix(line, wrong) {
					m.t.Fatalf("%s came before %s; heard %q", wrong, assignment, heard)
				}
			}
			key, value, _ := strings.Cut(line, "=")
			all[key] = value
			if key == "STATUS" {
				m.status = value
			}
			found = found || strings.HasPrefix(line, assignment)
		}
		if found {
			return all
		}
	}
}

// hearStatus waits until STATUS= is that.
func (m *manager) hearStatus(want string) {
	m.t.Helper()
	for m.status != want {
		m.hear("STATUS=")
	}
}

// serveManaged starts `brood run` as systemd would.
func serveManaged(t *testing.T, m *manager, env []string, args ...string) *server {
	t.Helper()
	for _, kv := range append(env, "NOTIFY_SOCKET="+m.path) {
		key, value, _ := strings.Cut(kv, "=")
		t.Setenv(key, value)
	}
	return serveOn(t, filepath.Join(socketDir(t), "control.sock"), args...)
}

// TestNotify is a service's life, as its manager hears of it.
func TestNotify(t *testing.T) {
	m := startManager(t)
	file := filepath.Join(t.TempDir(), "brood.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pools: {web: {command: [echo-worker], workers: 2, ready: {when: hello}}}\n")
	s := serveManaged(t, m, nil, "-c", file)
	m.hear("STATUS=critical: web 0/2 ready", "READY")
	m.hear("READY=1", "STOPPING")
	if r := shell(t, s.socket, "brood health --wait 60s"); r.code != 0 {
		t.Error(r)
	}
	m.hearStatus("web 2/2 ready")

	before := monotonic()
	s.cmd.Process.Signal(syscall.SIGHUP)
	got := m.hear("RELOADING=1")
	if us, err := strconv.ParseInt(got["MONOTONIC_USEC"], 10, 64); err != nil || us < before.Microseconds() || us > monotonic().Microseconds() {
		t.Errorf("MONOTONIC_USEC=%s, and it is between %v and %v", got["MONOTONIC_USEC"], before, monotonic())
	}
	m.hear("READY=1", "STOPPING")
	write("pools: {web: {command: [echo-worker], workres: 2}}\n")
	if r := shell(t, s.socket, "brood reload"); r.code != exitUsage {
		t.Error(r)
	}
	m.hear("RELOADING=1", "STOPPING")
	m.hear("READY=1", "STOPPING") // nothing has changed, so it is as ready as it was
	if r := shell(t, s.socket, "brood reload --dry-run"); r.code != exitUsage {
		t.Error(r)
	}

	if r := shell(t, s.socket, "brood stop web/2"); r.code != 0 {
		t.Error(r)
	}
	m.hear("STATUS=degraded: web 1/2 ready (web/2 is stopped: stopped by hand)", "RELOADING", "READY")
	if r := shell(t, s.socket, "brood shutdown"); r.code != 0 {
		t.Error(r)
	}
	if got := m.hear("STOPPING=1"); got["EXTEND_TIMEOUT_USEC"] == "" {
		t.Errorf("it does not ask for the time that stopping takes: %v", got)
	}
}

// TestNotifyWhileAReloadGoesOn: READY=1 is not said because of a reload before it is
// true, neither at the start nor when who asked for the reload waits no longer.
func TestNotifyWhileAReloadGoesOn(t *testing.T) {
	m := startManager(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "brood.yaml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := func(name string) string {
		return "  " + name + ": {command: [sleep, '1000'], ready: {exec: [test, -e, " + dir + "/" + name + "], timeout: 5m}}\n"
	}
	write(file, "pools:\n"+pool("one"))
	s := serveManaged(t, m, nil, "-c", file)
	m.hear("STATUS=critical: one 0/1 ready", "READY")
	if r := shell(t, s.socket, "brood reload"); r.code != 0 {
		t.Error(r)
	}
	write(filepath.Join(dir, "one"), "")
	m.hear("STATUS=one 1/1 ready", "READY", "RELOADING")
	m.hear("READY=1")

	write(file, "pools:\n"+pool("one")+pool("two"))
	if r := shell(t, s.socket, "brood reload --wait 0"); r.code != 0 {
		t.Error(r)
	}
	m.hear("RELOADING=1")
	if r := shell(t, s.socket, "brood stop one"); r.code != 0 { // it is said after what was said by the reload
		t.Error(r)
	}
	m.hear("STATUS=critical: one 0/1 ready (one/1 is stopped", "READY")
	write(filepath.Join(dir, "two"), "")
	m.hear("READY=1")
}

// TestNotifyWithAPoolThatFails: it is given up, the others serve.
func TestNotifyWithAPoolThatFails(t *testing.T) {
	m := startManager(t)
	file := filepath.Join(t.TempDir(), "brood.yaml")
	text := "pools:\n  bad: {command: [sh, -c, exit 78], restart: {give_up_codes: [78]}}\n  good: {command: [echo-worker], ready: {when: hello}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	serveManaged(t, m, nil, "-c", file)
	m.hear("READY=1")
}

// TestNotifyIsNotPassedOn: a worker that spoke to the manager would be taken for
// the service, and one that took LISTEN_FDS for its own would serve the wrong
// descriptor.
func TestNotifyIsNotPassedOn(t *testing.T) {
	m := startManager(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "brood.yaml")
	text := "pools:\n" +
		"  plain: {command: [sh, -c, 'env > " + dir + "/plain; sleep 1000'], ready: {exec: [sh, -c, 'env > " + dir + "/probe']}, commands: {look: {exec: [env]}}}\n" +
		"  own: {command: [sh, -c, 'env > " + dir + "/own; systemd-notify --ready; sleep 1000'], ready: {when: notify}}\n"
	need(t, "systemd-notify")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveManaged(t, m, []string{"WATCHDOG_USEC=20000000"}, "-c", file)
	m.hear("READY=1")
	s.awaitHealthy()
	mapped := shell(t, s.socket, "brood send plain/1 look")
	for _, name := range []string{"plain", "probe", "own"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if env := string(b); strings.Contains(env, m.path) || strings.Contains(env, "WATCHDOG_") {
			t.Errorf("%s got it:\n%s", name, env)
		}
	}
	if mapped.code != 0 || strings.Contains(mapped.stdout, "NOTIFY_SOCKET") {
		t.Error(mapped)
	}
}

// TestWatchdog: it is fed while the supervisor gets on, and not while it is
// stopped as a hung one is.
func TestWatchdog(t *testing.T) {
	m := startManager(t)
	s := serveManaged(t, m, []string{"WATCHDOG_USEC=400000"}, "-n", "1", "--", "echo-worker")
	for range 5 {
		m.hear("WATCHDOG=1")
	}
	s.cmd.Process.Signal(syscall.SIGSTOP)
	defer s.cmd.Process.Signal(syscall.SIGCONT)
	var err error
	buf := make([]byte, 8192)
	for range 20 { // what was under way
		m.conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err = m.conn.Read(buf); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stopped one feeds on: %v", err)
	}
	s.cmd.Process.Signal(syscall.SIGCONT)
	m.hear("WATCHDOG=1")
}

// TestWatchdogOfAnother: WATCHDOG_PID names another process.
func TestWatchdogOfAnother(t *testing.T) {
	m := startManager(t)
	s := serveManaged(t, m, []string{"WATCHDOG_USEC=100000", "WATCHDOG_PID=1"}, "-n", "1", "--", "echo-worker")
	m.hear("READY=1", "WATCHDOG")
	s.cmd.Process.Signal(syscall.SIGTERM)
	m.hear("STOPPING=1", "WATCHDOG")
}

// TestSocketActivation: the first client wakes brood, whom the file's mode lets in
// is systemd's business, who may do what is brood's.
func TestSocketActivation(t *testing.T) {
	need(t, "systemd-socket-activate", "socat")
	needRoot(t)
	dir := socketDir(t)
	socket := filepath.Join(dir, "control.sock")
	cmd := exec.Command("systemd-socket-activate", "--listen="+socket, "--fdname=control",
		filepath.Join(binDir, "brood"), "run", "-n", "2", "--name", "web", "--", "echo-worker")
	s := startActivated(t, cmd, socket)
	if err := os.Chmod(socket, 0o666); err != nil { // SocketMode=
		t.Fatal(err)
	}
	s.awaitHealthy()
	before, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]int{
		"brood status":         exitDone,
		"brood send web/1 pid": exitDenied,
		"brood restart web/1":  exitDenied,
		"brood shutdown":       exitDenied,
	} {
		if r := asOther(t, socket, line); r.code != want {
			t.Errorf("%s: %v", line, r)
		}
	}
	for line, want := range map[string]string{
		"brood send web/1 echo hello": "hello",
		"brood whoami":                "admin",
		"brood status":                "web/2#1",
		"echo '@web/2 echo over the line' | socat - UNIX-CONNECT:" + socket: "over the line",
	} {
		r := shell(t, socket, line)
		if r.code != 0 {
			t.Error(r)
		}
		wantIn(t, line, r.stdout, want)
	}
	// The file is the manager's: it is neither put back nor removed.
	if code := s.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit %d: %v", code, s.log)
	}
	after, err := os.Stat(socket)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the socket's file is gone, or another: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("beside the manager's socket there are %q", left)
	}
}

// startActivated starts a launcher that has brood run once somebody calls.
func startActivated(t *testing.T, cmd *exec.Cmd, socket string) *server {
	t.Helper()
	s := &server{t: t, cmd: cmd, socket: socket, log: &logFile{filepath.Join(t.TempDir(), "log")}, ended: make(chan struct{})}
	f, err := os.Create(s.log.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() { s.stop(syscall.SIGTERM) })
	until(t, "its socket is there", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	return s
}

// TestSocketActivationRefused: what cannot be served is said, not left to hang.
func TestSocketActivationRefused(t *testing.T) {
	need(t, "python3")
	// sh would be another pid than LISTEN_PID says: python3 replaces itself.
	const launch = `
import os, socket, sys
kind, path, names = sys.argv[1:4]
s = socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX, socket.SOCK_DGRAM if kind == "dgram" else socket.SOCK_STREAM)
s.bind(("127.0.0.1", 0) if kind == "tcp" else path)
if kind in ("tcp", "unix"):
    s.listen()
n = len(names.split(":"))
fds = [os.dup(s.fileno()) for _ in range(20)][-n:]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(n), LISTEN_FDNAMES=names)
os.execvp("brood", ["brood", "run"] + sys.argv[4:] + ["-n", "1", "--", "echo-worker"])
`
	for _, tt := range []struct{ kind, names, flag, want string }{
		{"unix", "web", "", `socket "web" was passed`},
		{"unix", "control:http", "", `socket "http" was passed`},
		{"unix", "control:control", "", "2 control sockets were passed"},
		{"tcp", "control", "", "no Unix socket"},
		{"dgram", "control", "", "no stream"},
		{"deaf", "control", "", "does not listen"},
		{"unix", "control", "--socket=/tmp/other.sock", "is asked for"},
	} {
		args := []string{"-c", launch, tt.kind, filepath.Join(socketDir(t), "s"), tt.names}
		if tt.flag != "" {
			args = append(args, tt.flag)
		}
		cmd := exec.Command("python3", args...)
		var errs strings.Builder
		cmd.Stderr = &errs
		timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
		cmd.Run()
		timer.Stop()
		if code := cmd.ProcessState.ExitCode(); code != exitUsage {
			t.Errorf("%+v: exit %d: %s", tt, code, errs.String())
		}
		wantIn(t, tt.kind+" "+tt.names, errs.String(), tt.want)
	}
}
