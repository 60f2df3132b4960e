//go:build unix

package ipc

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Descriptors. They come with SCM_RIGHTS, unix(7), in the system call that
// reads the first byte of the frame that declares them.

// arrivals are the descriptors that were read and not yet claimed by a frame.
// They belong to the reader.
type arrivals struct {
	fds   []int
	until int64      // the stream's offset behind the bytes that the last of them came with
	fresh bool       // the last read brought some, and until is not yet known
	files []*os.File // of the frame at hand

	control [128]byte // more than CmsgSpace of maxFDs
	vector  vector
}

// claim gives the frame that begins at offset at what it declares.
func (a *arrivals) claim(h Header, at int64, accepted int) *breach {
	n := int(h.NFDs)
	switch {
	case n > accepted:
		return broke("fds", 18, "%d descriptors, this end accepts %d", n, accepted)
	case n > len(a.fds):
		return broke("fds", 18, "%v declares %d descriptors, %d came", h.Type, n, len(a.fds))
	case len(a.fds) > 0 && at >= a.until:
		return broke("fds", 18, "%v declares %d descriptors, and %d came before it", h.Type, n, len(a.fds))
	}
	for _, fd := range a.fds[:n] {
		a.files = append(a.files, os.NewFile(uintptr(fd), "brood-passed"))
	}
	a.fds = append(a.fds[:0], a.fds[n:]...)
	return nil
}

// take hands the frame's files over to whoever keeps them.
func (a *arrivals) take() []*os.File {
	files := a.files
	a.files = nil
	return files
}

// drop closes those that nobody has taken.
func (a *arrivals) drop() { Message{Files: a.take()}.CloseFiles() }

func (a *arrivals) close() {
	a.drop()
	closeFDs(a.fds)
	a.fds = nil
}

// receive reads into bufs, and descriptors into a. Where none are taken the
// system closes those that come.
func (a *arrivals) receive(fd int, bufs [][]byte, taken bool, readFlags int) (n int, br *breach, err error) {
	var control []byte
	if taken {
		control = a.control[:unix.CmsgSpace(maxFDs*4)]
	}
	n, oobn, flags, err := a.vector.receive(fd, bufs, control, readFlags)
	if err != nil {
		return 0, nil, err
	}
	if oobn > 0 {
		cmsgs, perr := unix.ParseSocketControlMessage(a.control[:oobn])
		for i := range cmsgs {
			if fds, err := unix.ParseUnixRights(&cmsgs[i]); err == nil {
				closeOnExec(fds)
				a.fds, a.fresh = append(a.fds, fds...), true
			}
		}
		if perr != nil {
			return n, broke("fds", 0, "control data that can't be read: %v", perr), nil
		}
	}
	if taken && flags&unix.MSG_CTRUNC != 0 {
		return n, broke("fds", 0, "more descriptors than one frame may have, or than this process can hold"), nil
	}
	return n, nil, nil
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// duplicates are descriptors of the connection's own for files.
func (c *Conn) duplicates(files []*os.File) ([]int, error) {
	if len(files) == 0 {
		return nil, nil
	}
	fds := make([]int, 0, len(files))
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err == nil {
			cerr := raw.Control(func(fd uintptr) {
				var n int
				if n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
					fds = append(fds, n)
				}
			})
			if err == nil {
				err = cerr
			}
		}
		if err != nil {
			closeFDs(fds)
			return nil, fmt.Errorf("ipc: duplicate %s: %w", f.Name(), err)
		}
	}
	return fds, nil
}
