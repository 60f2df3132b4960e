package control

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// hasInput reports whether c has bytes that nobody has read yet. The end of the
// stream is none.
func hasInput(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	var b [1]byte
	_ = raw.Control(func(fd uintptr) { n, _ = recvNow(fd, b[:], unix.MSG_PEEK) })
	return n > 0
}

// recvNow is recv(2) of what is there.
func recvNow(fd uintptr, b []byte, flags int) (int, error) {
	for {
		n, _, err := unix.Recvfrom(int(fd), b, flags|unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// hungUp reports whether the other end is closed both ways. After
// shutdown(SHUT_WR) alone a client still takes its answer; poll(2) tells the two
// apart by POLLHUP.
func hungUp(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// hasClient reports whether a client is in the queue of the listening socket fd,
// or comes within wait.
func hasClient(fd uintptr, wait time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(wait.Milliseconds()))
	return err == nil && n > 0
}

// isHungUp is hungUp of c.
func isHungUp(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := true
	_ = raw.Control(func(fd uintptr) { gone = hungUp(fd) })
	return gone
}

// readNow reads what is there without waiting for more. eof: the other end has shut
// its sending half down, or closed.
func readNow(c *net.UnixConn, b []byte) (n int, eof bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = raw.Control(func(fd uintptr) {
		var err error
		n, err = recvNow(fd, b, 0)
		eof = n == 0 && err == nil
	})
	return n, eof
}

// awaitHangup returns true when either end is closed both ways, false when the
// read deadline of c passes. Nobody else may read meanwhile.
func awaitHangup(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Read(hungUp) // again each time that the poller sees something
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// refusals are for whoever comes when there is no place at all.
const (
	fullText    = "too many connections to the control socket; try again"
	refusedLine = "error: overloaded: " + fullText + "\n"
	refusedJSON = `{"type":"urn:brood:problem:overloaded","title":"there is no room for more","status":503,"detail":"` + fullText + `","code":"overloaded"}` + "\n"
	refusedHTTP = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nConnection: close\r\nRetry-After: 1\r\n\r\n" + refusedJSON
)

// refuse closes c, saying why in the client's tongue as far as one look tells. It
// does not wait.
func refuse(c *net.UnixConn) {
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 4096)
	_ = raw.Control(func(fd uintptr) {
		// What was read is not there at the close, which would be ECONNRESET for
		// the client.
		n, _ := recvNow(fd, buf, 0)
		text := refusedLine
		if n > 0 && isHTTP(buf[0]) {
			text = refusedHTTP
		}
		_ = unix.Sendto(int(fd), []byte(text), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	})
}

// How much, and for how long, is read of a client that is hung up on, so that it
// finds the end of the answer and not ECONNRESET.
const (
	lingerBytes = 256 << 10
	lingerTime  = 500 * time.Millisecond
)

// linger ends the sending half of c and throws away what still comes, within
// bounds, until the other end closes.
func linger(c *net.UnixConn) {
	_ = c.CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	buf := make([]byte, 16<<10)
	for left := lingerBytes; left > 0; {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		left -= n
	}
}

// openFiles is how many descriptors this process may have open. The runtime has
// raised the soft limit to the hard one.
func openFiles() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 1024
	}
	return int(min(uint64(r.Cur), 1<<20))
}
