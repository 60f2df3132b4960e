package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How the two processes of a pair are looked at from outside, while they stand
// still. CPU time is the kernel's clock of the process. What Go has allocated
// only the process itself can say: it does so on a Unix socket that BENCH_METER
// names, read by a blocking system call, so that nothing of the measured
// connection shares the poller with it.

const meterEnv = "BENCH_METER"

// cpuTime is the CPU time that a process has used, in nanoseconds:
// clock_getcpuclockid(3), the same that getrusage(2) splits into user and
// system.
func cpuTime(pid int) (int64, error) {
	const perProcess = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|perProcess), &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return t.Nano(), nil
}

// allocs is what a Go process has allocated since it began.
type allocs struct{ Objects, Bytes uint64 }

// serveMeter answers each byte on the meter's socket with this process's allocs.
func serveMeter() error {
	path := os.Getenv(meterEnv)
	if path == "" {
		return errors.New(meterEnv + " is not set; start the benchmark without arguments")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return os.NewSyscallError("connect", err)
	}
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:], uint64(os.Getpid()))
	if _, err := unix.Write(fd, b[:8]); err != nil {
		return os.NewSyscallError("write", err)
	}
	go func() {
		defer unix.Close(fd)
		for {
			if n, _ := unix.Read(fd, b[:1]); n != 1 {
				return
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			binary.NativeEndian.PutUint64(b[:], m.Mallocs)
			binary.NativeEndian.PutUint64(b[8:], m.TotalAlloc)
			if _, err := unix.Write(fd, b[:]); err != nil {
				return
			}
		}
	}()
	return nil
}

// meters are the processes that can say what they have allocated.
type meters struct {
	listener net.Listener
	mu       sync.Mutex
	came     *sync.Cond
	byPID    map[int]net.Conn
}

func newMeters(path string) (*meters, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	m := &meters{listener: l, byPID: map[int]net.Conn{}}
	m.came = sync.NewCond(&m.mu)
	go m.accept()
	return m, nil
}

func (m *meters) accept() {
	for {
		conn, err := m.listener.Accept()
		if err != nil {
			return
		}
		var b [8]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			conn.Close()
			continue
		}
		m.mu.Lock()
		m.byPID[int(binary.NativeEndian.Uint64(b[:]))] = conn
		m.mu.Unlock()
		m.came.Broadcast()
	}
}

// read asks a process. It connects before it does anything else, so its
// connection is there or about to be.
func (m *meters) read(pid int) (allocs, error) {
	m.mu.Lock()
	for m.byPID[pid] == nil {
		m.came.Wait()
	}
	conn := m.byPID[pid]
	m.mu.Unlock()
	conn.SetDeadline(time.Now().Add(time.Minute))
	var b [16]byte
	if _, err := conn.Write(b[:1]); err != nil {
		return allocs{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return allocs{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return allocs{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}, nil
}

func (m *meters) close() {
	m.listener.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.byPID {
		c.Close()
	}
}
