//go:build unix && !linux

package ipc

// spell is for systems whose poll(2) can't wait for less than a millisecond:
// the runtime's poller waits.
type spell struct{}

func (*spell) linger(int) {}
