// Package capture drains what workers print. A worker is never held up: its
// pipes are always read, lines that can't be passed on in time are dropped,
// counted and told, and everything kept is bounded.
package capture

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxLine is where a longer line is broken, in bytes.
	maxLine = 16 << 10
	// tailLines and tailLine bound what is remembered of a stream.
	tailLines = 10
	tailLine  = 512
)

// Stream is one pipe from a worker. The zero value is not usable.
type Stream struct {
	reader
	prefix string
	to     *Sink
	done   chan struct{}

	// Owned by who reads.
	partial []byte // a line whose end has not come
	cut     bool   // the last line was broken, and nothing of its rest has come
	until   func(line []byte) bool
	each    func(line []byte) // nil: nobody else wants the lines

	mu   sync.Mutex
	tail [][]byte // the last lines, oldest first
}

// Pipe makes a stream whose lines go to sink behind prefix, and the end to
// hand to the worker, which is blocking, as programs expect. The caller closes
// write at once after the start, and calls Start.
func Pipe(prefix string, to *Sink) (s *Stream, write *os.File, err error) {
	var fds [2]int
	if err := pipe(fds[:]); err != nil {
		return nil, nil, os.NewSyscallError("pipe", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	s = &Stream{reader: newReader(fds[0]), prefix: prefix, to: to, done: make(chan struct{})}
	return s, os.NewFile(uintptr(fds[1]), "worker-output-write"), nil
}

// Until has f look at each line, until it returns true. It is called before
// Start; f is called by who reads and does not wait.
func (s *Stream) Until(f func(line []byte) bool) { s.until = f }

// Each has f take each line as well. It is called before Start; f is called by
// who reads, does not wait, and does not keep the line.
func (s *Stream) Each(f func(line []byte)) { s.each = f }

// Ended: nothing comes any more.
func (s *Stream) Ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Done is closed when the stream has ended.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Tail returns the last lines, oldest first.
func (s *Stream) Tail() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := make([]string, len(s.tail))
	for i, l := range s.tail {
		lines[i] = string(l)
	}
	return lines
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// restReads is how many reads at the most follow once the worker has ended:
// more than a pipe holds by default, so that nothing of its own is lost when
// this program comes late, and a grandchild that goes on is not heard out.
const restReads = 64

// reading is how one read went.
type reading uint8

const (
	readSome reading = iota
	readNothing
	readEnd
)

// read reads once from fd and passes on what came. A buffer is held only while
// there is something in it: a thousand silent workers cost none.
func (s *Stream) read(fd int) reading {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := unix.Read(fd, *buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return readNothing
		case err != nil || n == 0:
			return readEnd
		}
		s.split((*buf)[:n])
		return readSome
	}
}

// last passes on a line without an end, and is the end.
func (s *Stream) last() {
	if len(s.partial) > 0 {
		s.line(s.partial)
		s.partial = nil
	}
	close(s.done)
}

// split passes whole lines on and keeps the rest.
func (s *Stream) split(b []byte) {
	for len(b) > 0 {
		if s.cut && b[0] == '\n' { // the break was where the line ends
			s.cut, b = false, b[1:]
			continue
		}
		s.cut = false
		end := bytes.IndexByte(b, '\n')
		if end >= 0 && len(s.partial) == 0 && end <= maxLine {
			s.line(b[:end])
			b = b[end+1:]
			continue
		}
		take := end
		if end < 0 {
			take = len(b)
		}
		take = min(take, max(0, maxLine-len(s.partial))) // another program, with another maxLine, may have begun it
		s.partial = append(s.partial, b[:take]...)
		b = b[take:]
		atEnd := len(b) > 0 && b[0] == '\n'
		if atEnd {
			b = b[1:]
		}
		if atEnd || len(s.partial) >= maxLine {
			s.line(s.partial)
			s.partial, s.cut = s.partial[:0], !atEnd
		}
	}
	if len(s.partial) == 0 {
		s.partial = nil
	}
}

func (s *Stream) line(b []byte) {
	b = bytes.TrimSuffix(b, []byte{'\r'})
	s.remember(b)
	if s.each != nil {
		s.each(b)
	}
	if s.until != nil && s.until(b) {
		s.until = nil
	}
	s.to.line(s.prefix, b)
}

func (s *Stream) remember(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b = b[:min(len(b), tailLine)]
	if len(s.tail) < tailLines {
		s.tail = append(s.tail, append([]byte(nil), b...))
		return
	}
	oldest := append(s.tail[0][:0], b...)
	copy(s.tail, s.tail[1:])
	s.tail[tailLines-1] = oldest
}

// String names the stream by its prefix, for messages.
func (s *Stream) String() string { return fmt.Sprintf("output of %s", s.prefix) }
