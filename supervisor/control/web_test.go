package control

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestEndOfHeader(t *testing.T) {
	for _, tt := range []struct {
		text string
		end  int // 0: it has none
	}{
		{"GET / HTTP/1.1\r\nHost: b\r\n\r\nrest", 27},
		{"GET / HTTP/1.1\nHost: b\n\nrest", 24},
		{"GET / HTTP/1.1\r\nHost: b\n\r\n", 26},
		{"GET / HTTP/1.1\r\nHost: b\r\n \r\nX: \r\r\n", 0},
		{"GET / HTTP/1.1\r\n\r", 0},
		{"GET /", 0},
	} {
		for cut := range len(tt.text) {
			before, b := []byte(tt.text[:cut]), []byte(tt.text[cut:])
			if tt.end > 0 && cut >= tt.end {
				break
			}
			want := max(0, tt.end-cut)
			if got := endOfHeader(before, b); got != want {
				t.Errorf("%q, %q: %d, want %d", before, b, got, want)
			}
		}
	}
}

// TestRequestsInAnyPieces: how requests are cut up, and put together, makes no
// difference.
func TestRequestsInAnyPieces(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	var all strings.Builder
	var want []string
	request := func(answer, text string) {
		all.WriteString(text)
		want = append(want, answer)
	}
	for i := range 3 {
		request(`"role":"admin"`, "GET /v1/whoami HTTP/1.1\r\nHost: b\r\n\r\n")
		request(fmt.Sprint("body ", i), fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 6\r\n\r\nbody %d", i))
		request(`"role":"admin"`, "\r\nGET /v1/whoami HTTP/1.1\nHost: b\n\n")
		request("in two parts", "POST /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nin t\r\n8;x=y\r\nwo parts\r\n0\r\n\r\n")
		request(strings.Repeat("x", 5000), fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: b\r\nX-Long: %s\r\nContent-Length: 5000\r\n\r\n%s", strings.Repeat("y", 4000), strings.Repeat("x", 5000)))
		request("", "OPTIONS * HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nno")
		request("403", "POST /v1/reload HTTP/1.1\r\nHost: b\r\nOrigin: http://a\r\nContent-Length: 2\r\n\r\nno")
		request(`"role":"admin"`, "GET /v1/whoami HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nleft")
	}
	text := all.String()
	for _, size := range []int{1, 2, 3, 7, 61, 1000, 4095, 4096, 4097, len(text)} {
		c, err := net.Dial("unix", h.path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		go func() {
			for rest := text; rest != ""; {
				n := min(size, len(rest))
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					return // told by who reads
				}
				rest = rest[n:]
			}
		}()
		in := bufio.NewReader(c)
		for i, w := range want {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("pieces of %d, answer %d: %v", size, i, err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(resp.Status+string(body), w) {
				t.Fatalf("pieces of %d, answer %d: %s %.200s %v, want %.200s", size, i, resp.Status, body, err, w)
			}
		}
	}
}

// TestHalfABodyThatNobodyWants: the answer does not wait for the rest.
func TestHalfABodyThatNobodyWants(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	for _, request := range []string{
		"POST /v1/reload HTTP/1.1\r\nHost: b\r\nOrigin: http://a\r\nContent-Length: 9\r\n\r\nhalf",
		"POST /v1/nowhere HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
		"GET /v1/events HTTP/1.1\r\nHost: b\r\nAccept: text/event-stream\r\nContent-Length: 9\r\n\r\nhalf",
	} {
		c, err := net.Dial("unix", h.path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(c, request)
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Errorf("%q: %q, %v", request, line, err)
		}
	}
}

// TestHangUpBehindARequest: who hangs up is noticed though more was said before.
func TestHangUpBehindARequest(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	c, err := net.Dial("unix", h.path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "POST /hang HTTP/1.1\r\nHost: b\r\n\r\nGET /v1/whoami HTTP/1.1\r\nHost: b\r\n\r\n")
	until(t, "the command", func() bool { return h.sup.Status().Pools[0].Slots[0].Inflight == 1 })
	c.Close()
	until(t, "the end of the command", func() bool { return h.sup.Status().Pools[0].Slots[0].Inflight == 0 })
}
