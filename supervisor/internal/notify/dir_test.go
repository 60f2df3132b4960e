package notify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func openDir(t *testing.T, base string) *Dir {
	t.Helper()
	d, err := newDir([]string{base})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDirIsPrivateAndGoesAway(t *testing.T) {
	noLeaks(t)
	d, err := NewDir()
	if err != nil {
		t.Fatal(err)
	}
	var sockets []*Socket
	for _, name := range []string{"web.1.1", strings.Repeat("long-name", 7) + ".1.1", strings.Repeat("long-name", 7) + ".1.2"} {
		s, err := d.Listen(name, -1, -1)
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, s)
		fi, err := os.Lstat(s.Path())
		if err != nil || fi.Mode() != fs.ModeSocket|0o600 || len(s.Path()) > maxPath {
			t.Errorf("%s: %v, %v", s.Path(), fi.Mode(), err)
		}
	}
	for path, want := range map[string]fs.FileMode{d.path: 0o711, filepath.Join(d.path, birth): 0o700} {
		if fi, err := os.Lstat(path); err != nil || fi.Mode() != fs.ModeDir|want {
			t.Errorf("%s: %v, %v", path, fi.Mode(), err)
		}
	}
	sockets[0].Close()
	d.Close() // with two sockets still in it
	if _, err := os.Lstat(d.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", d.path, err)
	}
	sockets[1].Close()
	sockets[2].Close()
}

func TestNamesThatCannotBe(t *testing.T) {
	noLeaks(t)
	d := openDir(t, shortDir(t))
	defer d.Close()
	for _, name := range []string{"", ".", "..", birth, "a/b", "a\x00b"} {
		if _, err := d.Listen(name, -1, -1); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	s, err := d.Listen("web.1.1", -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := d.Listen("web.1.1", -1, -1); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second socket of the name: %v", err)
	}
}

func TestBaseThatIsTooLongIsPassedOver(t *testing.T) {
	base := shortDir(t)
	long := filepath.Join(base, strings.Repeat("x", 90))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := newDir([]string{"", "relative", filepath.Join(base, "missing"), long, base})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if filepath.Dir(d.path) != base {
		t.Errorf("it is at %s", d.path)
	}
	if entries, _ := os.ReadDir(long); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := newDir([]string{filepath.Join(base, "missing"), long}); err == nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with no place at all: %v", err)
	}
}

// TestSweep: what a killed supervisor has left goes, what a live one has stays.
func TestSweep(t *testing.T) {
	noLeaks(t)
	base := shortDir(t)
	killed := exec.Command(os.Args[0], "as-program", "orphan", base)
	left := line(t, start(t, killed))
	mine := openDir(t, base)
	defer mine.Close()
	if _, err := os.Lstat(left); err != nil {
		t.Fatalf("the directory of a live supervisor is gone: %v", err)
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	foreign := filepath.Join(base, prefix+"not-ours")
	if err := os.MkdirAll(filepath.Join(foreign, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	openDir(t, base).Close()
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", left, err)
	}
	for _, path := range []string{mine.path, foreign} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

// TestSweepersDoNotMeet: supervisors that start at once do not take each
// other's directory for left over.
func TestSweepersDoNotMeet(t *testing.T) {
	noLeaks(t)
	base := shortDir(t)
	type made struct {
		d   *Dir
		err error
	}
	const n = 32
	all := make(chan made, n)
	for range n {
		go func() {
			d, err := newDir([]string{base})
			all <- made{d, err}
		}()
	}
	for range n {
		m := <-all
		if m.err != nil {
			t.Error(m.err)
			continue
		}
		defer m.d.Close()
		s, err := m.d.Listen("web.1.1", -1, -1)
		if err != nil {
			t.Error(err)
			continue
		}
		s.Close()
	}
}

// TestOtherUser: a worker of another user gets to its own socket only.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	needs(t, "setpriv")
	const nobody = 65534
	l := listen(t, nil)
	base := filepath.Dir(filepath.Dir(l.Path()))
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	exe := program(t, base)
	d := openDir(t, base)
	defer d.Close()
	own, err := d.Listen("web.1.1", nobody, nobody)
	if err != nil {
		t.Fatal(err)
	}
	heard, ended := make(chan Message, 10), make(chan struct{})
	go func() {
		defer close(ended)
		own.Run(func(m Message) { heard <- m })
	}()
	as := func(socket string) ([]byte, error) {
		cmd := exec.Command("setpriv", "--reuid", fmt.Sprint(nobody), "--regid", fmt.Sprint(nobody), "--clear-groups",
			exe, "as-program", "says", "READY=1")
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
		return cmd.CombinedOutput()
	}
	if out, err := as(own.Path()); err != nil {
		t.Errorf("to its own: %v\n%s", err, out)
	}
	if out, err := as(l.Path()); err == nil || !strings.Contains(string(out), unix.EACCES.Error()) {
		t.Errorf("to another's: %v\n%s", err, out)
	}
	own.Close()
	<-ended
	if len(heard) != 1 || len(l.heard) != 0 {
		t.Errorf("%d and %d messages", len(heard), len(l.heard))
	}
	ls := exec.Command("setpriv", "--reuid", fmt.Sprint(nobody), "--clear-groups", "ls", d.path)
	if out, err := ls.CombinedOutput(); err == nil {
		t.Errorf("others see what is there: %s", out)
	}
}

// program copies this binary to where everybody may run it.
func program(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
