package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// lineTo is a bare connection that speaks lines.
func lineTo(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second))
	return c
}

// line says text and returns the whole answer.
func (h *here) line(text string) string {
	h.t.Helper()
	c := lineTo(h.t, h.path)
	defer c.Close()
	go func() {
		io.WriteString(c, text)
		c.CloseWrite()
	}()
	b, err := io.ReadAll(c)
	if err != nil {
		h.t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// TestLinePieces: an answer in pieces is printed as it comes; with json each piece
// is a line, and the last has the outcome.
func TestLinePieces(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 2))
	for text, want := range map[string]string{
		"@web/2 pieces\n": "text{\"a\":[1]}\n\xff\x00end\n",
		"@web/2 half\n":   "half\nerror: error: as asked\n",
		"json @web/2 pieces\n": `{"worker":"web/2#1","codec":"text","data":"text"}
{"worker":"web/2#1","codec":"json","data":{"a":[1]}}
{"worker":"web/2#1","codec":"bytes","data":"/wA="}
{"worker":"web/2#1","name":"progress","codec":"json","data":{"done":1,"total":2,"text":"half"}}
{"outcome":"ok","worker":"web/2#1","codec":"text","result":"end"}
`,
	} {
		if got := h.line(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := h.line("json @web/2 half; @web/1 echo after\n"); !regexp.MustCompile(`^\{"worker".*"data":"half"\}\n\{"outcome":"error",.*\}\n\n\["after"\]\n$`).MatchString(got) {
		t.Errorf("got %q", got)
	}
}

// TestLinePour: a client that does not read holds its own answer back, and one
// that hangs up in the middle ends it.
func TestLinePour(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	c := lineTo(t, h.path)
	io.WriteString(c, "timeout 1h @web/1 pour\n")
	if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if got := h.line("@web/1 echo beside; health\n"); !strings.HasPrefix(got, "[\"beside\"]\n\nok:") {
		t.Errorf("beside it: %q", got)
	}
	c.Close()
	until(t, "the worker to be told", func() bool { return strings.HasPrefix(h.line("logs web/1\n"), "poured ") })
	if n := h.server.house.guestsNow(); n > 1 {
		t.Errorf("%d connections are left", n)
	}
}

// TestLineFollow: events and logs, what there is, and what comes.
func TestLineFollow(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 2))
	if got := h.line("events\n"); !regexp.MustCompile(`^1 20\S+Z web/[12]#1 state starting`).MatchString(got) || strings.Count(got, "\n") != 4 {
		t.Errorf("events: %q", got)
	}
	if got := h.line("events 2 web/1\n"); strings.Contains(got, "web/2") || strings.HasPrefix(got, "1 ") {
		t.Errorf("events of one: %q", got)
	}
	for text, want := range map[string]string{
		"events nosuch\n": "error: not_found: ", "events a b\n": "error: bad_request: write: events", "events 99999999999999999999\n": "error: bad_request: ",
		"logs web/9\n": "error: not_found: ", "logs web 99999999999999999999\n": "error: bad_request: ", "logs 1 2 3\n": "error: bad_request: write: logs",
		"upgrade\n": "error: conflict: ", "json events\n": `{"outcome":"ok","result":{"events":[{"seq":1,`, "logs web/9 follow\n": "error: not_found: ",
	} {
		if got := h.line(text); !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	events, logs, all := lineTo(t, h.path), lineTo(t, h.path), lineTo(t, h.path)
	io.WriteString(events, "json events follow\n")
	io.WriteString(logs, "logs web/1 5 follow\n") // the line comes before it follows, or after
	io.WriteString(all, "json logs follow\n")
	all.CloseWrite() // which is no reason to end
	if got := h.line("@web/1 print hello; restart web/1 wait\n"); !strings.Contains(got, "web/1#2 done: ready") {
		t.Fatalf("restart: %q", got)
	}
	scan(t, events, "the new one", func(line string) bool { return strings.Contains(line, `"generation":2,"kind":"state","text":"ready`) })
	scan(t, logs, "the line", func(line string) bool { return line == `["hello"]` })
	scan(t, all, "the line as JSON", func(line string) bool {
		return strings.Contains(line, `"target":"web/1","generation":1,"stream":"stdout","text":"[\"hello\"]"`)
	})
	if got := h.line("logs; logs web/1 1; json logs web/1\n"); !regexp.MustCompile(`^web/1 \| \["hello"\]\n\n\["hello"\]\n\n\{"outcome":"ok","result":\{"lines":\[\{"at":.*\}\]\}\}\n$`).MatchString(got) {
		t.Errorf("logs: %q", got)
	}
	for _, c := range []*net.UnixConn{events, logs, all} {
		c.Close()
	}
	until(t, "the followers to go", func() bool { return h.server.house.guestsNow() == 0 })

	events = lineTo(t, h.path)
	io.WriteString(events, "json events follow\n")
	r := bufio.NewReader(events)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	events.CloseWrite()
	h.sup.Shutdown(false)
	rest, err := io.ReadAll(r)
	if lines := strings.Split(strings.TrimSpace(string(rest)), "\n"); err != nil || lines[len(lines)-1] != `{"outcome":"ok","result":"there is no more"}` {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

// TestLineFollowerHangsUp: followers who go are noticed though nothing happens.
func TestLineFollowerHangsUp(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	for range 20 {
		c := lineTo(t, h.path)
		io.WriteString(c, "events follow\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	until(t, "nobody is there", func() bool { return h.server.house.guestsNow() == 0 })
}

// TestCloseEndsEveryTongue: Close waits for answers, not for who is idle or does
// not end.
func TestCloseEndsEveryTongue(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	idle, half, hanging, web := lineTo(t, h.path), lineTo(t, h.path), lineTo(t, h.path), lineTo(t, h.path)
	io.WriteString(half, "heal")
	io.WriteString(hanging, "timeout 1h @web/1 hang\n")
	io.WriteString(web, "POST /v1/workers/web/1/commands/hang?timeout=1h HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n")
	until(t, "both hang", func() bool { return strings.Count(h.line("logs web/1\n"), "hanging") == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	h.server.Close(ctx)
	for _, c := range []*net.UnixConn{idle, half, hanging, web} {
		if _, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("not hung up on: %v", err)
		}
	}
	if n := h.server.house.guestsNow(); n != 0 {
		t.Errorf("%d are left", n)
	}
	until(t, "both are canceled", func() bool {
		lines, err := h.sup.Logs(mustTarget(t, "web/1"), 10)
		n := 0
		for _, l := range lines {
			if l.Text == "canceled" {
				n++
			}
		}
		return err == nil && n == 2
	})
}

// TestLineJSONProblem: what is said of a problem over HTTP is said here.
func TestLineJSONProblem(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	_, body := h.ask("POST", "/v1/workers/web/1/commands/fail", "")
	var over, line map[string]any
	if err := json.Unmarshal([]byte(body), &over); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(h.line("json @web/1 fail\n")), &line); err != nil {
		t.Fatal(err)
	}
	for k, v := range over {
		if line[k] != v {
			t.Errorf("%s: %v over HTTP, %v here", k, v, line[k])
		}
	}
	if line["outcome"] != line["code"] {
		t.Errorf("%v", line)
	}
}

func mustTarget(t testing.TB, text string) supervisor.Target {
	t.Helper()
	target, err := supervisor.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// TestLineEmptyWord: a word may be empty, and is then a command that is not there.
// Indexed into, it once ended the supervisor, whoever sent it.
func TestLineEmptyWord(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	for _, text := range []string{"''\n", `""` + "\n", "help ''\n", "'' ''\n", "json ''\n", "@web/1 ''\n"} {
		if got := h.line(text); !strings.Contains(got, "not_found") && !strings.Contains(got, "bad_request") {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

// TestLineFault: a fault in a command ends the connection that met with it, and
// not the supervisor.
func TestLineFault(t *testing.T) {
	c := &lineConn{lineState: lineState{s: &Server{cfg: Config{Log: hclog.NewNullLogger()}}}} // nothing that a command needs
	v, err := c.answer(&lineRequest{lineCommand: lineCommand{Words: []string{"status"}}})
	var f *failure
	if v != nil || !errors.As(err, &f) || f.Code != api.CodeInternal || !c.quit {
		t.Errorf("got %v, %v, quit %v", v, err, c.quit)
	}
}
