package process

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/dawn"
)

// A program that executes another has no handlers from then on until the other
// has its own. What happens to a signal that comes meanwhile, and would end it:
//
//   - SIGUSR1, SIGUSR2 and most others wait: they are blocked, and the mask
//     survives execve(2).
//   - SIGHUP, SIGINT, SIGQUIT and SIGTERM can't wait, as the Go runtime unblocks
//     them when it starts, before it has handlers. SIGHUP and SIGINT are ignored,
//     which it respects, until the init of package dawn.
//   - SIGTERM and SIGQUIT end the program until then, a millisecond or two, as
//     they are sent to end it. For SIGTERM that begins before execve(2): a handler
//     that is called within that is never heard of again.
//
// As long as the old program runs its handlers get what is sent. What it does
// about an order now will hardly come to anything, so the new one is told too.

// held are blocked. Of the real-time signals the first ones are libc's.
var held = append([]unix.Signal{
	unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGIO, unix.SIGPWR,
}, realTime()...)

func realTime() (all []unix.Signal) {
	for sig := unix.Signal(35); sig <= 64; sig++ {
		all = append(all, sig)
	}
	return all
}

// standIns are held in place of signals that can't be.
var standIns = map[unix.Signal]unix.Signal{unix.SIGHUP: 62, unix.SIGINT: 63, unix.SIGTERM: 64}

// ignored are ignored.
var ignored = []unix.Signal{unix.SIGHUP, unix.SIGINT}

func setOf(signals ...unix.Signal) (set unix.Sigset_t) {
	const word = 8 * unsafe.Sizeof(set.Val[0])
	for _, sig := range signals {
		n := uintptr(sig) - 1
		set.Val[n/word] |= 1 << (n % word)
	}
	return set
}

// hold has signals wait for the program that the calling thread executes, and
// returns what undoes that.
func hold() (undo func()) {
	set := setOf(held...)
	var was unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &was) // it fails for faulty arguments only
	end := resend(unix.Getpid(), unix.Gettid())
	return func() {
		for _, sig := range end() {
			take(sig)
		}
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil)
	}
}

// released is done once the signals that were held for this program were let
// through.
var released sync.Once

// release lets through what was held for this program, which is now told of it
// once, and has the calling thread, the main thread, fork children with nothing
// blocked.
func release() {
	released.Do(func() {
		missed := dawn.End()
		for sig, standIn := range standIns {
			if take(standIn) {
				missed = append(missed, sig)
			}
		}
		for _, sig := range ignored { // still, so nobody has asked for it
			if h := (handler{}); sigaction(sig, nil, &h) == nil && h[0] == sigIgn {
				_ = sigaction(sig, &handler{}, nil)
			}
		}
		for _, sig := range missed {
			_ = unix.Kill(unix.Getpid(), sig.(unix.Signal))
		}
	})
	set := setOf(held...)
	_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil)
}

// resend has what this program is told from now on wait on a thread of it, which
// blocks it. end ends that, and returns what waits there. What comes when the
// thread is well into execve(2), when it is too late for that, is lost.
func resend(pid, tid int) (end func() []unix.Signal) {
	orders := append([]os.Signal{unix.SIGUSR1, unix.SIGUSR2}, dawn.Signals...)
	orders = slices.DeleteFunc(orders, signal.Ignored)
	if len(orders) == 0 { // for Notify that would be all there are
		return func() []unix.Signal { return nil }
	}
	c := make(chan os.Signal, 64)
	signal.Notify(c, orders...)
	var waiting []unix.Signal
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range c {
			sig := s.(syscall.Signal)
			if standIn := standIns[sig]; standIn != 0 {
				sig = standIn
			}
			if unix.Tgkill(pid, tid, sig) == nil && !slices.Contains(waiting, sig) {
				waiting = append(waiting, sig)
			}
		}
	}()
	return func() []unix.Signal {
		signal.Stop(c)
		close(c)
		<-done
		return waiting
	}
}

// take takes a signal that resend has sent to the calling thread, if there is
// one.
func take(sig unix.Signal) bool {
	set := setOf(sig)
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var info unix.SignalfdSiginfo
	n, err := unix.Read(fd, (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))[:])
	return err == nil && n == int(unsafe.Sizeof(info)) && int(info.Pid) == unix.Getpid()
}

// handler is struct sigaction as the kernel has it: the handler comes first, and
// zero is the default.
type handler [8]uintptr

const sigIgn = 1 // linux/signal.h

func sigaction(sig unix.Signal, set, was *handler) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(was)), 8, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("rt_sigaction", errno)
	}
	return nil
}

// deafen has this program, and the next one, ignore what it can and die of SIGTERM,
// and returns what undoes that. What came before was told to this program by then:
// it is in the channels of who listens.
func deafen() (undo func()) {
	was := map[unix.Signal]*handler{}
	set := func(sig unix.Signal, to handler) {
		h := &handler{}
		if sigaction(sig, nil, h) == nil && h[0] != sigIgn {
			was[sig] = h
			_ = sigaction(sig, &to, nil)
		}
	}
	for _, sig := range ignored {
		set(sig, handler{sigIgn})
	}
	set(unix.SIGTERM, handler{})
	// Stop waits until what came was told to all who listen. The handler of SIGURG is
	// the runtime's own and stays.
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGURG)
	signal.Stop(c)
	return func() {
		for sig, h := range was {
			_ = sigaction(sig, h, nil)
		}
	}
}
