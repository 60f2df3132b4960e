package listen

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain runs this binary as one of the programs when it is started as one.
func TestMain(m *testing.M) {
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	if len(os.Args) > 2 && os.Args[1] == "as-program" {
		programs[os.Args[2]]()
		return
	}
	os.Exit(m.Run())
}

// programs are what this binary can be.
var programs = map[string]func(){
	// greet accepts a client on descriptor 3, as any Go program would, greets it and
	// exits.
	"greet": func() {
		ln, err := net.FileListener(os.NewFile(3, "listener"))
		if err != nil {
			log.Fatal(err)
		}
		c, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(c, "hello from Go on", ln.Addr())
	},
	"knock": knock,
	"open": func() {
		s, err := open(os.Args[3])
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("opened", s.Addr())
	},
}

func asProgram(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append([]string{"as-program"}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

func open(text string) (*Socket, error) {
	spec, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return Open(spec)
}

// mustOpen closes the socket at the test's end.
func mustOpen(t testing.TB, text string) *Socket {
	t.Helper()
	s, err := open(text)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// greeting connects and reads the one line that is sent.
func greeting(t *testing.T, s *Socket) string {
	t.Helper()
	network := s.Spec().Network
	c, err := net.Dial(network, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

func blocking(t *testing.T, s *Socket) bool {
	t.Helper()
	flags, err := unix.FcntlInt(s.File().Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.O_NONBLOCK == 0
}

func sockopt(t *testing.T, s *Socket, level, name int) int {
	t.Helper()
	v, err := unix.GetsockoptInt(int(s.File().Fd()), level, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestOpenInet(t *testing.T) {
	for _, c := range []struct {
		text, addr string
		clients    []string
	}{
		{"tcp://127.0.0.1:0", "127.0.0.1:", []string{"127.0.0.1"}},
		{"tcp://0.0.0.0:0", "0.0.0.0:", []string{"127.0.0.1"}},
		{"tcp://[::1]:0", "[::1]:", []string{"::1"}},
		{"tcp://:0", "[::]:", []string{"127.0.0.1", "::1"}},
	} {
		s := mustOpen(t, c.text)
		if !strings.HasPrefix(s.Addr(), c.addr) {
			t.Errorf("%s is at %s", c.text, s.Addr())
		}
		if !blocking(t, s) || sockopt(t, s, unix.SOL_SOCKET, unix.SO_ACCEPTCONN) == 0 || sockopt(t, s, unix.SOL_SOCKET, unix.SO_REUSEADDR) == 0 {
			t.Errorf("%s: blocking %v, or it does not listen, or the address can't be used again", c.text, blocking(t, s))
		}
		if flags, err := unix.FcntlInt(s.File().Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: every child inherits it: %#x, %v", c.text, flags, err)
		}
		_, port, err := net.SplitHostPort(s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range c.clients {
			client, err := net.Dial("tcp", net.JoinHostPort(host, port))
			if err != nil {
				t.Errorf("%s: %v", c.text, err)
				continue
			}
			client.Close()
		}
	}
}

// [::] is IPv6 alone, so that 0.0.0.0 may be configured beside it.
func TestIPv6AloneLeavesIPv4(t *testing.T) {
	six := mustOpen(t, "tcp://[::]:0")
	_, port, err := net.SplitHostPort(six.Addr())
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, "tcp://0.0.0.0:"+port)
}

func TestOpenUDP(t *testing.T) {
	s := mustOpen(t, "udp://127.0.0.1:0")
	c, err := net.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "datagram"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _, err := unix.Recvfrom(int(s.File().Fd()), buf, 0)
	if err != nil || string(buf[:n]) != "datagram" || !blocking(t, s) {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if _, err := open("udp://" + s.Addr()); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one: %v", err)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	taken := mustOpen(t, "tcp://127.0.0.1:0")
	_, port, err := net.SplitHostPort(taken.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		is   error
		want string
	}{
		{"tcp://" + taken.Addr(), ErrInUse, "cannot listen on tcp://" + taken.Addr() + ": it is in use: another program has port " + port + "; find it with ss -ltnp 'sport = :" + port + "'"},
		{"tcp://:" + port, ErrInUse, "cannot listen on tcp://:" + port + ": it is in use"},
		{"tcp://192.0.2.1:80", unix.EADDRNOTAVAIL, "this machine has no address 192.0.2.1"},
		{"tcp://[fe80::1%nolink0]:80", nil, `this machine has no interface "nolink0"`},
	} {
		s, err := open(c.text)
		if err == nil {
			s.Close()
		}
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

// A descriptor of a listener that the poller watches is non-blocking, and
// handing it to a child would make it blocking under the parent's feet, because
// the flag is the file description's, not the descriptor's. This one never enters
// the poller, and no hand-over changes it.
func TestHandOverLeavesONonblockAlone(t *testing.T) {
	for _, nonblock := range []bool{false, true} {
		s := mustOpen(t, "tcp://127.0.0.1:0")
		if err := unix.SetNonblock(int(s.File().Fd()), nonblock); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			cmd := exec.Command("true")
			cmd.ExtraFiles = []*os.File{s.File()}
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			if blocking(t, s) == nonblock {
				t.Fatalf("O_NONBLOCK was %v and has changed", nonblock)
			}
		}
	}
}

const pythonGreet = `import socket
s = socket.socket(fileno=3)
c, _ = s.accept()
c.sendall(b"hello from Python on %s\n" % repr(s.getsockname()).encode())
`

func python(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} { // what PATH finds may be a script
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("needs python3")
	return ""
}

// Children of any kind accept on what they inherit, one generation after the
// other; who connects while there is none waits in the queue.
func TestChildrenAccept(t *testing.T) {
	path := t.TempDir() + "/app.sock"
	for _, text := range []string{"tcp://127.0.0.1:0", "tcp://:0", "unix://" + path} {
		s := mustOpen(t, text)
		for _, c := range []struct {
			cmd  *exec.Cmd
			want string
		}{
			{exec.Command(python(t), "-c", pythonGreet), "hello from Python on"},
			{asProgram("greet"), "hello from Go on " + s.Addr()},
			{asProgram("greet"), "hello from Go on " + s.Addr()},
		} {
			greeted := make(chan string, 1)
			go func() { greeted <- greeting(t, s) }()
			c.cmd.ExtraFiles = []*os.File{s.File()}
			c.cmd.Stderr = os.Stderr
			if err := c.cmd.Run(); err != nil {
				t.Fatal(err)
			}
			if got := <-greeted; !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %q, want %q", text, got, c.want)
			}
		}
	}
}

func TestCloseIsOnce(t *testing.T) {
	s, err := open("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := s.Addr()
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, "tcp://"+addr) // at once
}

// An open that fails leaves no descriptor behind, nor does one that is closed.
func TestNoDescriptorIsLeft(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/dev/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	dir := t.TempDir()
	taken := mustOpen(t, "tcp://127.0.0.1:0")
	mustOpen(t, "unix://"+dir+"/taken")
	once := func() {
		for _, bad := range []string{"tcp://" + taken.Addr(), "tcp://192.0.2.1:1", "unix://" + dir + "/taken", "unix://" + dir + "/no/dir", "unix://" + dir + "/a?group=no-such-group"} {
			if _, err := open(bad); err == nil {
				t.Fatal(bad)
			}
		}
		for _, good := range []string{"tcp://127.0.0.1:0", "unix://" + dir + "/good"} {
			s, err := open(good)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	once()
	before := count()
	for range 10 {
		once()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}
