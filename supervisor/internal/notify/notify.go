// Package notify is the receiving end of sd_notify(3): what a worker says of
// itself by way of NOTIFY_SOCKET.
//
// Every worker has a socket of its own, so who speaks is known by the socket it
// is said to. No credentials (SCM_CREDENTIALS, unix(7)) are asked for: who sends
// is as often as not a short-lived child of the worker, such as systemd-notify(1)
// in a shell script, whose pid is gone, or another's, by the time it is looked up.
// What keeps others out is the node, which only the worker's user may write to;
// an abstract socket would have no such guard. Workers of one user are not
// guarded against each other, here no more than elsewhere.
//
// A worker may send what it likes, as often as it likes, and with any
// descriptors. The worst it can do is to have its own messages wait: what comes
// in is bounded in size, work and calls made of it, and a descriptor it passes is
// closed where its closing can hold nobody up.
package notify

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// gap is from one call of Run's handle to the next, at least. What comes in
	// between becomes one Message.
	gap = 10 * time.Millisecond
	// Each time so many units of work are done, a datagram or a descriptor being
	// one, Run pauses: a flood costs a few percent of a processor, and has the one
	// who sends it wait.
	batch = 16
	pause = time.Millisecond
	// closing is how long Run waits at most, at its end, for descriptors to be
	// closed: those that came, and then the socket's own.
	closing = time.Second
	// maxRest bounds the datagrams still read after Close. More are not there
	// unless the system was told so (net.unix.max_dgram_qlen).
	maxRest = 1024
)

// over is a deadline that has passed.
var over = time.Unix(1, 0)

// Socket is one worker's NOTIFY_SOCKET.
type Socket struct {
	path string
	file *os.File // non-blocking; closed by Run, or by Abort
	raw  syscall.RawConn
	quit chan struct{} // closed by Close

	stop sync.Once

	ignored atomic.Uint64

	mu    sync.Mutex
	pause *standstill // nil: Run goes on
}

// Path is the value of NOTIFY_SOCKET.
func (s *Socket) Path() string { return s.path }

// Ignored is how many datagrams were thrown away because they break a rule:
// longer than 4 KiB, a NUL in the middle, or BARRIER=1 beside something else.
func (s *Socket) Ignored() uint64 { return s.ignored.Load() }

// Run receives until Close. It calls handle from its own goroutine, one call
// after the other, at most every 10 ms; what comes in between is one Message, in
// which nothing is lost but what was overtaken. While handle does not return, the
// worker's own sending comes to a halt, and nothing else.
//
// After Close it hands over what had been sent before, frees the socket, and
// returns, at the latest after a few seconds. So too if Close came first. The
// caller waits for it. It is called once.
func (s *Socket) Run(handle func(Message)) {
	defer s.release()
	in := intake{s: s, handle: handle}
	for !s.leaving() && in.next() {
	}
	in.rest()
}

// Close removes the socket's node and has Run end. It does not wait.
func (s *Socket) Close() {
	s.stop.Do(func() {
		_ = os.Remove(s.path) // it may be gone with its directory
		close(s.quit)
		// Run sees one of the two: it looks at quit after it has set a deadline.
		_ = s.file.SetReadDeadline(over)
	})
}

// Abort closes a socket that is never run, and frees it.
func (s *Socket) Abort() {
	s.Close()
	s.release()
}

func (s *Socket) leaving() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// release closes the socket, and with it what lies in it unread. That may last
// for as long as the worker likes (see discard), so it is not waited for without
// end.
func (s *Socket) release() {
	done := make(chan struct{})
	underWay.Add(1)
	go func() {
		defer close(done)
		defer underWay.Add(-1)
		s.file.Close()
	}()
	timer := time.NewTimer(closing)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// sleep ends early at Close.
func (s *Socket) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.quit:
	}
}

// intake is what Run knows. It is Run's alone.
type intake struct {
	s       *Socket
	handle  func(Message)
	pending Message   // not handed over yet
	due     time.Time // from when on it may be
	armed   time.Time // the socket's deadline; zero: it has none
	spent   int       // units of work since the last pause
}

// next takes one datagram in, or finds that what is pending is due. It reports
// whether the socket can still be read.
func (in *intake) next() bool {
	if err := in.arm(); err != nil {
		return false
	}
	if in.s.leaving() {
		return false
	}
	if p := in.s.pausing(); p != nil { // it, too, looks after it has set a deadline
		in.stand(p)
		return true
	}
	d, err := in.s.receive()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		in.armed = over
		in.flush()
		return true
	case errors.Is(err, os.ErrClosed):
		return false
	case err != nil: // short of memory; nothing else is known to fail
		in.s.sleep(gap)
		return true
	}
	in.take(d)
	if len(d.fds) > 0 {
		in.answer(d.fds)
	}
	in.spent += 1 + len(d.fds)
	if in.spent >= batch {
		in.s.sleep(time.Duration(in.spent/batch) * pause)
		in.spent = 0
	}
	return true
}

// arm sets the deadline that what is pending asks for.
func (in *intake) arm() error {
	var at time.Time
	if in.pending != (Message{}) {
		at = in.due
	}
	if at == in.armed {
		return nil
	}
	in.armed = at
	return in.s.file.SetReadDeadline(at)
}

// take adds d to what is pending. What can't be one message with it comes after
// it, in its own time.
func (in *intake) take(d datagram) {
	if d.broken {
		in.s.ignored.Add(1)
		return
	}
	both, ok := merge(in.pending, d.message)
	if !ok {
		in.flushDue()
		both = d.message
	}
	in.pending = both
	if !time.Now().Before(in.due) {
		in.flush()
	}
}

// flush hands over what is pending.
func (in *intake) flush() {
	if in.pending == (Message{}) {
		return
	}
	m := in.pending
	in.pending = Message{}
	in.handle(m)
	in.due = time.Now().Add(gap)
}

// flushDue does so as soon as may be. After Close that is at once.
func (in *intake) flushDue() {
	if in.pending != (Message{}) {
		in.s.sleep(time.Until(in.due))
		in.flush()
	}
}

// answer closes descriptors that came with a datagram. Who sent BARRIER=1 has
// been promised that by then all was done that it had sent before.
func (in *intake) answer(fds []int) {
	in.flushDue()
	select {
	case <-discard(fds):
	case <-in.s.quit:
	}
}

// rest hands over what was sent before Close, at most maxRest datagrams of it.
func (in *intake) rest() {
	refuse(in.s.raw)
	limit := time.NewTimer(closing)
	defer limit.Stop()
	for range maxRest {
		d, err := in.s.receiveNow()
		if err != nil {
			break
		}
		in.take(d)
		if len(d.fds) == 0 {
			continue
		}
		in.flushDue()
		select {
		case <-discard(d.fds):
		case <-limit.C:
			return
		}
	}
	in.flush()
}
