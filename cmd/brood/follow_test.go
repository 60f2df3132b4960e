package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor/control/api"
)

// follower is a command that goes on, and what it has printed so far.
type follower struct {
	t     *testing.T
	lines chan string
	said  *logFile // standard error
}

func follow(t *testing.T, socket, line string) *follower {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Env = append(os.Environ(), "BROOD_SOCKET="+socket, "NO_COLOR=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{t, make(chan string, 1000), &logFile{filepath.Join(t.TempDir(), "stderr")}}
	errs, err := os.Create(f.said.path)
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			f.lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGINT)
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: interrupted, it ended with %v: %v", line, err, f.said)
		}
	})
	return f
}

// next is the next line.
func (f *follower) next() string {
	f.t.Helper()
	select {
	case line := <-f.lines:
		return line
	case <-time.After(30 * time.Second):
		f.t.Fatalf("no line comes any more; standard error: %v", f.said)
	}
	return ""
}

// await reads on until a line has all of want in it.
func (f *follower) await(want ...string) string {
	f.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case line := <-f.lines:
			all := true
			for _, w := range want {
				all = all && strings.Contains(line, w)
			}
			if all {
				return line
			}
		case <-timeout:
			f.t.Fatalf("no line with %q; standard error: %v", want, f.said)
		}
	}
}

// TestFollow: logs and events go on over a supervisor that is killed and one
// that takes its place, and Ctrl-C is how they end.
func TestFollow(t *testing.T) {
	args := []string{"-n", "2", "--name", "web", "--log-level", "error", "--", "sh", "-c",
		`echo "$BROOD_WORKER is up"; echo "and complains" >&2; exec echo-worker`}
	s := serve(t, args...)
	logs := follow(t, s.socket, "brood logs -f web")
	jsonLogs := follow(t, s.socket, "brood logs -f -o json web/2")
	events := follow(t, s.socket, "brood events -f -o json")
	text := follow(t, s.socket, "brood events -f web/1")
	logs.await("web/1 | web/1 is up")
	logs.await("and complains")
	var line api.LogLine
	if err := json.Unmarshal([]byte(jsonLogs.await("is up")), &line); err != nil || line.Target != "web/2" || line.Stream != "stdout" || line.Generation != 1 {
		t.Errorf("%+v, %v", line, err)
	}
	var event api.Event
	if err := json.Unmarshal([]byte(events.await("web/1", "ready")), &event); err != nil || event.Seq == 0 || event.Kind != "state" {
		t.Errorf("%+v, %v", event, err)
	}
	text.await("web/1#1 state ready")
	if r := shell(t, s.socket, "kill -9 $(brood send web/1 pid)"); r.code != 0 {
		t.Fatal(r)
	}
	text.await("web/1#1 ", "SIGKILL")
	logs.await("web/1 | web/1 is up") // of the second generation

	s.stop(syscall.SIGKILL)
	next := serveOn(t, s.socket, args...)
	next.awaitHealthy()
	logs.await("web/2 | web/2 is up")
	jsonLogs.await(`"generation":1`, "is up")
	text.await("web/1#1 state ready")
	events.await(`"web/2"`, "ready")
	wantIn(t, "what it says of the gap", text.said.String(), "a supervisor is there again")
}

// TestLogsAndEvents: what is kept, as text and as JSON.
func TestLogsAndEvents(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "sh", "-c",
		`for i in 1 2 3 4 5; do echo "line $i"; done; printf 'a\033[2Jb\n'; exec echo-worker`)
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"brood logs -n 2 web/1", exitDone, "web/1 | line 5\nweb/1 | a\\x1b[2Jb\n"},
		{"brood logs web/1 | head -1", exitDone, "web/1 | line 1\n"},
		{"brood logs -o json -n 1 web/2", exitDone, `"target":"web/2"`},
		{"brood logs --color always -n 1 web/2", exitDone, "\x1b["},
		{"brood logs web/9", exitNotFound, "slots 1 to 2"},
		{"brood logs -n x", exitUsage, "-n"},
		{"brood events web/1", exitDone, "web/1#1 state ready"},
		{"brood events --since 0 -o json | head -1", exitDone, `"seq":1`},
		{"brood events -n 1 -o json", exitDone, `"kind":"state"`},
		{"brood events --since=-1", exitUsage, "number of an event"},
		{"brood --socket /no/such/socket events -f", exitNoSupervisor, "brood run"},
		{"brood --socket /no/such/socket logs -f", exitNoSupervisor, "brood run"},
	} {
		if r := shell(t, s.socket, tt.line); r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
			t.Errorf("%s: want exit %d and %q, got %v", tt.line, tt.code, tt.want, r)
		}
	}
}

// TestMissedEvents: what is no longer kept is told, before the events and between
// them, as text and as JSON.
func TestMissedEvents(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(socketDir(t), "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	pages := http.NewServeMux()
	pages.HandleFunc("/v1/status", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"started":"then"}`) })
	pages.HandleFunc("/v1/events", func(w http.ResponseWriter, r *http.Request) {
		const event = `{"seq":%d,"target":"web/1","generation":1,"kind":"gone","text":"number %[1]d"}`
		if r.Header.Get("Accept") != "text/event-stream" {
			fmt.Fprintf(w, `{"events":[`+event+`],"next":9,"missed":4}`, 9)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: missed\ndata: {\"missed\":3}\n\nid: 13\nevent: gone\ndata: "+event+"\n\n", 13)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	srv := &http.Server{Handler: pages}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-served })
	for line, want := range map[string][]string{
		"brood events -f --since 4 -o json": {`{"missed":4}`, `"seq":9,`, `{"missed":3}`, `"seq":13,`},
		"brood events -f --since 4":         {"… 4 events are no longer kept", "number 9", "… 3 events are no longer kept", "number 13"},
		"brood events -f":                   {"number 9", "… 3 events are no longer kept", "number 13"},
	} {
		f := follow(t, l.Addr().String(), line)
		for _, text := range want {
			wantIn(t, line, f.next(), text)
		}
	}
}
