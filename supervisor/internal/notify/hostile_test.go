package notify

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// programs are what this binary can be; each gets its arguments.
var programs = map[string]func(args []string){
	// flood says a lot, and then READY.
	"flood": func(args []string) {
		s := speak()
		n, _ := strconv.Atoi(args[0])
		for i := range n {
			must(s.send([]string{"WATCHDOG=1", fmt.Sprintf("STATUS=%d", i), "STATUS=\xff\x00X", "X=1", ""}[i%5]))
		}
		must(s.send("READY=1"))
	},
	// flap changes its mind without end.
	"flap": func([]string) {
		s := speak()
		for {
			must(s.send("RELOADING=1"))
			must(s.send("READY=1"))
		}
	},
	// passer passes as many descriptors as it can, and then waits for a barrier.
	"passer": func(args []string) {
		s := speak()
		fds := make([]int, 253) // SCM_MAX_FD, unix(7)
		for i := range fds {
			fds[i] = 2
		}
		n, _ := strconv.Atoi(args[0])
		for range n {
			must(s.send("READY=1", fds...))
		}
		r, w, err := os.Pipe()
		must(err)
		must(s.send("BARRIER=1", int(w.Fd())))
		w.Close()
		_, err = r.Read(make([]byte, 1))
		if err != io.EOF {
			log.Fatal(err)
		}
	},
	// narrow receives two messages with hardly any room for descriptors, and says
	// whether one is left over: "", or which.
	"narrow": func(args []string) {
		openPoller()
		before := takeCensus()
		d, err := newDir(args)
		must(err)
		s, err := d.Listen("narrow", -1, -1)
		must(err)
		must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 20, Max: 20}))
		fmt.Println(s.Path())
		n := 0
		s.Run(func(Message) {
			if n++; n == 2 {
				s.Close()
			}
		})
		d.Close()
		fmt.Printf("%q\n", before.leak())
	},
	// orphan makes a directory and waits to be killed.
	"orphan": func(args []string) {
		d, err := newDir(args)
		must(err)
		_, err = d.Listen("web.1.1", -1, -1)
		must(err)
		fmt.Println(d.path)
		select {}
	},
	// says is a worker that says its arguments.
	"says": func(args []string) {
		s := speak()
		for _, a := range args {
			must(s.send(a))
		}
	},
}

func speak() *speaker {
	s, err := newSpeaker(os.Getenv("NOTIFY_SOCKET"))
	must(err)
	return s
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func asProgram(name string, args ...string) []string {
	return append([]string{os.Args[0], "as-program", name}, args...)
}

func TestFloodIsPacedAndLosesNothingThatCounts(t *testing.T) {
	l := listen(t, nil)
	began := time.Now()
	l.run(asProgram("flood", "10000")...)
	calls := l.await(ready)
	if most := int(time.Since(began)/gap) + 2; calls > most {
		t.Errorf("%d calls in %v, want at most %d", calls, time.Since(began), most)
	}
	if n := l.Ignored(); n != 2000 {
		t.Errorf("%d ignored, want the 2000 with a NUL", n)
	}
}

// TestEndlessFlapping: what can't be made one message holds its sender up, and
// not Close.
func TestEndlessFlapping(t *testing.T) {
	l := listen(t, nil)
	cmd := exec.Command(os.Args[0], "as-program", "flap")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+l.Path())
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for want := 1; want <= 20; want++ {
		l.next()
	}
	if took := time.Since(began); took < 19*gap {
		t.Errorf("20 calls in %v, want them %v apart", took, gap)
	}
	l.Close() // the sender's next send fails, with EPIPE or because there is no node
	l.awaitEnd()
	if err := cmd.Wait(); err == nil {
		t.Error("it ended well")
	}
}

func TestFloodOfDescriptors(t *testing.T) {
	l := listen(t, nil) // counts the descriptors
	l.run(asProgram("passer", "50")...)
	l.await(ready)
}

// TestNoRoomForDescriptors: of more than there is room for, the kernel closes
// what does not fit and says MSG_CTRUNC; the message counts, and the others are
// closed too.
func TestNoRoomForDescriptors(t *testing.T) {
	noLeaks(t)
	cmd := exec.Command(os.Args[0], "as-program", "narrow", shortDir(t))
	out := start(t, cmd)
	path := line(t, out)
	s, err := newSpeaker(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s.fd)
	fds := make([]int, 253)
	for i := range fds {
		fds[i] = 2
	}
	for _, text := range []string{"READY=1", "STOPPING=1"} {
		if err := s.send(text, fds...); err != nil {
			t.Fatal(err)
		}
	}
	if leak := line(t, out); leak != `""` {
		t.Error(leak)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestLingeringSocketHoldsNobodyUp: the last close of a TCP socket with
// SO_LINGER and unsent data lasts as long as its owner has said, here an hour.
// Whoever has it passed to him must not be the one who waits.
func TestLingeringSocketHoldsNobodyUp(t *testing.T) {
	l := listen(t, nil)
	pass(t, l, "READY=1")
	l.answered(l.barrier("BARRIER=1"))
	l.await(ready)
}

// TestLingeringSocketInTheQueue: the same when it is still unread at Close.
func TestLingeringSocketInTheQueue(t *testing.T) {
	l, leave := listenStuck(t)
	pass(t, l, "STATUS=last words")
	l.Close()
	close(leave)
	l.awaitEnd()
	l.await(func(m Message) bool { return m.Status != nil })
}

// pass sends text and a TCP socket that lingers, of which nobody else has a
// copy once it is sent.
func pass(t *testing.T, l *listener, text string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := ln.Accept() // it never reads
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	fill(t, conn)
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := unix.SetsockoptLinger(int(f.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600}); err != nil {
		t.Fatal(err)
	}
	s, err := newSpeaker(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s.fd)
	if err := s.send(text, int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { f.Close(); close(closed) }() // not the last, unless the other was as fast
	<-closed
}

// fill writes until there is no more room.
func fill(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 64<<10)
	err = raw.Write(func(fd uintptr) bool {
		for {
			if _, err := unix.Write(int(fd), chunk); err == unix.EAGAIN {
				return true
			} else if err != nil && err != unix.EINTR {
				t.Errorf("write: %v", err)
				return true
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a program that prints, and has it gone at the end of the test.
func start(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // waited for before: "already finished"
		_ = cmd.Wait()
	})
	return bufio.NewReader(out)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return s[:len(s)-1]
}
