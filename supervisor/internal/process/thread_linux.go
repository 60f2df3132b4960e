package process

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/dawn"
)

// thread forks, one process after the other, from one thread with a table of
// descriptors of its own (CLONE_FILES, unshare(2)): a fork copies the table, and
// execve(2) closes what is in it, which beside a thousand workers is most of
// what a start would cost. What a process is to inherit is sent over
// (SCM_RIGHTS, unix(7)).
//
// On that thread a descriptor's number means another thing than everywhere else,
// so nothing there uses an *os.File, whose finalizer may run anywhere.
type thread struct {
	table    Table
	requests chan request
	done     chan struct{} // closed when the thread serves no more
	lasting  bool          // it is the main thread: close does not end it

	mu   sync.Mutex // held for a hand-over: descriptors, then the request
	to   int        // this program's end of the socket; -1: the table is not its own
	from int        // the thread's end
	dir  int        // of the thread's table in /proc; closed once it was looked at
}

// request is something for the thread to do, with descriptors of this program
// that it is given duplicates of, and closes again.
type request struct {
	fds   []int
	keep  bool // unless do fails the duplicates stay, and are what do has made of them
	do    func(fds []int) (int, error)
	reply chan answer // has room for the one
}

type answer struct {
	n   int
	err error
}

// startThread starts it. Where it can't have a table of its own it does without.
// In a program that came by a handover it is the main thread; see [Main].
func startThread(table Table) *thread {
	if m := mainThread.Load(); m != nil {
		t := &thread{table: table, requests: m.requests, done: m.done, lasting: true, to: -1, from: -1}
		_, _ = t.call(nil, func([]int) (int, error) { release(); return 0, nil }) // it fails when the program is at its end
		return t
	}
	t := &thread{table: table, requests: make(chan request), done: make(chan struct{}), to: -1, from: -1}
	ready := make(chan struct{})
	go t.run(ready)
	<-ready
	if t.to >= 0 { // the thread has its own by now
		unix.Close(t.from)
		unix.Close(t.dir)
	}
	return t
}

// fork is the thread's forker.
func (t *thread) fork(p *program) (int, error) {
	return t.call(p.fds, func(fds []int) (int, error) {
		if t.table == nil {
			return p.fork(fds)
		}
		var pid int
		err := t.table.Fork(func() (_ int, err error) {
			pid, err = p.fork(fds)
			return pid, err
		})
		return pid, err
	})
}

// call has the thread do something.
func (t *thread) call(fds []int, do func(fds []int) (int, error)) (int, error) {
	return t.ask(request{fds: fds, do: do})
}

func (t *thread) ask(r request) (int, error) {
	r.reply = make(chan answer, 1)
	if err := t.hand(r); err != nil {
		return 0, err
	}
	a := <-r.reply
	return a.n, a.err
}

// hand gives the thread a request, with the descriptors before it.
func (t *thread) hand(r request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.to >= 0 {
		sent, err := sendRights(t.to, r.fds)
		if err != nil { // what was sent is taken out again
			t.requests <- request{fds: r.fds[:sent], do: nothing, reply: make(chan answer, 1)}
			return err
		}
	}
	select {
	case t.requests <- r:
		return nil
	case <-t.done:
		return errors.New("process: the program is about to end")
	}
}

func nothing([]int) (int, error) { return 0, nil }

// close waits for the thread to end, and with it all that it has started.
func (t *thread) close() {
	if t.lasting {
		return
	}
	close(t.requests)
	<-t.done
	if t.to >= 0 {
		unix.Close(t.to)
	}
}

func (t *thread) run(ready chan<- struct{}) {
	// Never unlocked: when the goroutine returns the runtime ends the thread.
	// Threads that the runtime needs are not cloned from one that is locked, so
	// none has this one's table.
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() { // /proc/PID/fd shows the table of the first thread
		go t.run(ready)
		<-t.done
		runtime.UnlockOSThread()
		return
	}
	defer close(t.done)
	t.leave()
	if dawn.Came {
		release()
	}
	close(ready)
	for r := range t.requests {
		r.reply <- t.serve(r)
	}
}

func (t *thread) serve(r request) (a answer) {
	if t.to < 0 {
		a.n, a.err = r.do(r.fds)
		return a
	}
	fds, err := receiveRights(t.from, len(r.fds))
	if err != nil {
		return answer{err: err}
	}
	a.n, a.err = r.do(fds)
	if !r.keep || a.err != nil {
		closeAll(fds)
	}
	return a
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// leave gives the calling thread a table of its own. Where that can't be had the
// thread keeps the one that it shares.
func (t *thread) leave() {
	if r, w, err := os.Pipe(); err == nil { // by now the runtime has its own descriptors, which keep looks for
		r.Close()
		w.Close()
	}
	dir, err := unix.Open("/proc/thread-self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(dir)
		return
	}
	if err := unshare(unix.CLONE_FILES); err != nil { // seccomp(2) may forbid it
		unix.Close(dir)
		unix.Close(ends[0])
		unix.Close(ends[1])
		return
	}
	t.to, t.from, t.dir = ends[0], ends[1], dir
	_ = closeIn(dir, func(fd int, is string) bool { return fd == t.from || fd == dir || keep(fd, is) })
	unix.Close(dir)
}

// unshare is a variable for tests.
var unshare = unix.Unshare

// keep chooses what stays in the thread's table: the standard streams, to which
// a panic is written, and the descriptors by which the runtime wakes its poller,
// as it may do on any thread. All else would be held open by the thread.
func keep(fd int, is string) bool {
	return fd <= 2 || is == "anon_inode:[eventpoll]" || is == "anon_inode:[eventfd]"
}

// closeIn closes what keep does not want, of the calling thread's table, whose
// directory in /proc dir is.
func closeIn(dir int, keep func(fd int, is string) bool) error {
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil {
			return os.NewSyscallError("getdents", err)
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		n, err := unix.Readlinkat(dir, name, buf)
		if err == nil && !keep(fd, string(buf[:n])) {
			unix.Close(fd)
		}
	}
	return nil
}
