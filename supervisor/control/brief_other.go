//go:build !linux || race || msan || asan

package control

// brevity is for Linux alone.
type brevity struct{}

func (g *guest) prepareBrief() {}

func (g *guest) recv(fd uintptr, b []byte, flags int) (int, error) { return recvNow(fd, b, flags) }

func (g *guest) send(b []byte) (int, error) { return g.UnixConn.Write(b) }
