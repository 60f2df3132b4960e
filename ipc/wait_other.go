//go:build unix && !linux

package ipc

// spell is for Linux alone.
type spell struct{}

func (*spell) prepare(int)    {}
func (*spell) flags() int     { return recvFlags }
func (*spell) inVain()        {}
func (*spell) makesWay() bool { return false }
