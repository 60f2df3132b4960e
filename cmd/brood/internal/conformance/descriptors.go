package conformance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/ipc"
)

// Descriptors, where the worker's HELLO offers them.

var fdChecks = []check{
	{name: "fds/there-and-back", about: "descriptors come back, the same and in their order, and none is left open", needs: []string{"fds"}, fds: true, run: checkFDs},
	{name: "fds/unknown-command", about: "those of a call that is refused are closed", fds: true, run: checkFDsRefused},
	{name: "fds/too-few", about: "fewer than declared end the connection", fds: true, run: func(s *subject) error { return s.badFDs(1, 2) }},
	{name: "fds/left-over", about: "more than declared end the connection", fds: true, run: func(s *subject) error { return s.badFDs(2, 1) }},
	{name: "fds/undeclared", about: "a descriptor with a frame that declares none ends the connection", fds: true, run: func(s *subject) error { return s.badFDs(1, 0) }},
	{name: "fds/of-an-earlier-frame", about: "those that came with one frame are not the next one's", fds: true, run: checkFDsEarlier},
	{name: "fds/beyond-hello", about: "more than its HELLO said end the connection", fds: true, run: func(s *subject) error {
		if s.hello.FDs >= 16 {
			return s.badFDs(17, 16)
		}
		return s.badFDs(s.hello.FDs+1, s.hello.FDs+1)
	}},
}

// pipes are n descriptors, of which each is another file.
func pipes(n int) (fds []int, free func(), err error) {
	free = func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	for len(fds) < n {
		var p [2]int
		if err := unix.Pipe(p[:]); err != nil {
			free()
			return nil, nil, os.NewSyscallError("pipe", err)
		}
		unix.CloseOnExec(p[0])
		unix.CloseOnExec(p[1])
		fds = append(fds, p[0], p[1])
	}
	return fds, free, nil
}

// give writes a frame with descriptors.
func (s *subject) give(f ipc.Frame, fds []int) error {
	return s.giveBytes(ipc.AppendFrame(nil, f), fds)
}

func (s *subject) giveBytes(b []byte, fds []int) error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), b, unix.UnixRights(fds...), nil, 0)
		return sent != unix.EAGAIN
	}); err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", sent)
}

// takeWithFDs is the next frame and what came with it.
func (s *subject) takeWithFDs() (ipc.Frame, []int, error) {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return ipc.Frame{}, nil, err
	}
	var in []byte
	var fds []int
	s.conn.SetReadDeadline(time.Now().Add(s.options.Timeout))
	for {
		f, n, err := ipc.ParseFrame(in, ipc.DefaultChunk)
		if err != nil || n > 0 {
			return f, fds, err
		}
		b, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(16*4))
		var got, oobn int
		var rerr error
		if err := raw.Read(func(fd uintptr) bool {
			got, oobn, _, _, rerr = unix.Recvmsg(int(fd), b, oob, 0)
			return rerr != unix.EAGAIN
		}); err != nil {
			return f, fds, fmt.Errorf("nothing came within %v: %w", s.options.Timeout, err)
		}
		if rerr != nil || got == 0 {
			return f, fds, fmt.Errorf("the connection ended: %w", errors.Join(rerr, errEnded))
		}
		in = append(in, b[:got]...)
		cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return f, fds, os.NewSyscallError("recvmsg", err)
		}
		for i := range cmsgs {
			if more, err := unix.ParseUnixRights(&cmsgs[i]); err == nil {
				fds = append(fds, more...)
			}
		}
	}
}

var errEnded = errors.New("the worker has closed it")

func inodes(fds []int) (all []uint64, err error) {
	for _, fd := range fds {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, os.NewSyscallError("fstat", err)
		}
		all = append(all, uint64(st.Ino))
	}
	return all, nil
}

func callWithFDs(id uint32, command string, n int) ipc.Frame {
	return ipc.Frame{Header: ipc.Header{Type: ipc.TypeCall, ID: id, NFDs: uint8(n)}, Name: []byte(command)}
}

func checkFDs(s *subject) error {
	fds, free, err := pipes(min(s.hello.FDs, 8))
	if err != nil {
		return err
	}
	defer free()
	fds = fds[:min(s.hello.FDs, 8)]
	slices.Reverse(fds)
	want, err := inodes(fds)
	if err != nil {
		return err
	}
	open := -1
	for i := range uint32(50) {
		if err := s.give(callWithFDs(2*i+1, "fds", len(fds)), fds); err != nil {
			return err
		}
		f, back, err := s.takeWithFDs()
		got, ierr := inodes(back)
		for _, fd := range back {
			unix.Close(fd)
		}
		switch {
		case err != nil || ierr != nil:
			return fmt.Errorf("round %d: %w", i+1, errors.Join(err, ierr))
		case f.Type != ipc.TypeResult || int(f.NFDs) != len(fds):
			return fmt.Errorf("round %d: got %s with %d descriptors, want a RESULT with %d", i+1, describe(f), f.NFDs, len(fds))
		case !slices.Equal(got, want):
			return fmt.Errorf("round %d: inodes %v came back for %v", i+1, got, want)
		}
		if i == 9 {
			open = s.openFDs()
		}
	}
	return s.settled(open)
}

func (s *subject) openFDs() int {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.hello.PID))
	if err != nil {
		return -1
	}
	return len(names)
}

// settled waits until the process has no more descriptors than it had.
func (s *subject) settled(had int) error {
	for ends := time.Now().Add(s.options.Timeout); ; time.Sleep(10 * time.Millisecond) {
		now := s.openFDs()
		if now <= had || had < 0 {
			return nil
		}
		if time.Now().After(ends) {
			return fmt.Errorf("it has %d descriptors open, %d before", now, had)
		}
	}
}

func checkFDsRefused(s *subject) error {
	fds, free, err := pipes(2)
	if err != nil {
		return err
	}
	defer free()
	open := s.openFDs()
	n := min(s.hello.FDs, 2)
	for i := range uint32(20) {
		if err := s.give(callWithFDs(2*i+1, "no-such-command", n), fds[:n]); err != nil {
			return err
		}
		if err := s.failure(2*i+1, ipc.ErrUnknownCommand); err != nil {
			return err
		}
	}
	return s.settled(open)
}

// badFDs sends so many descriptors with a frame that declares another number.
func (s *subject) badFDs(sent, declared int) error {
	fds, free, err := pipes(sent)
	if err != nil {
		return err
	}
	defer free()
	f := callWithFDs(1, "no-such-command", declared)
	if declared == 0 {
		f = ipc.Frame{Header: ipc.Header{Type: ipc.TypePing}}
	}
	if err := s.give(f, fds[:sent]); err != nil {
		return err
	}
	return s.endsOver(fmt.Sprintf("%d descriptors with a frame that declares %d", sent, declared))
}

// checkFDsEarlier sends a descriptor with half a PING, and then the rest of it and a
// call that declares one.
func checkFDsEarlier(s *subject) error {
	fds, free, err := pipes(1)
	if err != nil {
		return err
	}
	defer free()
	ping := ipc.AppendFrame(nil, ipc.Frame{Header: ipc.Header{Type: ipc.TypePing, Arg: 7}})
	if err := s.giveBytes(ping[:10], fds[:1]); err != nil {
		return err
	}
	if err := s.write(ipc.AppendFrame(ping[10:], callWithFDs(1, "no-such-command", 1))); err != nil {
		return err
	}
	return s.endsOver("a descriptor with a PING, and the call behind it declares one")
}

// endsOver awaits the end of the connection and of the process, because of what.
func (s *subject) endsOver(what string) error {
	if err := s.control(ipc.TypePing, 0, 1); err != nil {
		return err
	}
	for {
		f, err := s.next()
		if errors.Is(err, io.EOF) {
			return s.ends(-1)
		}
		if err != nil {
			return fmt.Errorf("%s: waiting for the end of the connection: %w", what, err)
		}
		if f.Type == ipc.TypePong && f.Arg == 1 {
			return fmt.Errorf("%s, and the connection goes on; rule fds", what)
		}
	}
}
