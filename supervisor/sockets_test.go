package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/brood/supervisor/internal/listen"
)

// socketDir is one whose name is short enough for the path of a socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "brood-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// listening is a pool with sockets.
func listening(name string, listen map[string]string) Pool {
	p := rolled(name, 1)
	p.Listen = listen
	return p
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// answers reports whether somebody listens there.
func answers(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// A reload that fails leaves the sockets as they were, whether it is refused or
// taken back.
func TestFailedReloadPutsSocketsBack(t *testing.T) {
	dir := socketDir(t)
	at := func(name, options string) string { return "unix://" + filepath.Join(dir, name) + options }
	good := listening("web", map[string]string{"a": at("a", "?mode=0666"), "b": at("b", "?mode=0666")})
	s := run(t, Config{Pools: []Pool{good}, Log: discard()})
	await(t, s, "all ready", allReady)
	before := stat(t, filepath.Join(dir, "a"))
	unchanged := func(what string) {
		t.Helper()
		after := stat(t, filepath.Join(dir, "a"))
		if !os.SameFile(before, after) || before.Mode() != after.Mode() {
			t.Errorf("%s: the socket was %v and is %v", what, before.Mode(), after.Mode())
		}
		if _, err := os.Lstat(filepath.Join(dir, "c")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a new socket is there still: %v", what, err)
		}
	}
	bad := listening("web", map[string]string{"a": at("a", "?mode=0600"), "b": good.Listen["b"], "c": at("c", "")})
	bad.Command = []string{"sh", "-c", "exit 3"}
	changes, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{bad}})
	if err != nil || !changes[0].Failed() {
		t.Fatalf("%+v, %v", changes, err)
	}
	unchanged("taken back")
	refused := listening("web", map[string]string{"a": at("a", "?mode=0600"), "b": at("b", "?group=no-such-group"), "c": at("c", "")})
	var fault *FieldError
	if _, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{refused}}); !errors.As(err, &fault) || fault.Field != "pools.web.listen.b" {
		t.Errorf("%v", err)
	}
	unchanged("refused")
	if got := shape(s, "web"); got != "1#1" {
		t.Error(got)
	}
	changed := listening("web", map[string]string{"a": at("a", "?mode=0600"), "b": good.Listen["b"]})
	changes, err = s.Reload(within(t, time.Minute), Config{Pools: []Pool{changed}})
	if err != nil || changes[0].Failed() || stat(t, filepath.Join(dir, "a")).Mode().Perm() != 0o600 {
		t.Errorf("%+v, %v", changes, err)
	}
}

// A socket stays open when its pool, or it itself, gets another name.
func TestSocketOfARenamedPoolIsHandedOn(t *testing.T) {
	path := filepath.Join(socketDir(t), "app")
	s := run(t, Config{Pools: []Pool{listening("web", map[string]string{"http": "unix://" + path})}})
	await(t, s, "all ready", allReady)
	before := stat(t, path)
	for _, p := range []Pool{
		listening("site", map[string]string{"http": "unix://" + path}),
		listening("site", map[string]string{"main": "unix://" + path + "?mode=0600"}),
	} {
		changes, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{p}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if c.Failed() {
				t.Errorf("%+v", c)
			}
		}
	}
	if !os.SameFile(before, stat(t, path)) || stat(t, path).Mode().Perm() != 0o600 || !answers(path) {
		t.Errorf("it is another, or %v", stat(t, path).Mode())
	}
	isShape(t, s, "site", "1#2")
	isShape(t, s, "web", "none")
}

// A socket whose file a tmp cleaner has deleted is made anew by a reload, and its
// workers are replaced; by the next reload if this one fails.
func TestDeletedSocketIsMadeAnew(t *testing.T) {
	path := filepath.Join(socketDir(t), "app")
	good, other := listening("web", map[string]string{"http": "unix://" + path + "?mode=0600"}), rolled("other", 1)
	cfg := Config{Pools: []Pool{good, other}, Log: discard()}
	s := run(t, cfg)
	await(t, s, "all ready", allReady)
	plan := func(when, want string) {
		t.Helper()
		changes, err := s.Plan(cfg)
		if err != nil || fmt.Sprint(changes[0].Kind, changes[0].Fields) != want || changes[1].Kind != ChangeNone {
			t.Errorf("%s: %+v, %v", when, changes, err)
		}
	}
	plan("at first", "unchanged[]")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	plan("without its file", "roll[listen]")
	bad := good
	bad.Command = []string{"sh", "-c", "exit 3"}
	changes, err := s.Reload(within(t, time.Minute), Config{Pools: []Pool{bad, other}})
	if err != nil || !changes[0].Failed() || !answers(path) {
		t.Errorf("%+v, %v", changes, err)
	}
	plan("after a reload that has failed", "roll[listen]")
	changes, err = s.Reload(within(t, time.Minute), cfg)
	if err != nil || changes[0].Failed() || !answers(path) || stat(t, path).Mode().Perm() != 0o600 {
		t.Errorf("%+v, %v", changes, err)
	}
	plan("in the end", "unchanged[]")
	if w := s.Status().Pools[0].Slots[0]; !w.Ready || w.Generation < 2 {
		t.Errorf("%+v", w)
	}
	isShape(t, s, "other", "1#1")

	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := s.Reload(within(t, time.Minute), cfg); err == nil || !strings.Contains(err.Error(), "another program answers there") {
		t.Errorf("in the place of another's: %v", err)
	}
}

// Where it is brood itself that has the port, no other program is blamed.
func TestOwnSocketIsInTheWay(t *testing.T) {
	k := sockets{open: map[string]*listen.Socket{}, stale: map[string]bool{}}
	defer k.close()
	var port int
	for range 100 { // somebody else may take the port in between
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port = l.Addr().(*net.TCPAddr).Port
		l.Close()
		if _, err = k.prepare([]Pool{{Name: "web", Listen: map[string]string{"http": fmt.Sprintf("tcp://127.0.0.1:%d", port)}}}); err == nil {
			break
		}
	}
	_, err := k.prepare([]Pool{{Name: "web", Listen: map[string]string{"http": fmt.Sprintf("tcp://:%d", port)}}})
	if want := fmt.Sprintf("this brood has tcp://127.0.0.1:%d, which is in its way; take that out by one reload", port); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// Two sockets can't have one address; where the kernel chooses the port they don't.
func TestTwoSocketsOfOneAddress(t *testing.T) {
	two := func(a, b string) error {
		return Config{Pools: []Pool{listening("a", map[string]string{"http": a}), listening("b", map[string]string{"http": b})}}.Validate()
	}
	var fault *FieldError
	if err := two("unix:///run/app", "unix:///run/app?mode=0600"); !errors.As(err, &fault) || fault.Field != "pools.b.listen.http" {
		t.Errorf("%v", err)
	}
	for _, other := range []string{"udp://:8080", "tcp://127.0.0.1:8080"} {
		if err := two("tcp://:8080", other); err != nil {
			t.Error(err)
		}
	}
	if err := two("tcp://:0", "tcp://:0"); err != nil {
		t.Error(err)
	}
}
