package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shortDir is a temporary directory with room for a socket's path below it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve answers each connection with f, which has the connection closed when it
// returns. At the end of the test all have returned.
func serve(t *testing.T, ln net.Listener, f func(net.Conn)) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				f(conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
}

// server is one on loopback, and what checks it.
func server(t *testing.T, f func(net.Conn)) HTTP {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, f)
	return HTTP{URL: "http://" + ln.Addr().String() + "/healthz"}
}

// write writes until the other end has had enough.
func write(w io.Writer, texts ...string) {
	for _, text := range texts {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

func forever(w io.Writer, text string) {
	for {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

// untilClosed returns when the other end has closed the connection.
func untilClosed(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestHTTPStatus(t *testing.T) {
	noLeaks(t)
	var asked atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if !r.Close || r.Method != "GET" {
			t.Errorf("%s, Connection: %s", r.Method, r.Header.Get("Connection"))
		}
		var code int
		fmt.Sscan(r.PathValue("code"), &code)
		w.Header().Set("Location", r.URL.Path) // to itself, for ever
		w.WriteHeader(code)
		if code >= 400 {
			io.WriteString(w, "no connection\nto the\x1b database\n"+strings.Repeat(".", 10000))
		}
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	for _, c := range []struct {
		code, expect int
		ready        bool
	}{
		{200, 0, true}, {204, 0, true}, {302, 0, true}, {399, 0, true}, {304, 304, true}, {503, 503, true},
		{400, 0, false}, {404, 0, false}, {500, 0, false}, {200, 204, false}, {302, 200, false},
	} {
		check, err := ParseHTTP(fmt.Sprintf("%s/status/%d", srv.URL, c.code))
		if err != nil {
			t.Fatal(err)
		}
		check.Expect = c.expect
		err = check.Ready(soon(t))
		if c.ready && err != nil {
			t.Error(err)
		}
		if !c.ready {
			wantError(t, err, "GET "+check.URL, fmt.Sprint("answered ", c.code))
		}
		if !c.ready && c.expect != 0 {
			wantError(t, err, fmt.Sprint("want ", c.expect))
		}
		if c.code >= 400 && !c.ready {
			wantError(t, err, "no connection to the database")
		}
	}
	if asked.Load() != 11 {
		t.Errorf("%d requests for 11 checks", asked.Load())
	}
}

func TestHTTPOverUnixSocket(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(shortDir(t), "app.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil || req.URL.String() != "/healthz?deep=1" || req.Host != "localhost" {
			t.Errorf("%+v, %v", req, err)
		}
		write(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		untilClosed(conn)
	})
	check, err := ParseHTTP("unix:" + path + ":/healthz?deep=1")
	if err != nil {
		t.Fatal(err)
	}
	if err := check.Ready(soon(t)); err != nil {
		t.Error(err)
	}
	ln.Close()
	wantError(t, check.Ready(soon(t)), "no such file")
}

// TestHTTPServersThatNeverEnd: an attempt is over when it knows enough, and the
// connection is closed then.
func TestHTTPServersThatNeverEnd(t *testing.T) {
	noLeaks(t)
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		want  string // of the error; empty: ready
	}{
		{"body", func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\n\r\n"); forever(c, "x") }, ""},
		{"body to come", func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"); untilClosed(c) }, ""},
		{"refusal", func(c net.Conn) { write(c, "HTTP/1.1 500 No\r\n\r\n"); forever(c, "why not") }, "answered 500 Internal Server Error: why not"},
		{"refusal to come", func(c net.Conn) { write(c, "HTTP/1.1 500 No\r\n\r\nbe"); untilClosed(c) }, "answered 500 Internal Server Error: be"},
		{"headers", func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\n"); forever(c, "A: b\r\n") }, "longer than 64 KiB"},
		{"header", func(c net.Conn) { write(c, "HTTP/1.1 200 OK\r\nA: "); forever(c, "b") }, "longer than 64 KiB"},
		{"status", func(c net.Conn) { forever(c, "HTTP/1.1 200") }, "longer than 64 KiB"},
		{"interim answers", func(c net.Conn) { forever(c, "HTTP/1.1 103 Early Hints\r\n\r\n") }, "longer than 64 KiB"},
		{"banner", func(c net.Conn) { forever(c, "SSH-2.0-x\r\n") }, "malformed"},
		{"long banner", func(c net.Conn) { write(c, strings.Repeat("\xff", 60000)+"\r\n"); untilClosed(c) }, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := server(t, c.serve).Ready(soon(t))
			if c.want != "" {
				wantError(t, err, c.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHTTPServersThatStopShort(t *testing.T) {
	noLeaks(t)
	for name, f := range map[string]func(net.Conn){
		"at once":       func(c net.Conn) {},
		"after reading": func(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) },
		"in the header": func(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)); write(c, "HTTP/1.1 200 OK\r\nA:") },
		"switching protocols": func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			write(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := server(t, f).Ready(soon(t)); err == nil {
				t.Error("it is ready")
			}
		})
	}
}

// TestHalfOpenServer: it accepts, or not even that, and says nothing.
func TestHalfOpenServer(t *testing.T) {
	noLeaks(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the kernel makes connections by itself
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for name, check := range map[string]HTTP{
		"accepts": server(t, untilClosed),
		"begins":  server(t, func(c net.Conn) { write(c, "HTTP/1.1 2"); untilClosed(c) }),
		"listens": {URL: "http://" + ln.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			err := check.Ready(shortly(t))
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(soon(t))
		check := server(t, func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			cancel()
			untilClosed(c)
		})
		if err := check.Ready(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// slowly is a check that has the server started after some attempts.
type slowly struct {
	HTTP
	attempts int
	start    func()
}

func (s *slowly) Ready(ctx context.Context) error {
	if s.attempts++; s.attempts == 4 {
		s.start()
	}
	return s.HTTP.Ready(ctx)
}

func TestSlowStart(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(shortDir(t), "app.sock")
	asked := 0
	check := &slowly{HTTP: HTTP{URL: "unix:" + path + ":/"}, start: func() {
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Error(err)
			return
		}
		serve(t, ln, func(c net.Conn) { // one after the other, as the checks are
			_, _ = http.ReadRequest(bufio.NewReader(c))
			if asked++; asked < 4 {
				write(c, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nwarming up")
				return
			}
			write(c, "HTTP/1.1 200 OK\r\n\r\n")
		})
	}}
	if err := Run(soon(t), check, ms, 20*time.Second); err != nil {
		t.Error(err)
	}
	if check.attempts != 7 {
		t.Errorf("%d attempts, want 7", check.attempts)
	}
}
