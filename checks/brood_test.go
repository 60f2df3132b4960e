package checks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is brood, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "checks")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "brood")
	build := exec.Command("go", "build", "-o", program, "./cmd/brood")
	build.Dir, build.Stderr = "..", os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

const config = `
pools:
  web: {command: [PROGRAM, demo-worker], workers: 2, health: {ping: 50ms}, commands: {"odd\"name\\": {exec: [echo, done]}}}
  plain: {command: [sleep, "100000"], commands: {hup: {exec: [echo, done]}}}
  crash: {command: [sh, -c, "echo why >&2; exit 3"], restart: {when: never}}
  gone: {command: [/bin/sh, -c, "kill -9 $$"], restart: {when: never}}
control:
  access: [{role: operator, users: 4242, pools: web, commands: echo}]
`

// brood is one at work.
type brood struct {
	t    *testing.T
	http *http.Client
}

func run(t *testing.T) *brood {
	t.Helper()
	dir, err := os.MkdirTemp("", "b")
	if err != nil {
		t.Fatal(err)
	}
	socket, file := dir+"/c.sock", dir+"/brood.yaml"
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "PROGRAM", program)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "run", "-c", file, "--socket", socket, "--log-level", "off")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &brood{t, &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}}
	t.Cleanup(func() {
		b.http.CloseIdleConnections()
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		os.RemoveAll(dir)
	})
	for _, pool := range []string{"web", "plain"} {
		if out, err := exec.Command(program, "--socket", socket, "health", "--wait", "60s", pool).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return b
}

// ask sends a request; header is names and values.
func (b *brood) ask(method, page, body string, header ...string) (*http.Response, []byte) {
	b.t.Helper()
	req, err := http.NewRequest(method, "http://brood"+page, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(fmt.Errorf("%s %s: %w", method, page, err))
	}
	return resp, text
}

// await asks for a page until it has want in it. It is for what no event announces.
func (b *brood) await(page, want string) (resp *http.Response, text []byte) {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if resp, text = b.ask("GET", page, ""); bytes.Contains(text, []byte(want)) {
			return resp, text
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s still has no %s:\n%s", page, want, text)
		}
	}
}
