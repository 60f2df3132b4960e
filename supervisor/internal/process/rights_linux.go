package process

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// maxRights is how many descriptors go into a message (SCM_MAX_FD, unix(7)).
const maxRights = 253

// sendRights sends descriptors through a blocking socket that keeps messages
// apart, and returns how many were sent. They stay the caller's.
func sendRights(to int, fds []int) (sent int, err error) {
	for some := range slices.Chunk(fds, maxRights) {
		rights := unix.UnixRights(some...)
		for {
			err := unix.Sendmsg(to, []byte{0}, rights, nil, unix.MSG_NOSIGNAL)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return sent, os.NewSyscallError("sendmsg", err)
			}
			break
		}
		sent += len(some)
	}
	return sent, nil
}

// receiveRights receives n of them, which are the caller's to close. With an
// error there are none.
func receiveRights(from, n int) (fds []int, err error) {
	for left := n; left > 0; left -= maxRights {
		got, some := receiveSome(from, min(left, maxRights))
		fds, err = append(fds, got...), errors.Join(err, some) // what was sent is taken out in any case
	}
	if err == nil {
		return fds, nil
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return nil, err
}

func receiveSome(from, n int) (fds []int, err error) {
	buf, room := make([]byte, 1), make([]byte, unix.CmsgSpace(4*n))
	var got, flags int
	for {
		_, got, flags, _, err = unix.Recvmsg(from, buf, room, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(room[:got])
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		some, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fds, err
		}
		fds = append(fds, some...)
	}
	if len(fds) != n || flags&unix.MSG_CTRUNC != 0 {
		return fds, fmt.Errorf("process: %d of %d descriptors were handed over: %w", len(fds), n, unix.EMFILE)
	}
	return fds, nil
}
