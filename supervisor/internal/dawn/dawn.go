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
	"strconv"
	"syscall"
)

// env is that of package handover, whose init comes later.
const env = "BROOD_HANDOVER"

// Came tells whether this program came by a handover.
var Came = came(os.Getenv(env))

// came tells whether text names a descriptor as handover.Out.Seal makes one.
func came(text string) bool {
	if _, err := strconv.ParseUint(text, 10, 31); err != nil {
		return false
	}
	is, err := os.Readlink("/proc/self/fd/" + text)
	return err == nil && is == "/memfd:brood-handover (deleted)"
}

// Signals are those that are listened to.
var Signals = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM}

var (
	heard  = make(chan os.Signal, 64)
	before int // of heard, how many nobody else can have heard
)

func init() {
	if Came {
		signal.Notify(heard, Signals...)
	}
}

// Break is called by the main function before it asks for any signal.
func Break() { before = len(heard) }

// End ends the listening, once the main function has asked for signals, and
// returns those that came before it could.
func End() (missed []os.Signal) {
	signal.Stop(heard)
	for ; before > 0; before-- {
		missed = append(missed, <-heard)
	}
	return missed
}
