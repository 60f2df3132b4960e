// Package watch waits for many descriptors with one goroutine: an epoll set
// that itself rides the runtime's poller. A thousand workers with two pipes and
// a pidfd each cost three thousand table entries and not one goroutine.
package watch

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Set is a set of descriptors. Run serves it; all other methods may be called
// from any goroutine.
type Set struct {
	file *os.File // the epoll descriptor; closed by Close
	raw  syscall.RawConn

	calling sync.Mutex // held while one is called back, and from Pause to Resume

	mu    sync.Mutex
	ready map[uint64]func() // by key
	last  uint64
}

// Key names a descriptor in its set. Keys are never used again, so a late event
// can't be taken for another descriptor of the same number.
type Key uint64

// New makes an empty set.
func New() (*Set, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "watched-descriptors")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Set{file: f, raw: raw, ready: map[uint64]func(){}}, nil
}

// Add has f called by Run's goroutine as long as fd is readable, or at its end.
// f must not wait. The descriptor stays the caller's; it is removed before it
// is closed.
func (s *Set) Add(fd int, f func()) (Key, error) {
	s.mu.Lock()
	s.last++
	key := s.last
	s.ready[key] = f
	s.mu.Unlock()
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(uint32(key)), Pad: int32(uint32(key >> 32))}
	err := s.control(unix.EPOLL_CTL_ADD, fd, &event)
	if err != nil {
		s.forget(Key(key))
		return 0, os.NewSyscallError("epoll_ctl", err)
	}
	return Key(key), nil
}

// Remove ends the calls for a descriptor. One may still be under way, unless it
// is Run's goroutine that removes.
func (s *Set) Remove(fd int, key Key) {
	s.forget(key)
	_ = s.control(unix.EPOLL_CTL_DEL, fd, nil) // it can fail only after Close
}

func (s *Set) forget(key Key) {
	s.mu.Lock()
	delete(s.ready, uint64(key))
	s.mu.Unlock()
}

func (s *Set) control(op, fd int, event *unix.EpollEvent) error {
	var ctlErr error
	err := s.raw.Control(func(ep uintptr) { ctlErr = unix.EpollCtl(int(ep), op, fd, event) })
	if err != nil {
		return err
	}
	return ctlErr
}

// Run calls back until Close.
func (s *Set) Run() {
	events := make([]unix.EpollEvent, 128)
	for {
		var n int
		err := s.raw.Read(func(ep uintptr) bool {
			for {
				var err error
				n, err = unix.EpollWait(int(ep), events, 0)
				if err != unix.EINTR {
					return n != 0
				}
			}
		})
		if err != nil || n < 0 {
			return
		}
		s.Call(func() { s.callBack(events[:n]) })
	}
}

func (s *Set) callBack(events []unix.EpollEvent) {
	for _, e := range events {
		key := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
		s.mu.Lock()
		f := s.ready[key]
		s.mu.Unlock()
		if f != nil {
			f()
		}
	}
}

// Call calls f as Run would: not together with another, and not while there is
// a pause. It is for who waits by other means for what can't be added.
func (s *Set) Call(f func()) {
	s.calling.Lock()
	defer s.calling.Unlock()
	f()
}

// Pause returns when none is being called back, and none will be before
// Resume. Meanwhile descriptors may be added and removed; what becomes readable
// waits. It is not for who is called back, nor called again before Resume.
func (s *Set) Pause() { s.calling.Lock() }

// Resume ends a Pause. It comes before Close, or Run does not end.
func (s *Set) Resume() { s.calling.Unlock() }

// Close ends Run.
func (s *Set) Close() error { return s.file.Close() }
