package control

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/brood/supervisor"
)

// serveIdle is a server whose supervisor was never started: it has a pool, but no
// worker ever.
func serveIdle(t testing.TB) (s *Server, socket string) {
	t.Helper()
	sup, err := supervisor.New(supervisor.Config{Pools: []supervisor.Pool{{Name: "web", Command: []string{"/bin/true"}, Workers: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "c.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	s, err = NewServer(Config{Supervisor: sup, Version: "test", Shutdown: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, socket
}

func (h *house) guestsNow() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.guests)
}

// FuzzConnection: whatever bytes come, in whatever tongue, the answer is bounded,
// the server lives, and when the client has gone nothing of it is left.
func FuzzConnection(f *testing.F) {
	for _, seed := range []string{
		"status\n", "health; json status\nquit\n", "@web/1 flush all\n", "prompt\nhelp\n\x1b[A\nversion\n", "start web wait\n", "json @* x\n",
		"events follow\n", "logs web/1 5 follow\n", "GET /v1/status HTTP/1.1\r\nHost: b\r\n\r\n", "POST /v1/shutdown HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: b\r\n\r\nstatus\n", "\x00\xff\n", "a\\", "'", "''\n", "help ''\n", "@web/1 ''\n", "json ''\n", strings.Repeat("x", 70000), strings.Repeat("version;", 500) + "\n",
		"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n[", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	s, socket := serveIdle(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		go func() { // it may get stuck when answers are many
			c.Write(in)
			c.CloseWrite()
		}()
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // some commands wait for longer, or for ever
		n, _ := io.Copy(io.Discard, c)
		if most := int64(64<<10 + 8<<10*len(in)); n > most {
			t.Errorf("%d bytes in answer to %d", n, len(in))
		}
		c.Close()
		until(t, "the end of the connection", func() bool { return s.house.guestsNow() == 0 })
	})
}
