package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/client"
)

// server is one whose connections are counted.
type server struct {
	http.Server
	connections atomic.Int64
	idle        chan struct{} // one for each request that is wholly done with, up to 16
}

// listen serves handler on a Unix socket.
func listen(t *testing.T, handler http.HandlerFunc) (*client.Client, *server) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &server{idle: make(chan struct{}, 16)}
	srv.Handler = handler
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			srv.connections.Add(1)
		case http.StateIdle:
			select {
			case srv.idle <- struct{}{}:
			default:
			}
		}
	}
	go srv.Serve(l)
	c := client.New(path)
	t.Cleanup(func() { c.Close(); srv.Close() })
	return c, srv
}

// TestConnectionsAreUsedAgain: one after the other on one, and a new one where
// the other end has hung up meanwhile.
func TestConnectionsAreUsedAgain(t *testing.T) {
	c, srv := listen(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		w.Write(b)
	})
	ctx := context.Background()
	for i := range 10 {
		text := strings.Repeat("x", i*1000)
		if r, err := c.Call(ctx, "web/1", "echo", ipc.Text(text)); err != nil || string(r.Payload) != text {
			t.Fatalf("%d: %d bytes, %v", i, len(r.Payload), err)
		}
	}
	if n := srv.connections.Load(); n != 1 {
		t.Errorf("%d connections for ten calls", n)
	}
	for range 10 { // answered is not idle yet: it is hung up on a moment later, maybe in the next call
		<-srv.idle
	}
	srv.SetKeepAlivesEnabled(false) // ends those that are idle
	for i := range 3 {
		if _, err := c.Call(ctx, "web/1", "echo", ipc.Text("x")); err != nil {
			t.Errorf("%d, after the other end hung up: %v", i, err)
		}
	}
}

func TestConcurrentCalls(t *testing.T) {
	c, _ := listen(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		w.Write(b)
	})
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			for n := range 20 {
				text := fmt.Sprint(i, " ", n)
				if r, err := c.Call(context.Background(), "web", "echo", ipc.Text(text)); err != nil || string(r.Payload) != text {
					t.Errorf("%s: %q, %v", text, r.Payload, err)
				}
			}
		})
	}
	all.Wait()
}

// upTo is a context whose time is over once end is closed.
type upTo struct {
	context.Context
	end <-chan struct{}
}

func (c upTo) Done() <-chan struct{} { return c.end }

func (c upTo) Err() error {
	select {
	case <-c.end:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestContextEnds: in the middle of an answer, and before there is one; and the
// other end sees that the caller has gone.
func TestContextEnds(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan struct{}, 2)
	c, _ := listen(t, func(w http.ResponseWriter, r *http.Request) {
		io.ReadAll(r.Body) // only then the server looks for a client that goes
		if strings.HasSuffix(r.URL.Path, "/half") {
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
		}
		begun <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	for _, command := range []string{"half", "none"} {
		long, cancel := context.WithTimeout(context.Background(), time.Minute)
		end := make(chan struct{})
		go func() { <-begun; close(end) }()
		_, err := c.Call(upTo{long, end}, "web/1", command, ipc.Args())
		cancel()
		if !errors.Is(err, ipc.ErrTimeout) {
			t.Errorf("%s: %v, want a timeout", command, err)
		}
		<-gone
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-begun; cancel() }()
		if _, err = c.Call(ctx, "web/1", command, ipc.Args()); !errors.Is(err, context.Canceled) || !errors.Is(err, ipc.ErrCanceled) {
			t.Errorf("%s: %v, want it canceled", command, err)
		}
		<-gone
	}
}

// TestAnswerBeforeTheEnd: one that comes while the request is still sent is
// not lost.
func TestAnswerBeforeTheEnd(t *testing.T) {
	c, _ := listen(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Connection", "close")
		w.WriteHeader(413)
		io.WriteString(w, `{"code":"too_large","detail":"too large"}`)
	})
	_, err := c.Call(context.Background(), "web/1", "x", ipc.Bytes(make([]byte, 8<<20)))
	if !errors.Is(err, ipc.ErrTooLarge) {
		t.Errorf("%v, want it to be too large", err)
	}
}

// TestOrderUnanswered: an order without an answer may still be carried out, and the
// error says so; what changes nothing has nothing of the kind to say.
func TestOrderUnanswered(t *testing.T) {
	over := make(chan struct{})
	c, _ := listen(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	})
	defer close(over)
	for name, tt := range map[string]struct {
		stands bool
		ask    func(context.Context) error
	}{
		"restart":  {true, func(ctx context.Context) error { _, err := c.Order(ctx, "restart", "web"); return err }},
		"scale":    {true, func(ctx context.Context) error { _, err := c.Scale(ctx, "web", 2); return err }},
		"reload":   {true, func(ctx context.Context) error { _, err := c.Reload(ctx, false); return err }},
		"upgrade":  {true, func(ctx context.Context) error { _, err := c.Upgrade(ctx); return err }},
		"shutdown": {true, c.Shutdown},
		"dry run":  {false, func(ctx context.Context) error { _, err := c.Reload(ctx, true); return err }},
		"status":   {false, func(ctx context.Context) error { _, err := c.Status(ctx); return err }},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := tt.ask(ctx)
		cancel()
		if !errors.Is(err, ipc.ErrTimeout) || strings.Contains(err.Error(), "may still be carried out") != tt.stands {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoWait: the supervisor is told not to wait, whatever the deadline.
func TestNoWait(t *testing.T) {
	asked := make(chan string, 1)
	c, _ := listen(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path + " " + r.FormValue("wait")
		fmt.Fprint(w, "{}")
	})
	ctx, cancel := context.WithTimeout(client.NoWait(t.Context()), time.Minute)
	defer cancel()
	for want, give := range map[string]func(context.Context) error{
		"/v1/pools/web/stop 0s":  func(ctx context.Context) error { _, err := c.Order(ctx, "stop", "web"); return err },
		"/v1/pools/web/scale 0s": func(ctx context.Context) error { _, err := c.Scale(ctx, "web", 2); return err },
		"/v1/reload 0s":          func(ctx context.Context) error { _, err := c.Reload(ctx, false); return err },
		"/v1/shutdown 0s":        c.Shutdown,
	} {
		if err := give(ctx); err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if got := <-asked; got != want {
			t.Errorf("asked %q, want %q", got, want)
		}
	}
}
