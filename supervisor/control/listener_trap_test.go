package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// Between bind(2) and chmod(2) a socket has the mode that the umask leaves, and
// whoever is quick gets in.
func TestListenThenChmodWindow(t *testing.T) {
	noLeaks(t)
	who := nobody(t)
	path := newPath(t)
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	intruder := start(t, who, "intruder", dir)
	intruder.expect("ready")
	for range 300 {
		l, err := Listen(ListenConfig{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	listen(t, ListenConfig{Path: path})
	intruder.expect("seen")
	intruder.in.Close()
	intruder.expect("entered: 0")
}

func TestSocketTakesNobodyBeforeItHasItsMode(t *testing.T) {
	noLeaks(t)
	old := unix.Umask(0)
	defer unix.Umask(old)
	p, err := newPlan(ListenConfig{Path: newPath(t), Mode: 0o666})
	if err != nil {
		t.Fatal(err)
	}
	s, err := takeSeat(p)
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	sock, err := newSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	if err := s.bind(sock, ".temp"); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(s.dir.Name(), ".temp")
	if err := probe(temp); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a client after bind: %v", err)
	}
	if fi, err := os.Lstat(temp); err != nil || runtime.GOOS == "linux" && fi.Mode().Perm() != 0o600 {
		t.Errorf("born with mode %v (%v), want 0600", fi.Mode(), err)
	}
	n, err := s.listen(sock, ".temp")
	if err != nil {
		t.Fatal(err)
	}
	defer n.inlet.stop()
	if fi, err := os.Lstat(temp); err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("it has mode %v (%v), want 0666", fi.Mode(), err)
	}
}

// A client that finds the name finds a server behind it.
func TestSocketListensBeforeItHasItsName(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	for range 200 {
		found := make(chan error, 1)
		go func() {
			for {
				if err := probe(path); !errors.Is(err, os.ErrNotExist) {
					found <- err
					return
				}
			}
		}()
		l := listen(t, ListenConfig{Path: path})
		if err := <-found; err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

// Each of several supervisors finds a socket nobody listens on, removes it and
// makes its own: all start, one is reached.
func TestTwoCLIsRacingOnAStaleSocket(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	racers := make([]*actor, 4)
	for i := range racers {
		racers[i] = start(t, nil, "supervisor", path)
	}
	for round := range 40 {
		if round%4 < 2 { // else what the killed one of the round before left
			staleSocket(t, path)
		}
		if round%8 == 7 {
			os.Remove(path + ".lock")
		}
		for _, r := range racers {
			r.say("listen")
		}
		won := -1
		for i, r := range racers {
			switch said := r.hear(); {
			case said == "won" && won >= 0:
				t.Fatalf("round %d: two are the supervisor", round)
			case said == "won":
				won = i
			case !strings.HasPrefix(said, "in use:"):
				t.Fatalf("round %d: %s", round, said)
			}
		}
		if won < 0 {
			t.Fatalf("round %d: none is the supervisor", round)
		}
		if pid := serverOf(t, path); pid != racers[won].cmd.Process.Pid {
			t.Fatalf("round %d: process %d won and process %d answers", round, racers[won].cmd.Process.Pid, pid)
		}
		if round%2 == 0 {
			racers[won].say("close")
			racers[won].expect("closed: <nil>")
		} else {
			racers[won].kill()
			racers[won] = start(t, nil, "supervisor", path)
		}
	}
}

// serverOf is the process behind a socket.
func serverOf(t *testing.T, path string) int {
	t.Helper()
	c := dial(t, path)
	defer c.Close()
	p, err := peerOf(c.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	return p.PID
}

func TestTmpCleanerDeletingTheLiveSocket(t *testing.T) {
	noLeaks(t)
	lines := newLogLines()
	l := listen(t, ListenConfig{Path: newPath(t), Mode: 0o640, Log: lines.logger()})
	for what, ruin := range map[string]func(path string) error{
		"deleted":           os.Remove,
		"renamed":           func(p string) error { return os.Rename(p, p+".old") },
		"a dead one there":  func(p string) error { staleSocket(t, p); return nil },
		"directory deleted": func(p string) error { return os.RemoveAll(filepath.Dir(p)) },
		"directory renamed": func(p string) error { return os.Rename(filepath.Dir(p), filepath.Dir(p)+".old") },
		"lock file deleted": func(p string) error { return errors.Join(os.Remove(p), os.Remove(p+".lock")) },
	} {
		if err := ruin(l.plan.path); err != nil {
			t.Fatal(err)
		}
		if err := l.Check(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		lines.wait(t, "put back")
		talk(t, l)
		if fi, err := os.Lstat(l.plan.path); err != nil || fi.Mode().Perm() != 0o640 {
			t.Errorf("%s: the new one has mode %v (%v)", what, fi.Mode(), err)
		}
		if _, err := Listen(ListenConfig{Path: l.plan.path}); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: a second supervisor: %v", what, err)
		}
	}
	if names := namesIn(t, filepath.Dir(l.plan.path)+".old"); names != "control.sock.lock" {
		t.Errorf("in the directory that was renamed there is %s", names)
	}
}

// What somebody else put in the place is theirs; it is said once, and the socket
// comes back when they took it away.
func TestSomethingElseTakesThePlaceMeanwhile(t *testing.T) {
	noLeaks(t)
	lines := newLogLines()
	l := listen(t, ListenConfig{Path: newPath(t), Log: lines.logger()})
	if err := errors.Join(os.Remove(l.plan.path), os.WriteFile(l.plan.path, []byte("precious"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), "a regular file") {
			t.Fatalf("Check: %v", err)
		}
	}
	lines.wait(t, "out of reach")
	if n := len(lines.c); n != 0 {
		t.Errorf("it is said %d times more", n)
	}
	if text, err := os.ReadFile(l.plan.path); string(text) != "precious" {
		t.Errorf("the file was touched: %q, %v", text, err)
	}
	os.Remove(l.plan.path)
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	lines.wait(t, "in order again")
	talk(t, l)
}

// Clients who queue at the socket whose node is deleted are served like those at
// the new one, and then the old socket is closed.
func TestDeletedSocketIsServedDry(t *testing.T) {
	noLeaks(t)
	l := listen(t, ListenConfig{Path: newPath(t)})
	const each = 20
	for i := range 2 * each {
		if i == each {
			if err := os.Remove(l.plan.path); err != nil {
				t.Fatal(err)
			}
			if err := l.Check(); err != nil {
				t.Fatal(err)
			}
		}
		c := dial(t, l.plan.path)
		defer c.Close()
		greet(t, c, byte(i))
	}
	var served [2 * each]bool
	for range served {
		served[serveOne(t, l)] = true
	}
	for i, ok := range served {
		if !ok {
			t.Errorf("client %d was lost", i)
		}
	}
	<-l.retiring[0].ended
	talk(t, l)
}

// A lock file that is deleted leaves the lock on a file nobody finds any more; the
// next supervisor would make and lock another.
func TestTmpCleanerDeletingTheLiveLockFile(t *testing.T) {
	for name, gone := range map[string][]string{
		"the lock file":            {".lock"},
		"the lock file and socket": {".lock", ""},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			if runtime.GOOS != "linux" && len(gone) > 1 {
				t.Skip("needs open file description locks, which only Linux has")
			}
			l := listen(t, ListenConfig{Path: newPath(t)})
			other := start(t, nil, "supervisor", l.plan.path)
			remove := func() {
				for _, suffix := range gone {
					if err := os.Remove(l.plan.path + suffix); err != nil {
						t.Fatal(err)
					}
				}
			}
			remove()
			other.say("listen")
			other.expect("in use:") // before l has looked
			if err := l.Check(); err != nil {
				t.Fatal(err)
			}
			talk(t, l)
			remove()
			if err := l.Check(); err != nil {
				t.Fatal(err)
			}
			other.say("listen")
			if said := other.hear(); !strings.HasPrefix(said, "in use:") || !strings.Contains(said, "process ") {
				t.Errorf("after the look: %s", said)
			}
			talk(t, l)
		})
	}
}

// Where marks prove nothing, two supervisors can come to be. The older one must not
// fight, nor take the younger one's socket with it, nor stay away for ever.
func TestSupersededSupervisorLeavesItsSuccessorAlone(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil { // others may read it, and mark it
		t.Fatal(err)
	}
	lines := newLogLines()
	older := listen(t, ListenConfig{Path: path, Log: lines.logger()})
	client := dial(t, path)
	defer client.Close()
	if err := errors.Join(os.Remove(path), os.Remove(path+".lock")); err != nil {
		t.Fatal(err)
	}
	younger := listen(t, ListenConfig{Path: path})
	for range 3 {
		if err := older.Check(); !errors.Is(err, ErrInUse) {
			t.Fatalf("Check: %v", err)
		}
	}
	lines.wait(t, "out of reach")
	greet(t, client, 7)
	if got := serveOne(t, older); got != 7 {
		t.Errorf("the older one's client: %d", got)
	}
	talk(t, younger)

	younger.Close()
	if err := older.Check(); err != nil {
		t.Fatalf("when the younger one is gone: %v", err)
	}
	talk(t, older)

	if err := errors.Join(os.Remove(path), os.Remove(path+".lock")); err != nil {
		t.Fatal(err)
	}
	younger = listen(t, ListenConfig{Path: path})
	if err := older.Close(); err != nil {
		t.Error(err)
	}
	talk(t, younger)
}

func TestAcceptGoesOnWithoutDescriptors(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	a := start(t, nil, "shortage", path)
	a.expect("full: true")
	for range 2 {
		defer dial(t, path).Close()
	}
	a.expect("short: true")
	a.say("free")
	a.expect("accepted: true <nil>")
	a.expect("closed: <nil> more lines: 0")
}

// A shortage is told once, tried again ever more slowly, and ends nothing.
func TestAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInlet(&shortAcceptor{})
		out, done := make(chan net.Conn), make(chan struct{})
		lines := newLogLines()
		began := time.Now()
		go in.run(&outlet{}, out, done, lines.logger())
		(<-out).Close()
		if d := time.Since(began); d < 90*time.Second || d > 100*time.Second {
			t.Errorf("100 tries in a row took %v", d)
		}
		if n := len(lines.c); n != 2 { // the second after a minute
			t.Errorf("the log has %d lines", n)
		}
		synctest.Wait() // it waits after the next try; Close need not wait for that
		close(done)
		<-in.ended
	})
}

// shortAcceptor has a connection at the 101st try, and never else.
type shortAcceptor struct{ tries int }

func (a *shortAcceptor) Accept() (net.Conn, error) {
	if a.tries++; a.tries != 101 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	c, _ := net.Pipe()
	return c, nil
}
func (a *shortAcceptor) SetDeadline(time.Time) error { return nil }
func (a *shortAcceptor) Close() error                { return nil }
