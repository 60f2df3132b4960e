package ipc

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Writing. Whoever queues something and finds nobody writing becomes the
// writer: it writes what the socket takes at once, without waiting, and leaves
// the rest to a goroutine that may wait. So a lone caller writes its own frame,
// many callers share one system call, and neither the reader nor a caller with
// a deadline is ever held up by a peer that does not read.

// patience is how many batches a caller writes for others before it leaves the
// rest to a goroutine.
const patience = 8

// lead makes the caller the writer if there is something to write and nobody
// is. It holds mu. Who is told true calls write once it has let go of it.
func (c *Conn) lead() bool {
	if c.out.writing || c.out.empty() || c.out.failed != nil || c.err != nil || c.pause != nil {
		return false
	}
	c.out.writing = true
	c.wg.Add(1) // while the connection lives, so before readLoop waits
	return true
}

// flush writes what is queued, as far as that goes without waiting.
func (c *Conn) flush() {
	c.mu.Lock()
	led := c.lead()
	c.mu.Unlock()
	if led {
		c.write()
	}
}

// writeTogether is write for one of many callers, who are about to queue more:
// they are let go first, so that one system call carries it all.
func (c *Conn) writeTogether() {
	if c.crowded.Load() {
		runtime.Gosched()
	}
	c.write()
}

// write is the writer's work that does not wait.
func (c *Conn) write() {
	b := batches.Get().(*batch)
	for range patience {
		if !c.nextBatch(b) {
			c.stopWriting(b)
			return
		}
		switch err := c.send(b, false); err {
		case nil:
		case unix.EAGAIN, os.ErrDeadlineExceeded:
			go c.writeLoop(b)
			return
		default:
			c.writeFailed(err)
			c.stopWriting(b)
			return
		}
	}
	go c.writeLoop(b)
}

// writeLoop is the writer that may wait. It goes on with b.
func (c *Conn) writeLoop(b *batch) {
	for {
		switch err := c.send(b, true); {
		case err == os.ErrDeadlineExceeded:
			if c.keep(b) {
				c.wg.Done()
				return
			}
		case err != nil:
			c.writeFailed(err)
			c.stopWriting(b)
			return
		case !c.nextBatch(b):
			c.stopWriting(b)
			return
		}
	}
}

// stopWriting ends a writer that has given its part up.
func (c *Conn) stopWriting(b *batch) {
	b.giveBack()
	c.wg.Done()
}

// giveBack forgets what b carries.
func (b *batch) giveBack() {
	closeFDs(b.fds)
	b.release()
	b.reset()
	batches.Put(b)
}

// release recycles the calls whose answers b carried.
func (b *batch) release() {
	for _, s := range b.served {
		s.recycle()
	}
	clear(b.served)
	b.served = b.served[:0]
}

// nextBatch fills b. When there is nothing left it gives the writer's part up.
func (c *Conn) nextBatch(b *batch) bool {
	b.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.out.empty() || c.pause != nil {
		c.out.writing, c.out.current = false, nil
		c.settleIdle()
		c.settlePause()
		return false
	}
	c.out.fill(b)
	for _, s := range b.served { // before the peer can see the answer and call again
		c.serving.remove(s.id)
	}
	c.unwritten -= b.answers
	return true
}

// writeFailed ends the writing. When the peer has gone, or has shut its side,
// the reader ends the connection: it finds the peer's last words, but nothing
// that is sent from now on.
func (c *Conn) writeFailed(err error) {
	cause := os.NewSyscallError("sendmsg", err)
	c.mu.Lock()
	fds := c.out.drop()
	c.out.failed = cause
	c.out.writing, c.out.current = false, nil
	c.settlePause()
	c.mu.Unlock()
	closeFDs(fds)
	if err != unix.EPIPE && err != unix.ECONNRESET {
		c.end(cause)
		return
	}
	c.raw.Control(func(fd uintptr) { // it fails only where the reader finds the end anyway
		unix.Shutdown(int(fd), unix.SHUT_RD)
	})
}

// sender is the writer's part of a Conn.
type sender struct {
	b      *batch
	vector vector
	wait   bool
	err    error
	try    func(fd uintptr) bool // made once: it would be allocated at each use
}

// send writes the rest of b. Without wait it stops at EAGAIN.
func (c *Conn) send(b *batch, wait bool) error {
	s := &c.sender
	s.b, s.wait, s.err = b, wait, nil
	if rawErr := c.raw.Write(s.try); rawErr != nil {
		return rawErr
	}
	return s.err
}

// trySend gives the socket as much of the batch as it takes. Whenever it is not
// at work, exactly the calls whose first byte was taken are marked as offered.
func (c *Conn) trySend(fd uintptr) bool {
	b := c.sender.b
	c.sender.err = nil
	if !c.offer(b) {
		c.sender.err = ErrClosed
		return true
	}
	for b.next < len(b.parts) {
		var rights []byte
		if len(b.fds) > 0 {
			rights = unix.UnixRights(b.fds...)
		}
		n, err := c.sender.vector.send(int(fd), b.parts[b.next:], rights, sendFlags)
		switch err {
		case nil:
			b.took(n)
			closeFDs(b.fds)
			b.fds = nil
			if b.next < len(b.parts) && c.sender.wait && n >= largePayload {
				// It is full, or nearly so: the poller tells of room, and has
				// not missed it, since this try began after it was asked.
				c.mu.Lock()
				b.mark(false)
				c.mu.Unlock()
				return false
			}
		case unix.EINTR:
		default:
			c.mu.Lock()
			b.mark(false)
			c.mu.Unlock()
			c.sender.err = err
			return err != unix.EAGAIN || !c.sender.wait
		}
	}
	return true
}

// offer marks the rest of b as offered. False: the connection has ended, and
// what has been said of its calls must stay true.
func (c *Conn) offer(b *batch) bool {
	if b.offered {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	b.mark(true)
	return true
}
