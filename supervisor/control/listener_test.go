package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestListen(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	l := listen(t, ListenConfig{Path: path})
	if got := l.Addr().String(); got != path {
		t.Errorf("Addr is %s, want %s", got, path)
	}
	for name, want := range map[string]fs.FileMode{
		path:               fs.ModeSocket | 0o600,
		path + ".lock":     0o600,
		filepath.Dir(path): fs.ModeDir | 0o700,
	} {
		if fi, err := os.Lstat(name); err != nil || fi.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, fi.Mode(), err, want)
		}
	}
	if text, _ := os.ReadFile(path + ".lock"); string(text) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("the lock file says %q", text)
	}
	talk(t, l)
	if err := l.Check(); err != nil {
		t.Errorf("Check: %v", err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if err := l.Check(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Check after Close: %v", err)
	}
	if names := namesIn(t, filepath.Dir(path)); names != "control.sock.lock" {
		t.Errorf("after Close there is %s", names)
	}
	if text, _ := os.ReadFile(path + ".lock"); len(text) != 0 {
		t.Errorf("after Close the lock file says %q", text)
	}
	talk(t, listen(t, ListenConfig{Path: path}))
}

func namesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestCloseWakesAcceptAndDropsWhatNobodyAccepted(t *testing.T) {
	noLeaks(t)
	l := listen(t, ListenConfig{Path: newPath(t)})
	for range 3 {
		defer dial(t, l.plan.path).Close()
	}
	for range 3 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}

	l = listen(t, ListenConfig{Path: newPath(t)})
	c := dial(t, l.plan.path)
	defer c.Close()
	l.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a client that was never accepted is left hanging")
	}
}

func TestSecondSupervisorIsTurnedAway(t *testing.T) {
	noLeaks(t)
	l := listen(t, ListenConfig{Path: newPath(t)})
	_, err := Listen(ListenConfig{Path: l.plan.path})
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("in the same process: %v", err)
	}
	for _, want := range []string{l.plan.path, fmt.Sprintf("process %d ", os.Getpid()), "--socket"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q: %v", want, err)
		}
	}
	other := start(t, nil, "supervisor", l.plan.path)
	other.say("listen")
	other.expect("in use:")
	talk(t, l)
	l.Close()
	other.say("listen")
	other.expect("won")
	if _, err := Listen(ListenConfig{Path: l.plan.path}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d ", other.cmd.Process.Pid)) {
		t.Errorf("got %v, want one that names process %d", err, other.cmd.Process.Pid)
	}
}

// Two sockets in one directory have nothing to do with each other.
func TestTwoSocketsInOneDirectory(t *testing.T) {
	noLeaks(t)
	a := listen(t, ListenConfig{Path: newPath(t)})
	b := listen(t, ListenConfig{Path: filepath.Join(filepath.Dir(a.plan.path), "ops.sock")})
	talk(t, a)
	talk(t, b)
	a.Close()
	talk(t, b)
}

func TestKilledSupervisorLeavesNothingInTheWay(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	other := start(t, nil, "supervisor", path)
	other.say("listen")
	other.expect("won")
	other.kill()
	staleSocket(t, filepath.Join(filepath.Dir(path), ".control.sock.ABCD")) // killed before the rename
	l := listen(t, ListenConfig{Path: path})
	talk(t, l)
	if names := namesIn(t, filepath.Dir(path)); names != "control.sock control.sock.lock" {
		t.Errorf("there is %s", names)
	}
}

// Whatever is no socket is somebody's file, and stays.
func TestSomethingElseInThePlace(t *testing.T) {
	kinds := map[string]func(path string) error{
		"a regular file":  func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"a directory":     func(p string) error { return os.Mkdir(p, 0o700) },
		"a FIFO":          func(p string) error { return unix.Mkfifo(p, 0o600) },
		"a symbolic link": func(p string) error { return os.Symlink("/nowhere/else", p) },
	}
	for kind, put := range kinds {
		for _, suffix := range []string{"", ".lock"} {
			if kind == "a regular file" && suffix != "" {
				continue // that is what a lock file is
			}
			t.Run(kind+suffix, func(t *testing.T) {
				noLeaks(t)
				path := newPath(t)
				if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), put(path+suffix)); err != nil {
					t.Fatal(err)
				}
				before, _ := os.Lstat(path + suffix)
				_, err := Listen(ListenConfig{Path: path})
				if err == nil || errors.Is(err, ErrInUse) {
					t.Fatalf("Listen: %v", err)
				}
				if suffix == "" && !strings.Contains(err.Error(), kind) {
					t.Errorf("the error does not say %q: %v", kind, err)
				}
				if after, err := os.Lstat(path + suffix); err != nil || !os.SameFile(before, after) {
					t.Errorf("it was touched: %v", err)
				}
			})
		}
	}
}

// A socket that answers belongs to who answers, lock or no lock.
func TestLiveSocketOfAnotherProgramIsNotTaken(t *testing.T) {
	for name, serve := range map[string]func(t *testing.T, path string) *os.File{
		"stream": func(t *testing.T, path string) *os.File { return bindFor(t, path, unix.SOCK_STREAM, 5) },
		"full queue": func(t *testing.T, path string) *os.File {
			s := bindFor(t, path, unix.SOCK_STREAM, 0)
			for probeFills(t, path) {
			}
			return s
		},
		"datagram": func(t *testing.T, path string) *os.File { return bindFor(t, path, unix.SOCK_DGRAM, -1) },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			path := newPath(t)
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			serve(t, path)
			before, _ := os.Lstat(path)
			if _, err := Listen(ListenConfig{Path: path}); !errors.Is(err, ErrInUse) {
				t.Errorf("Listen: %v", err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it was taken: %v", err)
			}
		})
	}
}

// bindFor makes a socket that another program would have; backlog -1: it does not listen.
func bindFor(t *testing.T, path string, kind, backlog int) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "other-program")
	t.Cleanup(func() { f.Close() })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if backlog >= 0 {
		if err := unix.Listen(fd, backlog); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// probeFills puts one more client into the queue and reports whether there was room.
func probeFills(t *testing.T, path string) bool {
	t.Helper()
	c, err := newSocket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return unix.Connect(int(c.Fd()), &unix.SockaddrUnix{Name: path}) == nil
}

func TestPathLength(t *testing.T) {
	noLeaks(t)
	dir := filepath.Dir(newPath(t))
	longest := filepath.Join(dir, strings.Repeat("x", maxPath-len(dir)-1))
	talk(t, listen(t, ListenConfig{Path: longest}))
	if _, err := Listen(ListenConfig{Path: longest + "x"}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(maxPath)) {
		t.Errorf("one byte more: %v", err)
	}
	link := filepath.Join(filepath.Dir(dir), "l")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(ListenConfig{Path: filepath.Join(link, filepath.Base(longest)+"x")}); err == nil || !strings.Contains(err.Error(), "symbolic links resolved") {
		t.Errorf("one byte more behind a link: %v", err)
	}
}

func TestListenConfig(t *testing.T) {
	path := newPath(t)
	for name, cfg := range map[string]ListenConfig{
		"no path":        {},
		"a directory":    {Path: filepath.Dir(path) + "/"},
		"mode":           {Path: path, Mode: 0o600 | fs.ModeSetuid},
		"no such group":  {Path: path, Group: "no-such-group"},
		"no parent":      {Path: filepath.Join(filepath.Dir(path), "missing", "control.sock")},
		"negative group": {Path: path, Group: "-1"},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			if l, err := Listen(cfg); err == nil {
				l.Close()
				t.Error("there is no error")
			}
		})
	}
}

func TestModeAndGroup(t *testing.T) {
	noLeaks(t)
	nobody(t) // root may give a file to any group
	path := newPath(t)
	old := unix.Umask(0o077) // it has no say
	defer unix.Umask(old)
	listen(t, ListenConfig{Path: path, Mode: 0o660, Group: "65534"})
	for name, want := range map[string]fs.FileMode{path: 0o660, filepath.Dir(path): 0o710} {
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil || fs.FileMode(st.Mode)&0o777 != want || st.Gid != 65534 || st.Uid != 0 {
			t.Errorf("%s: mode %o uid %d gid %d (%v), want mode %o uid 0 gid 65534", name, st.Mode, st.Uid, st.Gid, err, want)
		}
	}
}

func TestWarnsOfADirectoryThatKeepsTheGroupOut(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	lines := newLogLines()
	listen(t, ListenConfig{Path: path, Mode: 0o660, Log: lines.logger()})
	lines.wait(t, "keeps out")
	if fi, err := os.Stat(filepath.Dir(path)); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the directory was changed: %v, %v", fi.Mode(), err)
	}
}

func TestLooksByItself(t *testing.T) {
	noLeaks(t)
	lines := newLogLines()
	l := listen(t, ListenConfig{Path: newPath(t), Log: lines.logger(), every: time.Millisecond})
	if err := os.Remove(l.plan.path); err != nil {
		t.Fatal(err)
	}
	lines.wait(t, "put back")
	talk(t, l)
}
