package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/control/client"
)

// dial is a bare connection to a socket.
func dial(t testing.TB, socket string) *net.UnixConn {
	t.Helper()
	c, err := connect(socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return c.(*net.UnixConn)
}

// connect is net.Dial for a socket whose queue may be full: it waits for its place in
// connect(2). begun, where it is not nil, is told once that has been tried.
func connect(socket string, begun chan<- struct{}) (net.Conn, error) {
	c, err := net.Dial("unix", socket) // which does not wait
	if begun != nil {
		begun <- struct{}{}
	}
	if !errors.Is(err, syscall.EAGAIN) {
		return c, err
	}
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	waiting := os.NewFile(uintptr(fd), "waiting")
	defer waiting.Close() // FileConn has its own
	// The deadline of a blocking connect(2) is that of sending, socket(7).
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 60}); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	}
	if err != nil {
		return nil, fmt.Errorf("no place in the queue of %s: %w", socket, os.NewSyscallError("connect", err))
	}
	return net.FileConn(waiting)
}

// say sends text, shuts the sending half down, and returns all that comes back.
func say(t testing.TB, socket, text string) string {
	t.Helper()
	c := dial(t, socket)
	defer c.Close()
	go func() { // a client that only writes would be waited for, and then cut off
		io.WriteString(c, text)
		c.CloseWrite()
	}()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// ended reads c until the other end hangs up, which it must.
func ended(t testing.TB, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatalf("not hung up on after %q", b)
	}
	return string(b)
}

// TestLineCommands: each command, and what it prints.
func TestLineCommands(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	for _, tt := range []struct{ line, want string }{
		{"@web/2 echo hello world", `^hello world\n$`},
		{"@1 echo 1", `^1\n$`},
		{"@web echo any", `^any\n$`},
		{"@web/2#1 echo x", `^x\n$`},
		{"@web/* pid", `^web/1#1: \d+\nweb/2#1: \d+\n$`},
		{"@* echo a\\nb", `^web/1#1: a\nweb/1#1: b\nweb/2#1: a\nweb/2#1: b\n$`},
		{`@1 echo a\;b 'c  d' "e\n"`, `^a;b c  d e\n$`},
		{"@1 echo ''", `^\n$`},
		{"@1 stats", `^\{"calls":\d+,.*\}\n$`},
		{"@1 fail no paper", `^error: error: no paper\n$`},
		{"@1 ..", `^error: bad_request: "\.\." is no name of a command, .*\n$`},
		{"@1 'a b'", `^error: bad_request: "a b" is no name of a command, .*\n$`},
		{"@1 a/b", `^error: not_found: .*no command "a/b"; it has echo.*\n$`},
		{"@1 nosuch", `^error: not_found: .*it has echo.*\n$`},
		{"timeout 50ms @1 sleep 1h", `^error: timeout: .*\n$`},
		{"@web/9 echo", `^error: not_found: .*slots 1 to 2.*\n$`},
		{"@db echo", `^error: not_found: .*the pools are web\n$`},
		{"@web/2#7 echo", `^error: stale: .*\n$`},
		{"@@ echo", `^error: bad_request: .*\n$`},
		{"@web/2", `^error: bad_request: what is @web/2 to do.*\n$`},
		{"health", `^ok: web 2/2 ready\n$`},
		{"health web/2", `^ok: .*\n$`},
		{"health ''", `^error: bad_request: bad target "": it is empty.*\n$`},
		{"health nosuch", `^error: not_found: .*\n$`},
		{"status", `^brood [^\n]+, pid \d+, up \S+, ok\n# pool +health .*\nweb +ok +2 +2 +1 +0\n# worker +state .*\nweb/1#1 +ready +\d+ .*\nweb/2#1 .*\n$`},
		{"show pools", `^# pool .*\nweb .*\n$`},
		{"show workers", `^# worker .*\nweb/1#1 .*\nweb/2#1 .*\n$`},
		{"show workers web/2", `^# worker .*\nweb/2#1 .*\n$`},
		{"show worker web/2", `^target: web/2\ngeneration: 1\nstate: ready\n(?s:.*)\ncommand: echo .*\n`},
		{"show worker web", `^error: bad_request: web is no worker`},
		{"ping web/2", `^web/2#1 \d+us, 0 busy\n$`},
		{"whoami", `^uid \d+, user \S+, gid \d+, pid \d+, role admin: .*\n$`},
		{"version", `^brood .*, worker protocol 1 to 1, go.*\n$`},
		{"help", `^@TARGET (?s:.*)\nquit `},
		{"help restart", `^restart TARGET \[wait \[TIME\]\]: .*; needs the role operator\n$`},
		{"help resart", `^error: not_found: .*did you mean restart\?\n$`},
		{"resart web", `^error: not_found: there is no command "resart"; did you mean restart\?\n$`},
		{"show wokers", `^error: not_found: .*did you mean show workers\?\n$`},
		{"show", `^error: bad_request: show what\? write: show pools, or show workers \[TARGET\], or show worker TARGET\n$`},
		{"timeout", `^error: bad_request: timeout goes before a command`},
		{"xyzzy", `^error: not_found: .*; help lists them`},
		{"restart", `^error: bad_request: write: restart TARGET`},
		{"scale web none", `^error: bad_request: .*1 or more`},
		{"reload", `^error: conflict: .*no configuration file`},
		{"stop web/1 wait", `^web/1#1 done: stopped\n$`},
		{"start web/1 wait 30s", `^web/1#2 done: ready, pid \d+\n$`},
		{"restart web/2 wait", `^web/2#2 done: ready, pid \d+\n$`},
		// What is not waited for may be done by the time of the answer, and of the next line.
		{"restart web/2", `^web/2#[23] (accepted: \w+(, pid \d+)? \(.+\)|done: ready, pid \d+)\n$`},
		{"start web/2 wait", `^web/2#[23] (done: ready, pid \d+|unchanged: ready, pid \d+ \(it is up\))\n$`},
		{"events web/1", ` web/1#1 exit code 0 after [^\n]+\n\d+ [^\n]* web/1#1 state stopped`},
		{"scale web 3 wait", `^(.*\n)*web/3#1 done: ready, pid \d+\n$`},
		{"restart web wait never", `^error: bad_request: wait never`},
		{`status; echo \q`, `^error: bad_request: there is no escape`},
		{"", `^$`},
		{"# nothing; restart web", `^$`},
		{"quit; @1 echo never", `^$`},
		{"version; quit", `^brood .*\n$`},
		{"@1 echo a; @1 echo b;;@1 echo c", `^a\n\nb\n\nc\n$`},
		{"@1 echo a\n\n@1 echo b\r\n", `^a\n\nb\n$`},
		{"nosuch; @1 echo goes on", `^error: not_found: .*\n\ngoes on\n$`},
		{"json @1 echo a", `^\{"outcome":"ok","worker":"web/1#2","codec":"text","result":"a"\}\n$`},
		{"json @1 stats", `^\{"outcome":"ok","worker":"web/1#2","codec":"json","result":\{"calls":.*\}\}\n$`},
		{"json @1 fail", `^\{"outcome":"error",.*"code":"error".*\}\n$`},
		{"json nosuch", `^\{"outcome":"not_found",.*"status":404.*\}\n$`},
		{`json \q`, `^\{"outcome":"bad_request",.*\}\n$`},
		{"json health; json version", `^\{"outcome":"ok","result":\{"health":"ok".*\}\}\n\n\{"outcome":"ok",.*\}\n$`},
		{"prompt\nversion\n\nhelth\nprompt\nversion", `^\n> brood .*\n\n> > error: not_found: .*\n\n> \nbrood .*\n$`},
	} {
		t.Run(tt.line, func(t *testing.T) {
			if got := say(t, s.socket, tt.line+"\n"); !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLineAnswersInOrder: of a thousand commands in one go each is answered, in
// order, and the end comes after the last answer.
func TestLineAnswersInOrder(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	var ask, want strings.Builder
	for i := range 1000 {
		word := strings.Repeat("x", i)
		ask.WriteString("@1 echo " + word + "\n")
		if i > 0 {
			want.WriteString("\n")
		}
		want.WriteString(word + "\n")
	}
	if got := say(t, s.socket, ask.String()); got != want.String() {
		t.Errorf("got %d bytes, want %d", len(got), want.Len())
	}
	if got := say(t, s.socket, "timeout 5s @1 sleep 50ms; @2 echo after"); !strings.HasPrefix(got, "error: bad_request: the last line has no end") {
		t.Errorf("a line without an end: %q", got)
	}
}

// TestLineHangup: whoever closes both ways cancels the command; who has shut down
// the sending half still gets the answer.
func TestLineHangup(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	c := client.New(s.socket)
	defer c.Close()
	inflight := func(want int) {
		t.Helper()
		until(t, fmt.Sprintf("%d commands are open", want), func() bool {
			w, err := c.Worker(t.Context(), "web/1")
			if err != nil {
				t.Fatal(err)
			}
			return w.Inflight == want
		})
	}
	for _, how := range []string{"close", "half, then close", "unread input", "shutdown both"} {
		t.Run(how, func(t *testing.T) {
			conn := dial(t, s.socket)
			io.WriteString(conn, "timeout 1h @web/1 sleep 1h\n")
			inflight(1)
			switch how {
			case "half, then close":
				conn.CloseWrite()
				inflight(1)
			case "unread input":
				io.WriteString(conn, "version\nver")
			case "shutdown both":
				conn.CloseWrite()
				conn.CloseRead()
				inflight(0)
			}
			conn.Close()
			inflight(0)
		})
	}
	if got := say(t, s.socket, "@web/1 sleep 300ms\n"); got != "slept 300ms\n" {
		t.Errorf("half-closed: %q", got)
	}
}

// TestLineRights: the roles of HTTP, and its audit.
func TestLineRights(t *testing.T) {
	needRoot(t)
	need(t, "socat")
	s := serve(t, "-n", "1", "--name", "web", "--mode", "0666", "--", "echo-worker")
	for line, want := range map[string]string{
		"health":           "ok: ",
		"whoami":           "role viewer",
		"@web echo x":      "error: denied: command (web echo) needs the role operator",
		"stop web":         "error: denied: stop (web) needs the role operator",
		"shutdown":         "error: denied: shutdown needs the role admin",
		"json @web echo x": `{"outcome":"denied",`,
	} {
		r := asOther(t, s.socket, "echo '"+line+`' | socat -t 30 - "UNIX:$BROOD_SOCKET"`)
		wantIn(t, line, r.stdout, want)
	}
	say(t, s.socket, "@web echo x; restart web\n")
	until(t, "the last audit line is there", func() bool { return strings.Contains(s.log.String(), "verb=restart") })
	wantIn(t, "audit of a denial", s.log.String(), `role=viewer verb=stop target="web" outcome="denied"`)
	wantIn(t, "audit of a command", s.log.String(), `role=admin verb=command target="web echo" outcome="ok"`)
	wantIn(t, "audit of an order", s.log.String(), `role=admin verb=restart target="web" outcome="ok"`)
}

// TestLineJSONIsLines: whatever is asked with "json" comes as one line of JSON.
func TestLineJSONIsLines(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	for _, line := range []string{
		"status", "health", "show pools", "show workers", "show worker web/1", "ping web/1", "whoami", "version", "help", "@1 echo a\\nb", "@* echo x",
		"@1 fail", "nosuch", "restart web/1 wait", "scale web 2 wait", "reload",
	} {
		got := say(t, s.socket, "json "+line+"\n")
		var v struct {
			Outcome string          `json:"outcome"`
			Code    string          `json:"code"`
			Result  json.RawMessage `json:"result"`
		}
		if err := json.Unmarshal([]byte(got), &v); err != nil || strings.Count(got, "\n") != 1 || v.Outcome == "" || (v.Outcome == "ok") != (v.Code == "") {
			t.Errorf("%s: %q: %v", line, got, err)
		}
	}
}

// TestLineSocat: what the manual says to type.
func TestLineSocat(t *testing.T) {
	need(t, "socat")
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	r := runCmd(t, s.socket, exec.Command("sh", "-c", `echo "@web/2 echo hello; health" | socat -t 30 - "UNIX:$BROOD_SOCKET"`))
	if r.stdout != "hello\n\nok: web 2/2 ready\n" {
		t.Error(r)
	}
}
