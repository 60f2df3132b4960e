package supervisor

import "example.com/brood/supervisor/internal/process"

// Main is the main of a program that can be upgraded (see [Supervisor.Upgrade]): it
// runs f and returns what f does. Where the program has taken the place of another,
// the workers are children of the main thread, which is kept for them: f runs on a
// goroutine of its own. Until it makes a Supervisor run, signals that have come since
// the other stood still wait: so f asks for them (signal.Notify) before.
func Main(f func() int) int { return process.Main(f) }
