package notify

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain runs this binary as one of the programs when it is started as one.
// After the package, no goroutine and no descriptor is left over.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "as-program" {
		program := programs[os.Args[2]]
		if program == nil {
			log.Fatalf("no test program %q", os.Args[2])
		}
		program(os.Args[3:])
		os.Exit(0)
	}
	openPoller()
	before := takeCensus()
	code := m.Run()
	if leak := before.leak(); leak != "" && code == 0 && !fuzzing() {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// openPoller has the runtime make its own descriptors, which stay.
func openPoller() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
}

// fuzzing reports whether the engine runs, which keeps goroutines of its own.
func fuzzing() bool {
	for _, a := range os.Args {
		if strings.HasPrefix(a, "-test.fuzz=") || strings.HasPrefix(a, "-test.fuzzworker") {
			return true
		}
	}
	return false
}

// census is how many goroutines and descriptors there are.
type census struct{ goroutines, fds int }

func takeCensus() census { return census{runtime.NumGoroutine(), len(openFDs())} }

// openFDs says of each descriptor what it is. It is empty where /proc is missing.
func openFDs() []string {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var open []string
	for _, n := range names {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", n)); err == nil && n != fmt.Sprint(dir.Fd()) {
			open = append(open, n+" "+target)
		}
	}
	return open
}

// leak says what there is more of than before, or "". What is on its way out is
// given time.
func (c census) leak() string {
	for end := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		now := takeCensus()
		if now.goroutines <= c.goroutines && now.fds <= c.fds {
			return ""
		}
		if time.Now().After(end) {
			var b strings.Builder
			fmt.Fprintf(&b, "before %+v, after %+v\n%s\n", c, now, strings.Join(openFDs(), "\n"))
			_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
			return b.String()
		}
	}
}

// noLeaks checks, when the test is over, that it left nothing behind. It is
// called first.
func noLeaks(t *testing.T) {
	t.Helper()
	before := takeCensus()
	t.Cleanup(func() {
		if leak := before.leak(); leak != "" {
			t.Error(leak)
		}
	})
}

// listener is a socket that is run, and what came of it.
type listener struct {
	*Socket
	t     *testing.T
	heard chan Message
	ended chan struct{} // closed when Run has returned
}

// listen makes a directory with a socket in it that runs.
func listen(t *testing.T, at func(Message)) *listener {
	t.Helper()
	noLeaks(t)
	d, err := newDir([]string{shortDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	s, err := d.Listen("web.2.7", -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	return runs(t, s, at)
}

// listenStuck is listen with a handler that is stuck, at first with READY=1, until
// leave is closed.
func listenStuck(t *testing.T) (l *listener, leave chan struct{}) {
	t.Helper()
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	l = listen(t, func(Message) {
		entered <- struct{}{}
		<-leave
	})
	l.say("READY=1")
	<-entered
	return l, leave
}

// runs runs s until the end of the test. Each message goes through at, if there is
// one, before it is heard.
func runs(t *testing.T, s *Socket, at func(Message)) *listener {
	l := &listener{Socket: s, t: t, heard: make(chan Message, 1<<16), ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		s.Run(func(m Message) {
			if at != nil {
				at(m)
			}
			l.heard <- m
		})
	}()
	t.Cleanup(func() {
		s.Close()
		l.awaitEnd()
	})
	return l
}

func (l *listener) awaitEnd() {
	l.t.Helper()
	select {
	case <-l.ended:
	case <-time.After(20 * time.Second):
		l.t.Error("Run did not return")
	}
}

// next is the next message.
func (l *listener) next() Message {
	l.t.Helper()
	select {
	case m := <-l.heard:
		return m
	case <-time.After(20 * time.Second):
		l.t.Fatal("heard nothing")
		return Message{}
	}
}

// await waits for a message that is as asked, and returns how many came before.
func (l *listener) await(ok func(Message) bool) (before int) {
	l.t.Helper()
	for ; ; before++ {
		if ok(l.next()) {
			return before
		}
	}
}

func ready(m Message) bool { return m.Ready }

// shortDir is a temporary directory with room for a socket's path below it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// speaker sends to one socket. It waits while there is no room.
type speaker struct {
	fd int
	to unix.Sockaddr
}

func newSpeaker(path string) (*speaker, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	return &speaker{fd, &unix.SockaddrUnix{Name: path}}, nil
}

func (s *speaker) send(text string, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		if err := unix.Sendmsg(s.fd, []byte(text), oob, s.to, 0); err != unix.EINTR {
			return err
		}
	}
}

// say sends on behalf of the test.
func (l *listener) say(texts ...string) {
	l.t.Helper()
	s, err := newSpeaker(l.Path())
	if err != nil {
		l.t.Fatal(err)
	}
	defer unix.Close(s.fd)
	for _, text := range texts {
		if err := s.send(text); err != nil {
			l.t.Fatalf("%.40q: %v", text, err)
		}
	}
}

// barrier sends BARRIER=1 with one end of a pipe, and returns the other.
func (l *listener) barrier(text string) *os.File {
	l.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	defer w.Close()
	l.t.Cleanup(func() { r.Close() })
	s, err := newSpeaker(l.Path())
	if err != nil {
		l.t.Fatal(err)
	}
	defer unix.Close(s.fd)
	if err := s.send(text, int(w.Fd())); err != nil {
		l.t.Fatal(err)
	}
	return r
}

// answered waits until the other end has been closed.
func (l *listener) answered(r *os.File) {
	l.t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := r.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
		l.t.Fatalf("the barrier was not answered: %d, %v", n, err)
	}
}
