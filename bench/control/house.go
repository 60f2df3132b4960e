package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// workers is how many brood and supervisord keep while they are asked.
const workers = 100

// served is a server that has a request.
type served struct {
	name string
	dial func() (session, error)
	most int // connections at once that it takes; 0: as many as are wanted
}

// house is the servers that are measured, all at once and idle but for the one
// that is asked.
type house struct {
	options
	dir    string
	notes  map[string]string // peer -> its version, or why it is left out
	served map[string][]served
	ends   []func()
	brood  string // the program
	sup    string // supervisord's configuration, or ""
	s6     string // the service's directory, or ""
}

func newHouse(ctx context.Context, o options) (*house, error) {
	dir, err := os.MkdirTemp("", "brood-bench-")
	if err != nil {
		return nil, err
	}
	h := &house{options: o, dir: dir, notes: map[string]string{}, served: map[string][]served{}}
	// brood comes first: the ready-made list is a copy of its answer.
	for _, open := range []func(context.Context) error{h.openBrood, h.openReadyMade, h.openSupervisord, h.openHAProxy, h.openS6} {
		err := open(ctx)
		var missing *missingError
		if errors.As(err, &missing) {
			h.notes[missing.what] = "left out: not installed"
			fmt.Fprintln(h.log, missing)
			continue
		}
		if err != nil {
			h.close()
			return nil, err
		}
	}
	return h, nil
}

func (h *house) close() {
	for i := len(h.ends) - 1; i >= 0; i-- {
		h.ends[i]()
	}
	os.RemoveAll(h.dir)
}

func (h *house) add(request, name string, dial func() (session, error)) {
	h.served[request] = append(h.served[request], served{name: name, dial: dial})
}

// missingError: what a peer needs is not installed.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what + " is left out: it is not installed" }

// start starts a server, whose output goes to a file, and ends it at close: by
// SIGTERM, and after ten seconds at once.
func (h *house) start(program string, args ...string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return &missingError{filepath.Base(program)}
	}
	log, err := os.Create(filepath.Join(h.dir, filepath.Base(program)+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, h.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	h.ends = append(h.ends, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	})
	return nil
}

// await tries until something works.
func (h *house) await(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// once asks one question.
func once(dial func() (session, error)) error {
	s, err := dial()
	if err != nil {
		return err
	}
	defer s.Close()
	return s.ask()
}

func (h *house) openBrood(ctx context.Context) error {
	h.brood = filepath.Join(h.dir, "brood")
	build := exec.Command("go", "build", "-C", "..", "-trimpath", "-ldflags=-s -w", "-o", h.brood, "./cmd/brood") // as packaging/build
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("brood: %w\n%s", err, text)
	}
	socket := filepath.Join(h.dir, "brood.sock")
	if err := h.start(h.brood, "run", "-n", fmt.Sprint(workers), "--name", "web", "--socket", socket, "--", h.brood, "demo-worker"); err != nil {
		return err
	}
	all := fmt.Sprintf("/v1/health?min_ready=%d", workers)
	if err := h.await(ctx, "brood", func() error { return once(dialHTTP(socket, "GET", all, "", "")) }); err != nil {
		return err
	}
	h.add(listRequest, "brood `GET /v1/workers`", dialHTTP(socket, "GET", "/v1/workers", "", ""))
	h.add(commandRequest, "brood, HTTP", dialHTTP(socket, "POST", "/v1/workers/web/1/commands/echo", "text/plain", "hi"))
	h.add(commandRequest, "brood, line protocol with `prompt`", dialPrompt(socket, "@web/1 echo hi", "\n> "))
	h.add(commandRequest, "brood, line protocol, a connection each", dialOnce(socket, "@web/1 echo hi"))
	h.add(commandRequest, "brood, a goroutine a command, HTTP", dialHTTP(socket, "POST", "/v1/workers/web/1/commands/pid", "text/plain", "hi"))
	h.add(commandRequest, "brood, a goroutine a command, `prompt`", dialPrompt(socket, "@web/1 pid", "\n> "))
	h.add(healthRequest, "brood `GET /v1/health`", dialHTTP(socket, "GET", "/v1/health", "", ""))
	return nil
}

// openReadyMade serves brood's answer from memory with bare net/http, in a
// process of its own.
func (h *house) openReadyMade(ctx context.Context) error {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(h.dir, "brood.sock"))
	}}}
	resp, err := client.Get("http://brood/v1/workers")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	list := filepath.Join(h.dir, "list.json")
	if err := os.WriteFile(list, body, 0o644); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	socket := filepath.Join(h.dir, "ready-made.sock")
	if err := h.start(self, "ready-made", socket, list); err != nil {
		return err
	}
	dial := dialHTTP(socket, "GET", "/", "", "")
	h.add(listRequest, "bare net/http, the same bytes ready-made", dial)
	return h.await(ctx, "net/http", func() error { return once(dial) })
}

func serveReadyMade(socket, list string) error {
	body, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	}))
}

func (h *house) openSupervisord(ctx context.Context) error {
	socket, config := filepath.Join(h.dir, "supervisor.sock"), filepath.Join(h.dir, "supervisord.conf")
	text := fmt.Sprintf(`[supervisord]
nodaemon=true
logfile=%[1]s/supervisord.out
pidfile=%[1]s/supervisord.pid
childlogdir=%[1]s
user=%[4]s
[unix_http_server]
file=%[2]s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%[2]s
[program:web]
command=sleep infinity
process_name=%%(process_num)03d
numprocs=%[3]d
startsecs=0
stdout_logfile=NONE
stderr_logfile=NONE
`, h.dir, socket, workers, userName())
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	if err := h.start("supervisord", "-c", config); err != nil {
		return err
	}
	h.sup = config
	h.notes["supervisord"] = output("supervisord", "--version")
	const call = `<?xml version="1.0"?><methodCall><methodName>supervisor.getAllProcessInfo</methodName><params></params></methodCall>`
	dial := dialHTTP(socket, "POST", "/RPC2", "text/xml", call)
	h.add(listRequest, "supervisord `getAllProcessInfo`", dial)
	return h.await(ctx, "supervisord", func() error { return once(dial) })
}

func userName() string {
	if name := os.Getenv("USER"); name != "" {
		return name
	}
	return "root"
}

// openHAProxy is master and worker; the master's command line reaches both.
func (h *house) openHAProxy(ctx context.Context) error {
	socket, config := filepath.Join(h.dir, "haproxy.sock"), filepath.Join(h.dir, "haproxy.cfg")
	text := fmt.Sprintf(`global
  nbthread 1
  stats socket %s/stats.sock level admin
defaults
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend web
  bind unix@%[1]s/web.sock
`, h.dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	if err := h.start("haproxy", "-W", "-S", socket, "-f", config); err != nil {
		return err
	}
	h.notes["HAProxy"] = "unknown version"
	if words := strings.Fields(output("haproxy", "-v")); len(words) > 2 { // HAProxy version 2.6.12-… date
		h.notes["HAProxy"] = words[2]
	}
	const most = 10 // the master's command line takes no more
	h.served[listRequest] = append(h.served[listRequest],
		served{"HAProxy `show proc`, `prompt` (10 clients at most)", dialPrompt(socket, "show proc", "> "), most})
	h.served[commandRequest] = append(h.served[commandRequest],
		served{"HAProxy `@1 show info`, `prompt` (10 clients at most)", dialPrompt(socket, "@1 show info", "> "), most},
		served{"HAProxy `@1 show info`, a connection each (10 clients at most)", dialOnce(socket, "@1 show info"), most})
	return h.await(ctx, "haproxy", func() error { return once(dialOnce(socket, "show proc")) })
}

// openS6 is one service, for s6-svstat to look at.
func (h *house) openS6(ctx context.Context) error {
	dir := filepath.Join(h.dir, "service")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\nexec sleep infinity\n"), 0o755); err != nil {
		return err
	}
	if err := h.start("s6-supervise", dir); err != nil {
		return err
	}
	h.s6 = dir
	return h.await(ctx, "s6-supervise", func() error { return exec.Command("s6-svstat", dir).Run() })
}

func output(program string, args ...string) string {
	text, err := exec.Command(program, args...).Output()
	if err != nil {
		return "unknown version"
	}
	return strings.TrimSpace(string(text))
}
