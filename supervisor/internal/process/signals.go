package process

import (
	"os"
	"os/signal"

	"example.com/brood/supervisor/internal/dawn"
)

// Signals is a channel to which SIGHUP, SIGINT, SIGTERM and more are told
// ([signal.Notify]). In a program that came by a handover it begins with what has
// come since, which a channel that is made by then would have missed; so only the
// first call gives that.
func Signals(more ...os.Signal) chan os.Signal {
	c := dawn.Take()
	if c == nil {
		c = make(chan os.Signal, 64)
	}
	signal.Notify(c, append(more, dawn.Signals...)...)
	return c
}
