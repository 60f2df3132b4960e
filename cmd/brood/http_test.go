package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// over is an HTTP client of one socket.
func over(socket string) *http.Client {
	return &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
}

func ask(t *testing.T, socket, method, page, contentType string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://brood"+page, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := over(socket).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// TestProblems: every error is a problem document with a stable code and a
// detail that says what to do.
func TestProblems(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	for _, tt := range []struct {
		method, page, contentType, body string
		status                          int
		code, detail                    string
	}{
		{"GET", "/v1/nothing/here", "", "", 404, api.CodeNotFound, "docs/api.md"},
		{"DELETE", "/v1/status", "", "", 405, api.CodeBadMethod, "takes GET"},
		{"GET", "/v1/status?verbose=1", "", "", 400, api.CodeBadRequest, `no parameter "verbose"`},
		{"GET", "/v1/health?min_ready=many", "", "", 400, api.CodeBadRequest, "number of workers"},
		{"GET", "/v1/health/", "", "", 400, api.CodeBadRequest, "it is empty"},
		{"GET", "/v1/events?target=", "", "", 400, api.CodeBadRequest, "it is empty"},
		{"GET", "/v1/pools/db", "", "", 404, api.CodeNotFound, "the pools are web"},
		{"GET", "/v1/workers/web/3", "", "", 404, api.CodeNotFound, "slots 1 to 2"},
		{"GET", "/v1/workers/web/2%2377", "", "", 409, api.CodeStale, "web/2#1 is there"},
		{"POST", "/v1/workers/web/*/commands/echo", "", "", 400, api.CodeBadRequest, "web/NUMBER"},
		{"POST", "/v1/pools/*/commands/echo", "", "", 409, api.CodeConflict, "names several"},
		{"POST", "/v1/workers/web/1/commands/nosuch", "", "", 404, api.CodeNotFound, "it has echo"},
		{"POST", "/v1/workers/web/1/commands/fail", "", `["no"]`, 500, api.CodeError, "no"},
		{"POST", "/v1/workers/web/1/commands/echo", "application/json", "{", 400, api.CodeBadRequest, "not the JSON"},
		{"POST", "/v1/workers/web/1/commands/echo?timeout=never", "", "", 400, api.CodeBadRequest, "5s or 250ms"},
		{"POST", "/v1/workers/web/1/commands/echo?timeout=2h", "", "", 400, api.CodeBadRequest, "at most 1h"},
		{"POST", "/v1/workers/web/1/commands/sleep?timeout=50ms", "", `["1h"]`, 504, api.CodeTimeout, "sleep"},
		{"POST", "/v1/workers/web/1/commands/echo", "", strings.Repeat("x", 16<<20+1), 413, api.CodeTooLarge, "16777216"},
		{"POST", "/nosuch", "", "[]", 404, api.CodeNotFound, "it has echo"},
		{"POST", "/..", "", "[]", 400, api.CodeBadRequest, "no command has that name"},
		{"POST", "/%2e%2E", "", "[]", 400, api.CodeBadRequest, `".." is no name of a command`},
		{"POST", "/v1/workers/web/1/commands/..", "", "", 400, api.CodeBadRequest, "no command has that name"},
		{"GET", "/v1/./status", "", "", 400, api.CodeBadRequest, "no page is reached by ."},
		{"POST", "/v1/workers/web/1/commands/", "", "", 400, api.CodeBadRequest, `"" is no name of a command`},
		{"POST", "/v1/pools/web/commands/a/b", "", "", 400, api.CodeBadRequest, "written %2F"},
		{"POST", "/v1/pools/web/commands/a%2Fb", "", "", 404, api.CodeNotFound, `no command "a/b"; it has echo`},
		{"POST", "/v1/pools/web/commands/a%20b?all=true", "", "", 400, api.CodeBadRequest, `"a b" is no name of a command`},
		{"POST", "/v1/shutdown?wait=x", "", "", 400, api.CodeBadRequest, "duration"},
	} {
		t.Run(tt.method+" "+tt.page, func(t *testing.T) {
			resp, body := ask(t, s.socket, tt.method, tt.page, tt.contentType, []byte(tt.body))
			var p api.Problem
			if err := json.Unmarshal(body, &p); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q", got)
			}
			if resp.StatusCode != tt.status || p.Status != tt.status || p.Code != tt.code || p.Type != "urn:brood:problem:"+tt.code || p.Title == "" || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("got %d %+v", resp.StatusCode, p)
			}
		})
	}
	resp, _ := ask(t, s.socket, "PUT", "/v1/workers/web/1/restart", "", nil)
	if got := resp.Header.Get("Allow"); got != "POST" {
		t.Errorf("Allow: %q", got)
	}
}

// TestAnswersKeepTheirCodec: what goes in comes out, with its type and its
// worker.
func TestAnswersKeepTheirCodec(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	for contentType, body := range map[string]string{
		"application/json":          `{"a":1}`,
		"text/plain; charset=utf-8": "some text",
		"application/octet-stream":  "\x00\xff\xbd",
	} {
		resp, got := ask(t, s.socket, "POST", "/v1/workers/web/1/commands/echo", contentType, []byte(body))
		if resp.StatusCode != 200 || string(got) != body || resp.Header.Get("Content-Type") != contentType || resp.Header.Get("Brood-Worker") != "web/1#1" {
			t.Errorf("%s: got %d %q %v", contentType, resp.StatusCode, got, resp.Header)
		}
	}
}

// TestHungUpClientCancelsItsCommand: nobody waits for the answer, so the worker
// is told to stop.
func TestHungUpClientCancelsItsCommand(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "POST /v1/workers/web/1/commands/sleep HTTP/1.1\r\nHost: b\r\nContent-Length: 6\r\n\r\n[\"1h\"]")
	c := client.New(s.socket)
	defer c.Close()
	inflight := func(want int) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); ; {
			w, err := c.Worker(t.Context(), "web/1")
			if err != nil {
				t.Fatal(err)
			}
			if w.Inflight == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d commands open, want %d", w.Inflight, want)
			}
		}
	}
	inflight(1)
	conn.Close()
	inflight(0)
}

// TestOrdersOverHTTP: accepted at once, or done when waited for, or an honest
// no with what became of each slot.
func TestOrdersOverHTTP(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "off", "--", "echo-worker")
	var r api.Results
	resp, body := ask(t, s.socket, "POST", "/v1/pools/web/restart?wait=30s", "", nil)
	if err := json.Unmarshal(body, &r); err != nil || resp.StatusCode != 200 || len(r.Results) != 2 || r.Results[1].Outcome != "done" || r.Results[1].Generation != 2 {
		t.Errorf("restart with wait: %d %s %v", resp.StatusCode, body, err)
	}
	resp, body = ask(t, s.socket, "POST", "/v1/workers/web/1/stop", "", nil)
	if err := json.Unmarshal(body, &r); err != nil || resp.StatusCode != 202 && r.Results[0].Outcome != "done" {
		t.Errorf("stop without wait: %d %s %v", resp.StatusCode, body, err)
	}

	stubborn := serve(t, "-n", "1", "--name", "web", "--log-level", "off", "--", "sh", "-c", `trap "" TERM; while :; do sleep 1; done`)
	resp, body = ask(t, stubborn.socket, "POST", "/v1/workers/web/1/stop?wait=100ms", "", nil)
	var p api.Problem
	if err := json.Unmarshal(body, &p); err != nil || resp.StatusCode != 504 || p.Code != api.CodeTimeout || len(p.Results) != 1 || p.Results[0].State != "stopping" {
		t.Errorf("stop of a stubborn worker: %d %s %v", resp.StatusCode, body, err)
	}
	stubborn.cmd.Process.Signal(syscall.SIGTERM)
	stubborn.stop(syscall.SIGINT)
}
