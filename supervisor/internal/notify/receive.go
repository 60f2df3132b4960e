package notify

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Reading datagrams, and being rid of the descriptors that ride on them.

const (
	// maxDatagram is the longest text accepted, in bytes.
	maxDatagram = 4096
	// maxFDs is how many descriptors one datagram can carry: 253 on Linux
	// (unix(7)), fewer than this elsewhere. There is room for all of them, since
	// what has none is closed by the kernel while this end waits for it; so it is
	// only where the program may not have more descriptors (MSG_CTRUNC).
	maxFDs = 512
)

// datagram is one that was received.
type datagram struct {
	message Message
	broken  bool  // it breaks a rule; message is empty
	fds     []int // the receiver's to discard
}

// buffer is held only while there is something to read: a silent worker costs
// none.
type buffer struct {
	text [maxDatagram]byte
	oob  [maxFDs*4 + 64]byte // 64: more than the header in front of them
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// receive waits for a datagram until the socket's deadline.
func (s *Socket) receive() (d datagram, err error) {
	waitErr := s.raw.Read(func(fd uintptr) bool {
		d, err = recv(int(fd))
		return err != unix.EAGAIN
	})
	if waitErr != nil {
		return datagram{}, waitErr
	}
	return d, os.NewSyscallError("recvmsg", err)
}

// receiveNow does not wait: EAGAIN says that there is none.
func (s *Socket) receiveNow() (d datagram, err error) {
	ctlErr := s.raw.Control(func(fd uintptr) { d, err = recv(int(fd)) })
	if ctlErr != nil {
		return datagram{}, ctlErr
	}
	return d, os.NewSyscallError("recvmsg", err)
}

func recv(fd int) (datagram, error) {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for {
		n, oobn, flags, err := recvmsg(fd, buf.text[:], buf.oob[:])
		if err == unix.EINTR {
			continue
		}
		d := datagram{fds: descriptors(buf.oob[:oobn])}
		if err != nil {
			discard(d.fds) // there are none, as far as is known
			return datagram{}, err
		}
		if flags&unix.MSG_TRUNC != 0 {
			d.broken = true
			return d, nil
		}
		var ok bool
		d.message, ok = parse(buf.text[:n])
		d.broken = !ok
		return d, nil
	}
}

// descriptors are those of all control messages. With MSG_CTRUNC there were
// more, which the kernel has closed; those that are here are ours all the same.
func descriptors(oob []byte) []int {
	if len(oob) == 0 {
		return nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil // the kernel's own writing
	}
	var fds []int
	for _, m := range msgs {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds
}

// discard closes fds, on a goroutine of its own, and tells when that is done.
//
// The last close(2) of a socket with SO_LINGER (socket(7)) lasts until its data
// is sent, or for as many seconds as whoever made it has said; that of a file on
// FUSE until its server answers. The first is turned off, which matters to nobody
// else: a socket that lives on elsewhere is not being closed. For the second this
// goroutine waits, which ends with the file system's server.
func discard(fds []int) (done <-chan struct{}) {
	closed := make(chan struct{})
	if len(fds) == 0 {
		close(closed)
		return closed
	}
	underWay.Add(1)
	go func() {
		defer close(closed)
		defer underWay.Add(-1)
		for _, fd := range fds {
			_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{}) // ENOTSOCK: good as well
			unix.Close(fd)
		}
	}()
	return closed
}
