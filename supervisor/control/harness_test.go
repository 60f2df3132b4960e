package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/worker"
)

func init() {
	if os.Getenv(actorVariable) == "worker" {
		actWorker()
		os.Exit(0)
	}
}

// actWorker is a worker whose commands do what tests need.
func actWorker() {
	var w worker.Worker
	w.Handle("echo", "say it again", func(_ context.Context, r *worker.Request) (any, error) { return r.Message, nil })
	w.Handle("fail", "say no", func(_ context.Context, r *worker.Request) (any, error) {
		return nil, &worker.Error{Code: "asked", Message: "as asked"}
	})
	w.Handle("hang", "until the caller gives up, which is printed", func(ctx context.Context, _ *worker.Request) (any, error) {
		fmt.Println("hanging")
		<-ctx.Done()
		fmt.Println("canceled")
		return nil, ctx.Err()
	})
	w.Handle("print", "a line", func(_ context.Context, r *worker.Request) (any, error) {
		fmt.Println(string(r.Plain()))
		return nil, nil
	})
	w.Handle("pieces", "of every kind", func(_ context.Context, r *worker.Request) (any, error) {
		for _, v := range []any{"text", ipc.Message{Codec: ipc.CodecJSON, Payload: []byte(`{"a":[1]}`)}, []byte{0xff, 0}} {
			if err := r.Send(v); err != nil {
				return nil, err
			}
		}
		if err := r.Progress(1, 2, "half"); err != nil {
			return nil, err
		}
		return "end", nil
	})
	w.Handle("pour", "pieces without end", func(_ context.Context, r *worker.Request) (any, error) {
		piece := bytes.Repeat([]byte("x"), 16<<10)
		for n := 0; ; n++ {
			if err := r.Send(piece); err != nil {
				fmt.Println("poured", n)
				return nil, err
			}
		}
	})
	w.Handle("partly", "the first sends a piece, and then all hang", func(ctx context.Context, r *worker.Request) (any, error) {
		if os.Getenv("BROOD_SLOT") == "1" {
			if err := r.Send("piece"); err != nil {
				return nil, err
			}
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	w.Handle("half", "an answer, and then no", func(_ context.Context, r *worker.Request) (any, error) {
		if err := r.Send("half"); err != nil {
			return nil, err
		}
		return nil, &worker.Error{Code: "asked", Message: "as asked"}
	})
	if err := w.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// workers is a pool of actWorkers.
func workers(name string, n int) supervisor.Pool {
	return supervisor.Pool{
		Name: name, Workers: n, Command: []string{os.Args[0]}, Env: map[string]string{actorVariable: "worker", "GORACE": "atexit_sleep_ms=0"},
		Dispatch: supervisor.Dispatch{Timeout: -1},
	}
}

// here is a supervisor and its control socket in this process.
type here struct {
	t      testing.TB
	sup    *supervisor.Supervisor
	server *Server
	path   string
	log    *syncBuffer
	http   *http.Client
}

// serveHere starts them, with others as the access, and waits until all is ready.
// All is ended with the test.
func serveHere(t testing.TB, cfg Config, pools ...supervisor.Pool) *here {
	t.Helper()
	h := startHere(t, cfg, pools...)
	h.await("all ready", func(st supervisor.Status) bool {
		for _, p := range st.Pools {
			if p.Ready < p.Workers {
				return false
			}
		}
		return true
	})
	return h
}

func startHere(t testing.TB, cfg Config, pools ...supervisor.Pool) *here {
	t.Helper()
	h := &here{t: t, log: &syncBuffer{}, path: t.TempDir() + "/c.sock"}
	if dir, err := os.MkdirTemp("", "bh"); err == nil { // others may come in
		t.Cleanup(func() { os.RemoveAll(dir) })
		os.Chmod(dir, 0o755)
		h.path = dir + "/c.sock"
	}
	log := hclog.New(&hclog.LoggerOptions{Output: h.log, Level: hclog.Info})
	sup, err := supervisor.New(supervisor.Config{Pools: pools, Log: hclog.NewNullLogger(), Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	h.sup, cfg.Supervisor = sup, sup
	if cfg.Log == nil {
		cfg.Log = log
	}
	if cfg.Shutdown == nil {
		cfg.Shutdown = func() { sup.Shutdown(false) }
	}
	if h.server, err = NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(ListenConfig{Path: h.path, Mode: 0o666})
	if err != nil {
		t.Fatal(err)
	}
	ran, served := make(chan error, 1), make(chan error, 1)
	go func() { ran <- sup.Run(context.Background()) }()
	go func() { served <- h.server.Serve(l) }()
	h.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.path)
	}}}
	t.Cleanup(func() {
		h.http.CloseIdleConnections()
		sup.Shutdown(false)
		if err := <-ran; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.server.Close(ctx); err != nil {
			t.Error("close:", err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		l.Close()
	})
	return h
}

func (h *here) await(what string, ok func(supervisor.Status) bool) {
	h.t.Helper()
	limit := time.After(time.Minute)
	for {
		_, news := h.sup.Events(h.sup.LastEvent())
		if ok(h.sup.Status()) {
			return
		}
		select {
		case <-news:
		case <-limit:
			h.t.Fatalf("waited in vain for %s: %+v", what, h.sup.Status())
		}
	}
}

// open sends a request whose answer is read by the caller. header is names and
// values.
func (h *here) open(ctx context.Context, method, page, body string, header ...string) *http.Response {
	h.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://brood"+page, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := h.http.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, page, err)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// ask sends a request and reads the whole answer.
func (h *here) ask(method, page, body string, header ...string) (int, string) {
	h.t.Helper()
	resp := h.open(h.t.Context(), method, page, body, header...)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, page, err)
	}
	return resp.StatusCode, string(b)
}

// get reads a page into a value.
func get[T any](h *here, page string, header ...string) (v T) {
	h.t.Helper()
	status, body := h.ask("GET", page, "", header...)
	if err := json.Unmarshal([]byte(body), &v); err != nil || status != 200 {
		h.t.Fatalf("GET %s: %d %s %v", page, status, body, err)
	}
	return v
}

// scan reads lines until ok.
func scan(t testing.TB, r io.Reader, what string, ok func(line string) bool) {
	t.Helper()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	found := make(chan bool, 1)
	go func() {
		for lines.Scan() {
			if ok(lines.Text()) {
				found <- true
				return
			}
		}
		found <- false
	}()
	select {
	case good := <-found:
		if !good {
			t.Fatalf("%s has not come: %v", what, lines.Err())
		}
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
	}
}

// until looks again and again, for what nothing tells.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
