package supervisor

import (
	"os"

	"example.com/brood/supervisor/internal/process"
)

// Main is the main of a program that can be upgraded (see [Supervisor.Upgrade]): it
// runs f and returns what f does. Where the program has taken the place of another,
// the workers are children of the main thread, which is kept for them: f runs on a
// goroutine of its own. Until it makes a Supervisor run, signals that have come since
// the other stood still wait: so f asks for them, by [Signals], before.
func Main(f func() int) int { return process.Main(f) }

// Signals is a channel to which SIGHUP, SIGINT, SIGTERM and more are told, as by
// signal.Notify. Where the program has taken the place of another, the first call
// gives what has come since as well.
func Signals(more ...os.Signal) chan os.Signal { return process.Signals(more...) }
