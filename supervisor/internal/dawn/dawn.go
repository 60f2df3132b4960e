// Package dawn is for the first moments of a program that came by a handover: it
// took the place of another by execve(2), and whoever sends it a signal knows
// nothing of that. SIGHUP, SIGINT and SIGTERM would end it until its main function
// has got as far as to ask for them, and its workers with it; a Go program can't
// have them wait, as the runtime unblocks them before anything else runs. So the
// init of this package, which imports little and so comes early, listens in place
// of who will.
package dawn

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// env is that of package handover, whose init comes later.
const env = "BROOD_HANDOVER"

// Came tells whether this program came by a handover.
var Came = came(os.Getenv(env))

// Signals are those that are listened to.
var Signals = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM}

// heard has what has come, until somebody takes it.
var heard = make(chan os.Signal, 64)

// ended is set once the listening goes on elsewhere, or not at all.
var ended atomic.Bool

func init() {
	if Came {
		signal.Notify(heard, Signals...)
	}
}

// Take has who asks for signals go on with the listening: in the channel is what has
// come, and Signals come to it from now on. So none is missed and none told twice. It
// is nil where nothing is listened to.
func Take() chan os.Signal {
	if !Came || ended.Swap(true) {
		return nil
	}
	return heard
}

// End ends the listening, if nobody has taken it, and returns what has come.
func End() (missed []os.Signal) {
	if !Came || ended.Swap(true) {
		return nil
	}
	signal.Stop(heard)
	for len(heard) > 0 {
		missed = append(missed, <-heard)
	}
	return missed
}
