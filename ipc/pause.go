package ipc

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Pausing. Deadlines that are over wake who waits in the runtime's poller: the
// reader returns, between two reads, and the writer leaves its batch where it
// is. Meanwhile nobody becomes the writer, so that what is queued waits.

// pausing is a pause that was asked for. It is guarded by Conn.mu.
type pausing struct {
	reader bool          // the reader has returned, and is to be started again
	kept   *batch        // the writer's, not written whole; it is the writer's still, and written first
	still  chan struct{} // closed once nobody reads or writes
}

// errPaused is why a reader has returned, without having ended the connection.
var errPaused = errors.New("ipc: paused")

// past is a deadline that is over.
var past = time.Unix(1, 0)

// Pause stops reading and writing wherever they are, and returns when neither
// goes on; what is queued meanwhile waits. A function of Config's that runs is
// waited for. If ctx ends first, all goes on as if nothing had been. What has
// ended by itself counts as paused once OnClose has returned.
//
// Only a supervisor's end can be paused. Pause, State, Resume and Release are to
// be called by one goroutine at a time, and by none of Config's functions.
func (c *Conn) Pause(ctx context.Context) error {
	if c.cfg.Role != Supervisor {
		return errors.New("ipc: only a supervisor's end can be paused")
	}
	c.mu.Lock()
	if c.pause != nil {
		c.mu.Unlock()
		return errPausedAlready
	}
	p := &pausing{still: make(chan struct{})}
	lives := c.err == nil
	if lives {
		c.pause = p
	}
	c.mu.Unlock()
	if lives {
		if err := c.file.SetDeadline(past); err != nil && c.Err() == nil {
			c.Resume()
			return fmt.Errorf("ipc: not paused: %w", err)
		}
	}
	select {
	case <-p.still:
		return nil
	case <-c.done:
		return nil
	case <-ctx.Done():
		c.Resume()
		return fmt.Errorf("ipc: not paused, its reader is busy: %w", context.Cause(ctx))
	}
}

var errPausedAlready = errors.New("ipc: paused already")

// Resume ends a pause: all goes on as if it had not been. Without one it does
// nothing.
func (c *Conn) Resume() {
	c.mu.Lock()
	paused := c.pause != nil
	c.mu.Unlock()
	if !paused {
		return
	}
	c.file.SetDeadline(time.Time{}) // it fails if the file is closed, which the reader finds
	c.mu.Lock()
	p := c.pause
	c.pause = nil
	if p != nil && p.reader {
		go c.readLoop()
	}
	if p != nil && p.kept != nil { // the connection lives: endCalls takes it
		c.wg.Add(1)
		go c.writeLoop(p.kept)
	}
	led := c.lead()
	c.mu.Unlock()
	if led {
		c.write()
	}
}

// Release lets go of a paused connection that goes on elsewhere, by a duplicate
// of its descriptor: it closes its own, of which the peer sees nothing, and
// tells OnClose nothing. All that waits is forgotten.
func (c *Conn) Release() error {
	c.mu.Lock()
	if c.pause == nil || !c.isStill() || c.err != nil {
		c.mu.Unlock()
		return errNotPaused
	}
	c.pause.reader = false // it is not to be started again
	c.mu.Unlock()
	if c.endCalls(ErrClosed) {
		c.file.Close()
	}
	c.in.put()
	c.arrived.close()
	c.partial.close()
	c.wg.Done() // for the reader
	c.wg.Wait()
	close(c.done)
	return nil
}

var errNotPaused = errors.New("ipc: the connection is not paused")

// FD is the connection's descriptor. It stays the connection's, which keeps it
// open until Resume, Release or Close.
func (c *Conn) FD() (int, error) {
	n := -1
	if c.raw == nil {
		return n, c.err
	}
	err := c.raw.Control(func(fd uintptr) { n = int(fd) })
	return n, err
}

// isStill reports whether nobody reads or writes any more. The caller holds mu.
func (c *Conn) isStill() bool {
	return c.pause.reader && (!c.out.writing || c.pause.kept != nil)
}

// settlePause tells Pause when it is so. The caller holds mu.
func (c *Conn) settlePause() {
	if c.pause == nil || !c.isStill() {
		return
	}
	select {
	case <-c.pause.still:
	default:
		close(c.pause.still)
	}
}

// stopReading has the reader return if there is a pause.
func (c *Conn) stopReading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pause == nil || c.err != nil {
		return false
	}
	c.pause.reader = true
	c.settlePause()
	return true
}

// keep leaves the writer's batch where it is if there is a pause.
func (c *Conn) keep(b *batch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pause == nil || c.err != nil {
		return false
	}
	b.mark(false)
	c.pause.kept = b
	c.settlePause()
	return true
}

// dropKept takes a batch that was kept. The caller holds mu, and gives it back.
func (c *Conn) dropKept() *batch {
	if c.pause == nil || c.pause.kept == nil {
		return nil
	}
	b := c.pause.kept
	c.pause.kept = nil
	c.out.writing, c.out.current = false, nil
	return b
}

// Waiting is how many callers wait: for the answer to a call, or to a Ping.
func (c *Conn) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls, pings, _ := c.waiting()
	return calls + pings
}

// waiting counts who waits, and names one of the commands. The caller holds mu.
func (c *Conn) waiting() (calls, pings int, command string) {
	c.calls.each(func(_ uint32, p *pending) {
		if !p.given {
			calls++
			command = p.command
		}
	})
	for _, p := range c.pings {
		if p.wait != nil {
			pings++
		}
	}
	return calls, pings, command
}
