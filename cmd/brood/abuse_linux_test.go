package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What clients do to a control socket, by malice or mistake, and what it is like
// afterwards: health answers within 50 ms, and no descriptor is left.

// abused is a supervisor that is abused.
type abused struct {
	*server
	fds int // that it had before
}

func abuse(t *testing.T, args ...string) *abused {
	t.Helper()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("there is no /proc")
	}
	s := serve(t, append(args, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")...)
	say(t, s.socket, "health\n")
	return &abused{s, countFDs(t, s)}
}

func countFDs(t testing.TB, s *server) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// well fails the test unless the supervisor is as it was before.
func (a *abused) well(t *testing.T) {
	t.Helper()
	for _, ask := range []struct{ text, want string }{
		{"health\n", "ok: web 2/2 ready\n"},
		{"GET /v1/health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", `"health":"ok"`},
	} {
		best := time.Hour // of some tries: the machine may have other things to do
		for range 20 {
			start := time.Now()
			if got := say(t, a.socket, ask.text); !strings.Contains(got, ask.want) {
				t.Fatalf("%q: %q", ask.text, got)
			}
			if best = min(best, time.Since(start)); best < 50*time.Millisecond {
				break
			}
		}
		if best > 50*time.Millisecond {
			t.Errorf("%q took %v", ask.text, best)
		}
	}
	a.flat(t)
}

// flat waits until there are no more descriptors than before.
func (a *abused) flat(t *testing.T) {
	t.Helper()
	until(t, "descriptors are closed", func() bool { return countFDs(t, a.server) <= a.fds })
}

const getHealth = "GET /v1/health HTTP/1.1\r\nHost: b\r\n\r\n"

// TestAbuse is one supervisor and everything that is done to it.
func TestAbuse(t *testing.T) {
	a := abuse(t)
	for name, f := range map[string]func(*testing.T){
		"byte by byte":                    a.byteByByte,
		"half a request":                  a.halfARequest,
		"NULs":                            a.nuls,
		"binary noise":                    a.noise,
		"a header of a megabyte":          a.longHeader,
		"a line of a megabyte":            a.longLine,
		"63 idle clients":                 a.idle,
		"5000 connections of one user":    a.thousands,
		"a reader that never reads":       a.neverReads,
		"a body that never ends":          a.endlessBody,
		"HTTP pipelining":                 a.pipelining,
		"two tongues on one connection":   a.mixedTongues,
		"clients that come and go":        a.comeAndGo,
		"clients that hang up on orders":  a.hangUpOnOrders,
		"connections closed while served": a.closedWhileServed,
	} {
		t.Run(name, func(t *testing.T) {
			f(t)
			a.well(t)
		})
	}
	if log := a.log.String(); strings.Contains(log, "panic") {
		t.Error(log)
	}
}

// TestAbuseOfAnotherUser: who is neither root nor the supervisor's user has so many
// connections and no more, and these cost nobody else theirs.
func TestAbuseOfAnotherUser(t *testing.T) {
	needRoot(t)
	a := abuse(t, "--mode", "0666")
	idle := dial(t, a.socket) // root's, for longer than any other
	idle.SetDeadline(time.Now().Add(5 * time.Minute))
	const all, most = 5000, 2 * 256 // some are just being closed
	cmd := exec.Command("setpriv", "--reuid=61000", "--regid=61000", "--clear-groups", "hoarder", a.socket, fmt.Sprint(all))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close() // which ends it
	lines := 0
	for scan := bufio.NewScanner(out); lines < all/100 && scan.Scan(); lines++ {
		if n := countFDs(t, a.server) - a.fds; n > most {
			t.Errorf("%d descriptors for %s connections", n, scan.Text())
		}
	}
	if lines != all/100 {
		t.Fatalf("it ended after %d00 connections", lines)
	}
	until(t, "root is answered among thousands", func() bool {
		c, err := connect(a.socket, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, "health; quit\n")
		return strings.HasPrefix(ended(t, c), "ok: web 2/2 ready\n")
	})
	for _, uid := range []string{"61000", "61001"} {
		r := runCmd(t, a.socket, exec.Command("setpriv", "--reuid="+uid, "--regid="+uid, "--clear-groups", "brood", "health"))
		if r.code != healthOK {
			t.Errorf("uid %s, among thousands of 61000's: %v", uid, r)
		}
	}
	io.WriteString(idle, "health; quit\n")
	if got := ended(t, idle); !strings.HasPrefix(got, "ok: web 2/2 ready\n") {
		t.Errorf("the connection that was there before: %q", got)
	}
	in.Close()
	a.well(t)
}

// TestDescriptorsSentAlong: what a client sends along does not stay with the
// supervisor, and costs nobody an answer.
func TestDescriptorsSentAlong(t *testing.T) {
	a := abuse(t)
	for i, text := range []string{"health; quit\n", "GET /v1/health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"} {
		for range 50 {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			c := dial(t, a.socket)
			if i == 1 { // a part comes before
				io.WriteString(c, text[:1])
			}
			rest := text[i:]
			_, _, err = c.WriteMsgUnix([]byte(rest), syscall.UnixRights(int(w.Fd()), int(w.Fd())), nil)
			if errors.Is(err, syscall.EPERM) { // Linux 6.16 lets none come
				_, err = io.WriteString(c, rest)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			wantIn(t, text, ended(t, c), "web 2/2 ready")
			r.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := r.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%q: somebody still holds what was sent along: %v", text, err)
			}
			r.Close()
		}
	}
	a.well(t)
}

func (a *abused) byteByByte(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"@web/1 echo a\\ b; health\nversion\n", "a b\n\nok: web 2/2 ready\n\nbrood "},
		{"POST /v1/workers/web/1/commands/echo HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\n[\"x\"]", "\r\n\r\nx"},
	} {
		c := dial(t, a.socket)
		for i := range len(tt.text) {
			io.WriteString(c, tt.text[i:i+1])
		}
		if isLine := tt.text[0] == '@'; isLine {
			c.CloseWrite()
		}
		wantIn(t, tt.text, ended(t, c), tt.want)
	}
}

func (a *abused) halfARequest(t *testing.T) {
	for _, text := range []string{
		"GET /v1/he", getHealth[:len(getHealth)-2], "POST /v1/workers/web/1/commands/echo HTTP/1.1\r\nHost: b\r\nContent-Length: 50\r\n\r\n[",
		"hea", "@web/1 ec", "@web/1 echo 'a", "G", "@", "",
	} {
		for range 20 {
			c := dial(t, a.socket)
			io.WriteString(c, text)
			c.Close()
			c = dial(t, a.socket)
			io.WriteString(c, text)
			c.CloseWrite()
			if got := ended(t, c); text != "" && text[0] != 'G' && text[0] != 'P' {
				wantIn(t, text, got, "error: bad_request: the last line has no end")
			}
		}
	}
}

func (a *abused) nuls(t *testing.T) {
	for text, want := range map[string]string{
		"\x00":                              "error: bad_request: a line is no text: there is a NUL byte",
		"health\x00\n":                      "error: bad_request: ",
		"health\nver\x00sion\n":             "ok: web 2/2 ready\n\nerror: bad_request: ",
		strings.Repeat("\x00", 1<<20):       "error: bad_request: ",
		"GET /v1/\x00 HTTP/1.1\r\n\r\n":     "400 Bad Request",
		"GET\x00 /v1/health HTTP/1.1\r\n\r": "",
		"\xff\xfe":                          "error: bad_request: a line is no text: there is the byte 0xff",
		"@web echo \xc3\n":                  "error: bad_request: a line is no text: there is bytes that are not UTF-8",
		"@web echo \xed\xa0\x80\n":          "error: bad_request: ",
		"\x1b[A\n":                          "error: bad_request: ",
	} {
		c := dial(t, a.socket)
		go func() {
			io.WriteString(c, text)
			c.CloseWrite()
		}()
		wantIn(t, text[:min(len(text), 20)], ended(t, c), want)
	}
}

func (a *abused) noise(t *testing.T) {
	r := rand.NewChaCha8([32]byte{})
	for range 200 {
		b := make([]byte, 1+r.Uint64()%(64<<10))
		r.Read(b)
		c := dial(t, a.socket)
		go func() {
			c.Write(b)
			c.CloseWrite()
		}()
		if got := ended(t, c); len(got) > 64<<10 {
			t.Errorf("%d bytes in answer to noise", len(got))
		}
		c.Close()
	}
}

func (a *abused) longHeader(t *testing.T) {
	c := dial(t, a.socket)
	go io.WriteString(c, "GET /v1/health HTTP/1.1\r\nHost: b\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
	wantIn(t, "header", ended(t, c), "431 Request Header Fields Too Large")
}

func (a *abused) longLine(t *testing.T) {
	c := dial(t, a.socket)
	go io.WriteString(c, "@web echo "+strings.Repeat("x", 1<<20)+"\n")
	if got := ended(t, c); got != "error: too_large: a line may have 65536 bytes\n" {
		t.Errorf("got %q", got)
	}
	word := strings.Repeat("x", 65536-len("@web echo "))
	if got := say(t, a.socket, "@web echo "+word+"\r\n"); got != word+"\n" {
		t.Errorf("a line of just 64 KiB: %d bytes", len(got))
	}
	if got := say(t, a.socket, "@web echo "+word+"y\n"); !strings.HasPrefix(got, "error: too_large: ") {
		t.Errorf("a line of a byte more: %.100q", got)
	}
}

func (a *abused) idle(t *testing.T) {
	var held []net.Conn
	for i := range 63 {
		c := dial(t, a.socket)
		io.WriteString(c, []string{"", "GET /v1/he", "he"}[i%3])
		held = append(held, c)
	}
	for range 50 {
		say(t, a.socket, "health\n")
	}
	for _, c := range held {
		c.Close()
	}
}

func (a *abused) thousands(t *testing.T) {
	held := make([]net.Conn, 5000)
	most := 0
	for i := range held {
		held[i] = dial(t, a.socket)
		if i%100 == 0 {
			most = max(most, countFDs(t, a.server)-a.fds)
		}
	}
	if got := say(t, a.socket, "health\n"); got != "ok: web 2/2 ready\n" {
		t.Errorf("among thousands: %q", got)
	}
	if most = max(most, countFDs(t, a.server)-a.fds); most > 1024+64+1 {
		t.Errorf("%d descriptors for 5000 connections", most)
	}
	for _, c := range held {
		c.Close()
	}
}

// neverReads: who does not take its answers holds nobody else up.
func (a *abused) neverReads(t *testing.T) {
	for _, ask := range []string{strings.Repeat("status\n", 5000), strings.Repeat("GET /v1/status HTTP/1.1\r\nHost: b\r\n\r\n", 5000)} {
		c := dial(t, a.socket)
		written := make(chan struct{})
		go func() {
			io.WriteString(c, ask) // stuck when both buffers are full
			close(written)
		}()
		for range 50 {
			say(t, a.socket, "health\n")
		}
		c.Close()
		<-written
	}
}

func (a *abused) endlessBody(t *testing.T) {
	c := dial(t, a.socket)
	go func() {
		io.WriteString(c, "POST /v1/workers/web/1/commands/echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<16, strings.Repeat("x", 1<<16))
		for {
			if _, err := io.WriteString(c, chunk); err != nil {
				return
			}
		}
	}()
	wantIn(t, "body", ended(t, c), "413 Request Entity Too Large")
}

func (a *abused) pipelining(t *testing.T) {
	c := dial(t, a.socket)
	const n = 200
	var ask bytes.Buffer
	for i := range n {
		body := fmt.Sprintf(`["%d"]`, i)
		fmt.Fprintf(&ask, "POST /v1/workers/web/1/commands/echo HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	go c.Write(ask.Bytes())
	r := bufio.NewReader(c)
	for i := range n {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != fmt.Sprint(i) {
			t.Fatalf("answer %d: %q %v", i, b, err)
		}
	}
	c.Close()
}

func (a *abused) mixedTongues(t *testing.T) {
	c := dial(t, a.socket)
	io.WriteString(c, "version\nGET /v1/health HTTP/1.1\r\nHost: b\r\n\r\nversion\n")
	c.CloseWrite()
	got := ended(t, c)
	wantIn(t, "lines, then HTTP", got, "\n\nerror: not_found: there is no command \"GET\"; this connection speaks the line protocol")
	if strings.Count(got, "brood ") != 2 {
		t.Errorf("the lines around it: %q", got)
	}
	c = dial(t, a.socket)
	io.WriteString(c, getHealth+"health\n\n")
	got = ended(t, c)
	wantIn(t, "HTTP, then lines", got, "HTTP/1.1 200 OK")
	wantIn(t, "HTTP, then lines", got, "HTTP/1.1 400 Bad Request")
}

func (a *abused) comeAndGo(t *testing.T) {
	done := make(chan struct{})
	for i := range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for j := range 200 {
				c, err := net.Dial("unix", a.socket)
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(c, []string{"", "status\n", getHealth, "@web/1 echo x\n", "@web/1 echo"}[(i+j)%5])
				c.Close()
			}
		}()
	}
	for range 8 {
		<-done
	}
}

// hangUpOnOrders: an order that was given is carried out, whoever waits for it.
func (a *abused) hangUpOnOrders(t *testing.T) {
	before := say(t, a.socket, "show worker web/2\n")
	for _, text := range []string{"restart web/2 wait\n", "POST /v1/workers/web/2/restart?wait=30s HTTP/1.1\r\nHost: b\r\n\r\n"} {
		c := dial(t, a.socket)
		io.WriteString(c, text)
		c.Close()
		until(t, text+"is carried out", func() bool {
			now := say(t, a.socket, "show worker web/2\n")
			return field(now, "state") == "ready" && field(now, "generation") != field(before, "generation")
		})
		before = say(t, a.socket, "show worker web/2\n")
	}
	until(t, "health is ok", func() bool { return strings.HasPrefix(say(t, a.socket, "health\n"), "ok:") })
}

func field(text, name string) string {
	_, rest, _ := strings.Cut("\n"+text, "\n"+name+": ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// closedWhileServed: answers that nobody takes any more end with their clients.
func (a *abused) closedWhileServed(t *testing.T) {
	var held []net.Conn
	for i := range 60 {
		c := dial(t, a.socket)
		io.WriteString(c, []string{
			"timeout 1h @web/1 sleep 1h\n",
			"POST /v1/workers/web/2/commands/sleep?timeout=1h HTTP/1.1\r\nHost: b\r\nContent-Length: 6\r\n\r\n[\"1h\"]",
		}[i%2])
		held = append(held, c)
	}
	until(t, "60 commands are under way", func() bool { return busy(t, a, 1) == 30 && busy(t, a, 2) == 30 })
	for _, c := range held {
		c.Close()
	}
	until(t, "no command is under way", func() bool { return busy(t, a, 1) == 0 && busy(t, a, 2) == 0 })
}
