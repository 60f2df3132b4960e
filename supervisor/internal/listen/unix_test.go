package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func describe(t *testing.T, path string) string {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%v %d:%d", fi.Mode(), st.Uid, st.Gid)
}

// stale leaves a node behind that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	fd, err := newSocket(unix.AF_UNIX, unix.SOCK_STREAM)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
}

// only fails if there is anything in the directory but the names.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("%s has %q, want %q", dir, got, names)
	}
}

func TestNodeHasOwnerAndMode(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	path := dir + "/app.sock"
	for _, c := range [][2]string{
		{"", "Srw-rw---- 0:0"},
		{"?mode=0666", "Srw-rw-rw- 0:0"},
		{"?mode=0600&user=nobody", "Srw------- 65534:0"},
		{"?mode=0620&user=1234&group=4321", "Srw--w---- 1234:4321"},
	} {
		s := mustOpen(t, "unix://"+path+c[0])
		if got := describe(t, path); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
		if s.Addr() != path {
			t.Errorf("its address is %s", s.Addr())
		}
		only(t, dir, "app.sock")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		only(t, dir)
	}
}

func TestStaleNodeIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/app.sock"
	stale(t, path)
	s := mustOpen(t, "unix://"+path)
	c, err := net.Dial("unix", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	only(t, dir, "app.sock")
}

// Whatever is there and is not a dead socket stays, untouched.
func TestNothingElseIsRemoved(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	live, err := net.Listen("unix", at("live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	packets, err := net.ListenPacket("unixgram", at("packets"))
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	full, err := newSocket(unix.AF_UNIX, unix.SOCK_STREAM)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(full)
	if err := errors.Join(unix.Bind(full, &unix.SockaddrUnix{Name: at("full")}), unix.Listen(full, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // nobody accepts
		if err := probe(at("full")); err != nil {
			t.Fatal(err)
		}
	}
	stale(t, at("dead"))
	if err := errors.Join(os.WriteFile(at("file"), []byte("x"), 0o600), os.Mkdir(at("dir"), 0o700), os.Symlink(at("dead"), at("link")), unix.Mkfifo(at("fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"live":    "it is in use: another program answers there",
		"packets": "it is in use: another program answers there",
		"full":    "it is in use: another program answers there",
		"file":    "there is something else in its place, which is left alone",
		"dir":     "there is something else in its place",
		"link":    "there is something else in its place",
		"fifo":    "there is something else in its place",
	} {
		before := describe(t, at(name))
		if _, err := open("unix://" + at(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if after := describe(t, at(name)); after != before {
			t.Errorf("%s was %s and is %s", name, before, after)
		}
	}
	c, err := net.Dial("unix", at("live"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// A program without our lock may put its socket into the place between the look
// and the removal.
func TestSuccessorOfAStaleNodeIsPutBack(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/app.sock"
	stale(t, path)
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil { // the clock of a file system may be coarse
		t.Fatal(err)
	}
	p, err := openPlace(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	found, err := p.look(p.base)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	live, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := p.removeStale(found); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
	only(t, dir, "app.sock")
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Two supervisors that find the same stale socket: one has it, the others are
// told, and nobody's is removed.
func TestRaceForAStaleNode(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/app.sock"
	for range 20 {
		stale(t, path)
		const n = 8
		socks := make([]*Socket, n)
		errs := make([]error, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { socks[i], errs[i] = open("unix://" + path) })
		}
		all.Wait()
		var winner *Socket
		for i := range n {
			switch {
			case errs[i] == nil && winner == nil:
				winner = socks[i]
			case !errors.Is(errs[i], ErrInUse):
				t.Fatalf("a second has it, or fails otherwise: %v", errs[i])
			}
		}
		if winner == nil {
			t.Fatal("nobody has it")
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := winner.Close(); err != nil {
			t.Fatal(err)
		}
		only(t, dir)
	}
}

// A superseded socket does not take its successor's node with it.
func TestCloseLeavesTheSuccessorsNode(t *testing.T) {
	path := t.TempDir() + "/app.sock"
	old := mustOpen(t, "unix://"+path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	successor := mustOpen(t, "unix://"+path)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", successor.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := successor.Close(); err != nil { // and bears that its own is gone
		t.Error(err)
	}
}

func TestUnixErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range [][2]string{
		{dir + "/no/app.sock", "there is no directory " + dir + "/no; make it"},
		{dir + "/a?group=no-such-group", `the system knows no group "no-such-group"`},
		{dir + "/a?user=no-such-user", `the system knows no user "no-such-user"`},
		{dir + "/a?user=4294967295", `"4294967295" is no id`},
	} {
		if _, err := open("unix://" + c[0]); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v, want %q", c[0], err, c[1])
		}
	}
	only(t, dir)
}

// reachable is a copy of this binary that others than root may run, and a
// directory in which they may put files.
func reachable(t *testing.T) (program, dir string) {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("", "brood-listen-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "test")
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(program, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	return program, dir
}

// asUser has c run as another user, without groups.
func asUser(c *exec.Cmd, id uint32) *exec.Cmd {
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	return c
}

func TestUnixErrorsOfOthersThanRoot(t *testing.T) {
	program, dir := reachable(t)
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	live := mustOpen(t, "unix://"+dir+"/live?mode=0600")
	for _, c := range [][2]string{
		{"unix://" + sub + "/a", "uid 1234 may not make it there; start brood as the owner of the directory"},
		{"unix://" + dir + "/a?group=4321", "it cannot be given to uid -1 and gid 4321 (-1: unchanged); brood must be root, or for a group a member of it"},
		{"unix://" + live.Addr(), "it cannot be told whether the socket in its place is stale"},
		{"unix://" + dir + "/a?group=1234", "opened " + dir + "/a"},
	} {
		out, err := asUser(exec.Command(program, "as-program", "open", c[0]), 1234).Output()
		if err != nil || !strings.Contains(string(out), c[1]) {
			t.Errorf("%s: %s, %v, want %q", c[0], out, err, c[1])
		}
	}
	if runtime.GOOS == "linux" {
		start, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
		if err != nil || strings.TrimSpace(string(start)) != "1024" {
			t.Skip("needs a system that keeps low ports for root")
		}
	}
	out, err := asUser(exec.Command(program, "as-program", "open", "tcp://127.0.0.1:9"), 1234).Output()
	if want := "ports below 1024 are for root"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%s, %v, want %q", out, err, want)
	}
}

// knock tries to get in until its stdin ends, and says how it went.
func knock() {
	ended := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(ended)
	}()
	fmt.Println("knocking")
	for {
		select {
		case <-ended:
			fmt.Println("kept out")
			return
		default:
			if probe(os.Args[3]) == nil {
				fmt.Println("got in")
				return
			}
		}
	}
}

// There is no moment at which the socket is open wider than was asked for, even
// where the umask would have everything open.
func TestNobodyGetsInBeforeTheMode(t *testing.T) {
	program, dir := reachable(t)
	path := dir + "/app.sock"
	defer unix.Umask(unix.Umask(0))
	stranger := asUser(exec.Command(program, "as-program", "knock", path), 1234)
	stdin, err := stranger.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said lines
	stranger.Stdout = &said
	said.first = make(chan struct{})
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	<-said.first
	for range 200 {
		s, err := open("unix://" + path + "?mode=0600&group=4321")
		if err != nil {
			t.Fatal(err)
		}
		// The owner's bits count for the owner, whatever others may.
		for _, to := range []string{"?mode=0660&group=4321", "?mode=0066&user=1234", "?mode=0600"} {
			spec, err := Parse("unix://" + path + to)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Change(spec); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stdin.Close()
	if err := stranger.Wait(); err != nil || said.text.String() != "knocking\nkept out\n" {
		t.Errorf("the stranger said %q, %v", &said.text, err)
	}
}

// lines keeps what is written, and closes first at the first.
type lines struct {
	text  strings.Builder
	first chan struct{}
	once  sync.Once
}

func (l *lines) Write(b []byte) (int, error) {
	defer l.once.Do(func() { close(l.first) })
	return l.text.Write(b)
}

func TestChangeKeepsTheSocket(t *testing.T) {
	needRoot(t)
	path := t.TempDir() + "/app.sock"
	s := mustOpen(t, "unix://"+path+"?mode=0600&user=nobody")
	file := s.File()
	change := func(text string) error {
		spec, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return s.Change(spec)
	}
	for _, c := range [][2]string{
		{"?mode=0600&user=nobody", "Srw------- 65534:0"},
		{"?mode=0666&user=1234&group=4321", "Srw-rw-rw- 1234:4321"},
		{"?mode=0620", "Srw--w---- 0:0"},
	} {
		if err := change("unix://" + path + c[0]); err != nil {
			t.Fatal(err)
		}
		if got := describe(t, path); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
	}
	if s.File() != file || s.Spec().Mode != 0o620 {
		t.Errorf("it is another, or still %s", s.Spec())
	}
	if err := change("unix://" + path + "2"); err == nil || !strings.Contains(err.Error(), "another address") {
		t.Errorf("%v", err)
	}
	if err := change("unix://" + path + "?group=no-such-group"); err == nil || describe(t, path) != "Srw--w---- 0:0" {
		t.Errorf("%v, and it is %s", err, describe(t, path))
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := change("unix://" + path + "?mode=0666"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the node is gone: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := change("unix://" + path + "?mode=0666"); !errors.Is(err, ErrInUse) || describe(t, path) != "-rw------- 0:0" {
		t.Errorf("another file in its place: %v, and it is %s", err, describe(t, path))
	}
}
