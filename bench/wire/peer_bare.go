package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// socketpair is both ends of a stream socketpair, close-on-exec. The caller
// owns both.
func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "parent-end"), os.NewFile(uintptr(fds[1]), "child-end"), nil
}

// startChild starts this program as the child of a peer. theirs, if there is
// one, becomes its descriptor 3 and is closed here.
func startChild(name string, theirs *os.File, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{"child", name}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if theirs != nil {
		cmd.ExtraFiles = []*os.File{theirs}
		defer theirs.Close()
	}
	return cmd, cmd.Start()
}

// connChild starts a child with a socketpair and returns this end of it.
func connChild(name string, args ...string) (net.Conn, *exec.Cmd, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, nil, err
	}
	defer ours.Close() // FileConn has its own copy
	cmd, err := startChild(name, theirs, args...)
	if err != nil {
		return nil, nil, err
	}
	conn, err := net.FileConn(ours)
	return conn, cmd, err
}

// childConn is a child's end of the socketpair that connChild has made.
func childConn() (net.Conn, error) {
	f := os.NewFile(3, "child-end")
	defer f.Close()
	return net.FileConn(f)
}

// bare is net.UnixConn without any protocol: a Write and a Read for each
// message. The child is started for each run, since it must know the size.
type bare struct {
	conn net.Conn
	cmd  *exec.Cmd
	size int
}

func openBare() (link, error) { return &bare{}, nil }

func (b *bare) child() int { return b.cmd.Process.Pid }

func (b *bare) reopen(size int) (err error) {
	if b.size == size {
		return nil
	}
	if b.cmd != nil {
		b.conn.Close()
		b.cmd.Wait()
	}
	b.size = size
	b.conn, b.cmd, err = connChild("bare", strconv.Itoa(size))
	return err
}

func bareChild(args []string) error {
	size, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	conn, err := childConn()
	if err != nil {
		return err
	}
	b := make([]byte, size)
	for {
		if _, err := io.ReadFull(conn, b); err != nil {
			return nil
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
}

func (b *bare) drive(payload []byte, n int, until time.Time) (calls int64, err error) {
	if err := b.reopen(len(payload)); err != nil {
		return 0, err
	}
	in := make([]byte, len(payload))
	if n > 1 && n*len(payload) > 65536 {
		return b.driveTwo(payload, in, n, until)
	}
	for range n {
		if _, err := b.conn.Write(payload); err != nil {
			return 0, err
		}
	}
	for time.Now().Before(until) {
		if _, err := io.ReadFull(b.conn, in); err != nil {
			return 0, err
		}
		if _, err := b.conn.Write(payload); err != nil {
			return 0, err
		}
		calls++
	}
	for range n {
		if _, err := io.ReadFull(b.conn, in); err != nil {
			return 0, err
		}
		calls++
	}
	if !bytes.Equal(in, payload) {
		return 0, errEcho
	}
	return calls, nil
}

// driveTwo writes and reads in a goroutine each, where n messages fill the
// socket's buffers.
func (b *bare) driveTwo(payload, in []byte, n int, until time.Time) (calls int64, err error) {
	underWay := make(chan struct{}, n)
	wrote := make(chan error, 1)
	go func() {
		defer close(underWay)
		for time.Now().Before(until) {
			underWay <- struct{}{}
			if _, err := b.conn.Write(payload); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	for range underWay {
		if _, err := io.ReadFull(b.conn, in); err != nil {
			return 0, fmt.Errorf("%w (and %w)", err, <-wrote)
		}
		calls++
	}
	return calls, <-wrote
}
