package process

import (
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/dawn"
)

func init() {
	if dawn.Came {
		runtime.LockOSThread() // the main goroutine stays on the main thread
	}
}

// deathSignal is what this program is sent when its own parent dies
// (PR_SET_PDEATHSIG, prctl(2)), which is put down for the main thread alone, on
// which every init runs.
var deathSignal = func() (sig int32) {
	_ = unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0, 0, 0)
	return sig
}()

// mainThread is the one that forks while Main serves it.
var mainThread atomic.Pointer[thread]

// Main is the main function of a program that hands over to another, or comes by
// that: it runs f and returns what f does. In a program that came by a handover f
// has a goroutine of its own, as the main thread is the parent of the processes
// that were handed over, and the one by which every Spawner forks.
//
// f asks for the signals that it wants by [Signals] before it makes its first
// Spawner. Those that came earlier, since the handover began, are told to it then at
// the latest; what it has not asked for has its usual effect from then on. Until
// then, and in programs that it starts without a Spawner, SIGUSR1, SIGUSR2 and
// what else the runtime does not need are blocked.
func Main(f func() int) int {
	if !dawn.Came || unix.Gettid() != os.Getpid() {
		return f()
	}
	t := &thread{requests: make(chan request), done: make(chan struct{}), to: -1, from: -1}
	mainThread.Store(t)
	defer mainThread.Store(nil)
	var code int
	go func() {
		defer close(t.done)
		code = f()
	}()
	for {
		select {
		case r := <-t.requests:
			r.reply <- t.serve(r)
		case <-t.done:
			return code
		}
	}
}
