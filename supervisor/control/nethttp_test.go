package control

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"example.com/brood/supervisor/control/api"
)

// TestUnreadableRequests: what never comes to a handler is answered with a problem
// document, too.
func TestUnreadableRequests(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	for name, tt := range map[string]struct {
		text   string
		status int
		code   string
	}{
		"no version":        {"GET /v1/status\r\n\r\n", 400, api.CodeBadRequest},
		"another version":   {"GET / HTTP/3.0\r\nHost: b\r\n\r\n", 505, api.CodeBadRequest},
		"no host":           {"GET / HTTP/1.1\r\n\r\n", 400, api.CodeBadRequest},
		"two hosts":         {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, api.CodeBadRequest},
		"no colon":          {"GET / HTTP/1.1\r\nHost: b\r\nnonsense\r\n\r\n", 400, api.CodeBadRequest},
		"NUL in the header": {"GET / HTTP/1.1\r\nHost: b\r\nX: \x00\r\n\r\n", 400, api.CodeBadRequest},
		"two lengths":       {"POST /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, api.CodeBadRequest},
		"another encoding":  {"POST /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: rot13\r\n\r\n", 501, api.CodeBadRequest},
		"a long header":     {"GET / HTTP/1.1\r\nHost: b\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", 431, api.CodeTooLarge},
	} {
		c, err := net.Dial("unix", h.path)
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(c, tt.text) // of the long one not all is taken
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			c.Close()
			continue
		}
		body, err := io.ReadAll(resp.Body)
		var p api.Problem
		if json.Unmarshal(body, &p) != nil || err != nil || resp.StatusCode != tt.status || p.Status != tt.status || p.Code != tt.code ||
			resp.Header.Get("Content-Type") != "application/problem+json" || p.Title == "" {
			t.Errorf("%s: %d %v %s %v", name, resp.StatusCode, resp.Header, body, err)
		}
		c.Close()
	}
}

// TestAnswersThatOnlyLookRefused: an answer of a worker's is not taken for one of
// net/http's.
func TestAnswersThatOnlyLookRefused(t *testing.T) {
	for _, text := range []string{"", "HTTP/1.1 ", "HTTP/1.1 400", "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n403 Forbidden", "HTTP/1.1 4xx\r\n" + string(ownHeaders)} {
		if p := problemInstead([]byte(text)); p != nil {
			t.Errorf("%q became %q", text, p)
		}
	}
}
