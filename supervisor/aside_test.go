package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/ipc"
)

// plainWith is a plain worker with commands that are mapped.
func plainWith(t *testing.T, commands map[string]Command) *Supervisor {
	s := run(t, Config{Pools: []Pool{{
		Name: "plain", Command: []string{"sh", "-c", `trap 'echo hup >"$OUT"' USR1; while :; do sleep 1000 & wait $!; done`},
		Env: map[string]string{"OUT": filepath.Join(t.TempDir(), "out")}, Commands: commands,
	}}})
	await(t, s, "all ready", allReady)
	return s
}

// TestMappedCommands: a plain worker takes commands that the configuration maps
// to a program, whose words, payload, answer and failure are the command's.
func TestMappedCommands(t *testing.T) {
	s := plainWith(t, map[string]Command{
		"words": {Exec: []string{"sh", "-c", `echo "$BROOD_WORKER of $BROOD_POOL: $*"; kill -0 "$BROOD_PID"`, "words"}},
		"input": {Exec: []string{"sh", "-c", `cat; echo "."`}},
		"fail":  {Exec: []string{"sh", "-c", "echo no paper >&2; exit 3"}},
		"hang":  {Exec: []string{"sh", "-c", "sleep 1000 & sleep 1000"}},
		"gone":  {Exec: []string{"no-such-program"}},
		"flood": {Exec: []string{"sh", "-c", "head -c 8000000 /dev/zero"}},
		"hold":  {Exec: []string{"sh", "-c", "setsid sleep 1000 & echo held"}},
	})
	for _, c := range []struct {
		command string
		m       ipc.Message
		want    string // the answer, or a part of the error
		code    error
		started ipc.Started
	}{
		{"words", ipc.Args("a", "b c"), "plain/1 of plain: a b c", nil, 0},
		{"input", ipc.Text("some text"), "some text.", nil, 0},
		{"fail", ipc.Args(), "no paper", ipc.ErrFailed, ipc.StartedYes},
		{"hang", ipc.Args(), "killed", ipc.ErrTimeout, ipc.StartedYes},
		{"gone", ipc.Args(), "no-such-program", ipc.ErrFailed, ipc.StartedNo},
		{"hold", ipc.Args(), "held", nil, 0},
		{"unmapped", ipc.Args(), "plain worker", ipc.ErrUnknownCommand, ipc.StartedNo},
	} {
		limit := time.Minute
		if c.code == ipc.ErrTimeout {
			limit = 300 * time.Millisecond
		}
		r, err := s.Call(within(t, limit), Target{Pool: "plain", Slot: 1}, c.command, c.m)
		if c.code == nil {
			if err != nil || string(r.Payload) != c.want {
				t.Errorf("%s: got %q, %v", c.command, r.Payload, err)
			}
			continue
		}
		var ce *ipc.CallError
		if !errors.As(err, &ce) || !errors.Is(err, c.code) || ce.Started != c.started || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %v", c.command, err, c.code)
		}
	}
	r, err := s.Call(within(t, time.Minute), Target{Pool: "plain", Slot: 1}, "flood", ipc.Args())
	if err != nil || len(r.Payload) != maxAside {
		t.Errorf("flood: %d bytes, %v", len(r.Payload), err)
	}
}

// TestMappedSignal reaches the worker itself.
func TestMappedSignal(t *testing.T) {
	s := plainWith(t, map[string]Command{"reopen": {Signal: syscall.SIGUSR1}})
	r, err := s.Call(within(t, time.Minute), Target{Pool: "plain"}, "reopen", ipc.Args())
	if err != nil || string(r.Payload) != "SIGUSR1 sent" {
		t.Fatalf("%q, %v", r.Payload, err)
	}
	out := s.cfg.Pools[0].Env["OUT"]
	for end := time.Now().Add(time.Minute); ; {
		if b, err := os.ReadFile(out); err == nil && string(b) == "hup\n" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the worker has not had the signal")
		}
	}
}

// TestReadyByEachKind: a worker is ready when its check says so, and no sooner.
func TestReadyByEachKind(t *testing.T) {
	dir := t.TempDir()
	flag, socket := filepath.Join(dir, "flag"), filepath.Join(dir, "s")
	for name, c := range map[string]struct {
		ready  Ready
		script string
	}{
		"log":  {Ready{When: ReadyLog, Log: "^listening on [0-9]+$"}, "echo starting; echo listening on 80; exec sleep 1000"},
		"exec": {Ready{When: ReadyExec, Exec: []string{"test", "-e", flag}}, "touch " + flag + "; exec sleep 1000"},
		"tcp": {Ready{When: ReadyTCP, TCP: "unix:" + socket}, `exec python3 -c 'import socket, time
s = socket.socket(socket.AF_UNIX); s.bind("` + socket + `"); s.listen(); time.sleep(1000)'`},
		"http": {Ready{When: ReadyHTTP, HTTP: "unix:" + socket + "h:/healthz"}, `exec python3 -c 'import socket
s = socket.socket(socket.AF_UNIX); s.bind("` + socket + `h"); s.listen()
answers = [b"503 not yet", b"200 ok"]
while True:
    c, _ = s.accept(); c.recv(4096); c.sendall(b"HTTP/1.1 " + answers[0] + b"\r\nContent-Length: 0\r\n\r\n"); c.close(); answers = answers[-1:]'`},
	} {
		t.Run(name, func(t *testing.T) {
			c.ready.Timeout = time.Minute
			s := run(t, Config{Pools: []Pool{{Name: "plain", Command: []string{"sh", "-c", c.script}, Ready: c.ready}}})
			await(t, s, "ready", allReady)
		})
	}
	t.Run("never", func(t *testing.T) {
		s := run(t, Config{Log: discard(), Pools: []Pool{{
			Name: "plain", Command: []string{"sleep", "1000"}, Ready: Ready{When: ReadyExec, Exec: []string{"false"}, Timeout: 100 * time.Millisecond},
		}}})
		await(t, s, "it to be replaced", func(st Status) bool { return st.Pools[0].Slots[0].Generation > 1 })
	})
}

// While a hold is on no program is begun beside a worker, and nobody waits for
// longer than he wants.
func TestAsidesHold(t *testing.T) {
	var a asides
	a.hold()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.enter(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	entered := make(chan error, 1)
	go func() { entered <- a.enter(t.Context()) }()
	select {
	case err := <-entered:
		t.Fatalf("one is let in: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	a.release()
	if err := <-entered; err != nil || a.underWay() != 1 {
		t.Error(err, a.underWay())
	}
	a.leave()
	a.end()
	if err := a.enter(t.Context()); !errors.Is(err, ErrStopping) {
		t.Error(err)
	}
}
