package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is clients that never pause, each request on a connection of its own.
type load struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	asked  atomic.Int64
	failed atomic.Int64
	first  atomic.Pointer[string] // failure
	answer atomic.Pointer[string] // the last
}

func startLoad(url string, clients int) *load {
	l := &load{stop: make(chan struct{})}
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	for range clients {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				l.ask(c, url)
			}
		})
	}
	return l
}

func (l *load) ask(c *http.Client, url string) {
	l.asked.Add(1)
	resp, err := c.Get(url)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	if err != nil {
		l.failed.Add(1)
		text := err.Error()
		l.first.CompareAndSwap(nil, &text)
		return
	}
	text := string(body)
	l.answer.Store(&text)
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestDeployWithoutDroppingARequest: 8 workers on one socket under load from 16
// clients, through 5 rolling restarts, 3 changes of scale, 2 reloads, and a bad
// deploy that is told with its stderr. No request fails.
func TestDeployWithoutDroppingARequest(t *testing.T) {
	need(t, "go")
	web := filepath.Join(t.TempDir(), "web")
	if out, err := exec.Command("go", "build", "-o", web, "../../examples/web").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address := freeAddress(t)
	file := filepath.Join(t.TempDir(), "brood.yaml")
	configure := func(command, version string) {
		t.Helper()
		text := fmt.Sprintf(`pools:
  web:
    command: %s
    workers: 8
    env: {VERSION: %q}
    listen: {http: "tcp://%s"}
    ready: {when: hello}
    rollout: {soak: 10ms}
`, command, version, address)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure(`["`+web+`"]`, "1")
	s := serve(t, "-c", file, "--log-level", "warn")
	l := startLoad("http://"+address, 16)
	do := func(line string, code int) result {
		t.Helper()
		r := shell(t, s.socket, line)
		if r.code != code {
			t.Fatalf("%s: %v\n%v", line, r, s.log)
		}
		return r
	}
	for range 5 {
		do("brood restart web", 0)
	}
	for _, n := range []int{12, 4, 8} {
		do(fmt.Sprintf("brood scale web %d", n), 0)
	}
	for _, version := range []string{"2", "3"} {
		configure(`["`+web+`"]`, version)
		do("brood reload", 0)
	}
	configure(`["sh", "-c", "echo the database is gone >&2; exit 3"]`, "4")
	r := do("brood reload", exitError)
	wantIn(t, "the bad deploy", r.stdout, "stderr: the database is gone")
	wantIn(t, "the bad deploy", r.stderr, "exit code 3")
	close(l.stop)
	l.wg.Wait()
	t.Logf("%d requests, %d failed", l.asked.Load(), l.failed.Load())
	if l.failed.Load() > 0 || l.asked.Load() < 100 {
		t.Errorf("%d of %d requests failed, the first with: %s", l.failed.Load(), l.asked.Load(), *l.first.Load())
	}
	if last := *l.answer.Load(); !strings.HasSuffix(last, " 3\n") {
		t.Errorf("the last answer is %q, want version 3's", last)
	}
}

// TestSocketActivationByAPlainProgram: a program that knows nothing of brood
// takes its socket as sd_listen_fds(3) says, and says that it is ready as
// sd_notify(3) says.
func TestSocketActivationByAPlainProgram(t *testing.T) {
	need(t, "python3")
	address := freeAddress(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "plain.py")
	program := `import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_FDNAMES"] == "http"
server = socket.socket(fileno=3)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"STATUS=warming up", os.environ["NOTIFY_SOCKET"])
notify.sendto(b"READY=1\nSTATUS=serving", os.environ["NOTIFY_SOCKET"])
while True:
    c, _ = server.accept()
    c.recv(4096)
    c.sendall(b"HTTP/1.0 200 OK\r\n\r\nplain %d\n" % os.getpid())
    c.close()
`
	if err := os.WriteFile(script, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "brood.yaml")
	text := fmt.Sprintf("pools: {web: {command: [python3, %q], workers: 2, listen: {http: \"tcp://%s\"}, ready: {when: notify}}}\n", script, address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "-c", file)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasPrefix(string(body), "plain ") {
		t.Errorf("%q, %v", body, err)
	}
	wantIn(t, "its status", shell(t, s.socket, "brood status").stdout, "serving")
}

// TestSystemdNotify: readiness said by a child of the worker, systemd-notify(1).
func TestSystemdNotify(t *testing.T) {
	need(t, "systemd-notify")
	file := filepath.Join(t.TempDir(), "brood.yaml")
	text := `pools: {sh: {command: [sh, -c, "systemd-notify --ready --status='from a shell'; exec sleep 1000"], ready: {when: notify}}}` + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "-c", file)
	wantIn(t, "its status", shell(t, s.socket, "brood status").stdout, "from a shell")
}
