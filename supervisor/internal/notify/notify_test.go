package notify

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// run runs a program of the worker's to its end.
func (l *listener) run(command ...string) {
	l.t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		l.t.Skipf("needs %s", command[0])
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+l.Path())
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
}

func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs %s", program)
	}
}

// TestSystemdNotify: a shell script's child says READY and is gone. As it waits
// for the barrier, all it said was handled by the time it exits.
func TestSystemdNotify(t *testing.T) {
	needs(t, "systemd-notify")
	l := listen(t, nil)
	l.run("sh", "-c", `systemd-notify --ready --status="serving 3 of 4"; true`)
	if len(l.heard) != 1 {
		t.Fatalf("the program has ended, and %d messages were heard", len(l.heard))
	}
	if m := l.next(); !m.Ready || m.Status == nil || *m.Status != "serving 3 of 4" {
		t.Errorf("heard %+v", m)
	}
	l.run("systemd-notify", "STOPPING=1", "EXTEND_TIMEOUT_USEC=2000000", "X_OTHER=1")
	if m := l.next(); !m.Stopping || m.ExtendTimeout != 2*time.Second {
		t.Errorf("heard %+v", m)
	}
	l.run("systemd-notify", "--no-block", "--pid=4711", "WATCHDOG=1")
	if m := l.next(); !m.Watchdog || m.MainPID != 4711 {
		t.Errorf("heard %+v", m)
	}
	if n := l.Ignored(); n != 0 {
		t.Errorf("%d ignored", n)
	}
}

func TestPythonSocket(t *testing.T) {
	needs(t, "python3")
	l := listen(t, nil)
	l.run("python3", "-c", `
import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.sendall(b"READY=1\nSTATUS=from python")
`)
	if m := l.next(); !m.Ready || *m.Status != "from python" {
		t.Errorf("heard %+v", m)
	}
}

func TestSocat(t *testing.T) {
	needs(t, "socat")
	l := listen(t, nil)
	l.run("sh", "-c", `printf 'READY=1\nSTATUS=from sh\n' | socat -u - "UNIX-SENDTO:$NOTIFY_SOCKET"`)
	if m := l.next(); !m.Ready || *m.Status != "from sh" {
		t.Errorf("heard %+v", m)
	}
}

func TestOrderIsKept(t *testing.T) {
	l := listen(t, nil)
	l.say("READY=1", "RELOADING=1", "STATUS=a", "READY=1", "STATUS=b", "STOPPING=1")
	var got []string
	for {
		m := l.next()
		got = append(got, []string{"", "ready", "reloading", "stopping"}[m.stage()])
		if m.Stopping {
			break
		}
	}
	got = slices.DeleteFunc(got, func(s string) bool { return s == "" })
	if want := "ready reloading ready stopping"; strings.Join(got, " ") != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}

func TestBrokenDatagramsAreIgnoredAndCounted(t *testing.T) {
	l := listen(t, nil)
	fits := "STATUS=fits\nX_PAD=" + strings.Repeat("x", maxDatagram)
	l.say(fits[:maxDatagram])
	if m := l.next(); *m.Status != "fits" {
		t.Errorf("heard %+v", m)
	}
	l.say("STATUS=long\nX_PAD="+strings.Repeat("x", maxDatagram), strings.Repeat("STOPPING=1\n", 10000),
		"STOPPING=1\x00ERRNO=1", "BARRIER=1\nSTOPPING=1", "", "READY=1")
	l.await(func(m Message) bool {
		if m.Stopping || m.Status != nil {
			t.Errorf("heard %+v", m)
		}
		return m.Ready
	})
	if n := l.Ignored(); n != 4 {
		t.Errorf("%d ignored, want 4", n)
	}
}

// TestBarrierComesAfterAllElse: while handle is at work on what was said
// before, the descriptor is open.
func TestBarrierComesAfterAllElse(t *testing.T) {
	open := make(chan *os.File, 1)
	first, entered := true, make(chan struct{})
	l := listen(t, func(Message) {
		if first { // the rest is sent while this one is handled
			first = false
			close(entered)
			return
		}
		r := <-open
		defer func() { open <- r }()
		if closed(r) {
			t.Error("the barrier was answered while a message before it was not handled")
		}
	})
	l.say("STATUS=first")
	<-entered
	l.say("STATUS=second")
	r := l.barrier("BARRIER=1")
	open <- r
	l.answered(r)
	if len(l.heard) != 2 {
		t.Errorf("the barrier was answered after %d of 2 messages", len(l.heard))
	}
}

// closed reports whether nobody has the writing end.
func closed(r *os.File) bool {
	raw, err := r.SyscallConn()
	n := 0
	if err == nil {
		err = raw.Control(func(fd uintptr) { n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) })
	}
	return err != nil || n > 0
}

func TestStoredDescriptorsAreClosed(t *testing.T) {
	l := listen(t, nil)
	r := l.barrier("FDSTORE=1\nFDNAME=state\nREADY=1")
	if m := l.next(); !m.Ready {
		t.Errorf("heard %+v", m)
	}
	l.answered(r)
}

// TestCloseHandsOverWhatWasSent: the last words of a worker that has exited
// count.
func TestCloseHandsOverWhatWasSent(t *testing.T) {
	l, leave := listenStuck(t)
	l.say("STATUS=can't go on", "ERRNO=28", "STOPPING=1")
	l.Close()
	if _, err := os.Lstat(l.Path()); err == nil {
		t.Error("the node is still there")
	}
	close(leave)
	l.awaitEnd()
	close(l.heard)
	var all Message
	for m := range l.heard {
		all, _ = merge(Message{Status: all.Status, Errno: all.Errno}, m)
	}
	if !all.Stopping || all.Errno != 28 || all.Status == nil || *all.Status != "can't go on" {
		t.Errorf("heard last of all %+v", all)
	}
}

// TestCloseBeforeRun: a worker may be gone before its goroutine has begun.
func TestCloseBeforeRun(t *testing.T) {
	noLeaks(t)
	d := openDir(t, shortDir(t))
	defer d.Close()
	s, err := d.Listen("x", -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	(&listener{Socket: s, t: t}).say("STATUS=brief", "READY=1")
	s.Close()
	s.Close()
	var all Message
	s.Run(func(m Message) { all, _ = merge(all, m) })
	if !all.Ready || all.Status == nil || *all.Status != "brief" {
		t.Errorf("heard %+v", all)
	}
	if s, err = d.Listen("x", -1, -1); err != nil {
		t.Fatal(err)
	}
	s.Abort()
	if _, err := os.Lstat(s.Path()); err == nil {
		t.Error("the node is still there")
	}
}

func TestCloseAtAnyTime(t *testing.T) {
	noLeaks(t)
	d := openDir(t, shortDir(t))
	defer d.Close()
	for i := range 50 {
		s, err := d.Listen("x", -1, -1)
		if err != nil {
			t.Fatal(err)
		}
		l := &listener{Socket: s, t: t, ended: make(chan struct{})}
		if i%2 == 0 {
			l.say("READY=1") // closed from handle
		}
		go func() {
			defer close(l.ended)
			s.Run(func(Message) { s.Close() })
		}()
		if i%2 == 1 {
			s.Close()
		}
		l.awaitEnd()
		s.Close()
	}
}
