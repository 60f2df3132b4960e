package control

import (
	"bufio"
	"io"
	"net"
	"testing"
)

// Who has attended to a connection attends to the next.
func TestCrewAttendsAgain(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	ask := func() *net.UnixConn {
		t.Helper()
		c, err := net.Dial("unix", h.path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "version\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return c.(*net.UnixConn)
	}
	for range 4 * maxFree {
		ask().Close()
		until(t, "who attended to it is free", func() bool { return h.server.free.Load() > 0 })
	}
	if n := h.server.free.Load(); n > maxFree/2 {
		t.Errorf("%d are free after connections that came one after the other: each had another", n)
	}
}
