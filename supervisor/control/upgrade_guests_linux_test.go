package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/brood/supervisor/control/api"
)

// voice is a connection to a throne, as a client has it.
type voice struct {
	t testing.TB
	*net.UnixConn
	in *bufio.Reader
}

func (th *throne) dial() *voice {
	th.t.Helper()
	c, err := net.Dial("unix", th.path)
	if err != nil {
		th.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	th.t.Cleanup(func() { c.Close() })
	return &voice{th.t, c.(*net.UnixConn), bufio.NewReader(c)}
}

func (v *voice) say(text string) {
	v.t.Helper()
	if _, err := io.WriteString(v, text); err != nil {
		v.t.Fatalf("%q: %v", text, err)
	}
}

// line is the next line, but for empty ones.
func (v *voice) line() string {
	v.t.Helper()
	for {
		line, err := v.in.ReadString('\n')
		if err != nil {
			v.t.Fatalf("after %q: %v", line, err)
		}
		if line != "\n" {
			return strings.TrimSuffix(line, "\n")
		}
	}
}

// answer is the next answer over HTTP.
func (v *voice) answer() (*http.Response, string) {
	v.t.Helper()
	resp, err := http.ReadResponse(v.in, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp, string(body)
}

func (v *voice) wantAnswer(want string) {
	v.t.Helper()
	if resp, body := v.answer(); resp.StatusCode != 200 || !strings.Contains(body, want) {
		v.t.Errorf("%s %s, want %s", resp.Status, body, want)
	}
}

func (v *voice) wantLine(want string) {
	v.t.Helper()
	if got := v.line(); !strings.Contains(got, want) {
		v.t.Errorf("%q, want %q", got, want)
	}
}

func (v *voice) wantEnd() {
	v.t.Helper()
	if rest, err := io.ReadAll(v.in); err != nil || len(rest) > 0 {
		v.t.Errorf("%q, %v, want the end", rest, err)
	}
}

// newHeir is a throne whose upgrades are those that are asked for on its socket.
func newHeir(t testing.TB) *throne {
	t.Helper()
	over := make(chan struct{})
	var at atomic.Pointer[throne]
	th := newThrone(t, Config{Upgrade: func(ctx context.Context) error {
		for {
			try, cancel := context.WithTimeout(ctx, time.Second)
			err := at.Load().upgrade(try)
			cancel()
			if err == nil {
				<-over // a program that is replaced never comes back
				return errors.New("the test is over")
			}
			if ctx.Err() != nil {
				return err
			}
		}
	}}, workers("web", 1))
	at.Store(th)
	t.Cleanup(func() { close(over) })
	return th
}

// TestUpgradeAnswersWhoAsked: the answer comes from the program that is there then,
// and what was said behind the request is done by it.
func TestUpgradeAnswersWhoAsked(t *testing.T) {
	const get = "GET /v1/version HTTP/1.1\r\nHost: b\r\n\r\n"
	post := func(header string) string { return "POST /v1/upgrade HTTP/1.1\r\nHost: b\r\n" + header + "\r\n" }
	for name, play := range map[string]func(v *voice){
		"over HTTP": func(v *voice) {
			v.say(post("Content-Length: 0\r\n"))
			resp, body := v.answer()
			var got api.Upgrade
			if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 200 {
				t.Fatal(resp.Status, body, err)
			}
			if got.Version != "v1" || got.Before != "v0" || got.PID == 0 {
				t.Errorf("%+v", got)
			}
			v.say(get)
			v.wantAnswer(`"version":"v1"`)
		},
		"over HTTP, with more behind it": func(v *voice) {
			v.say(post("") + get + get[:20])
			v.wantAnswer(`"before":"v0"`)
			v.wantAnswer(`"version":"v1"`)
			v.say(get[20:])
			v.wantAnswer(`"version":"v1"`)
		},
		"over HTTP, with a body": func(v *voice) {
			v.say(post("Content-Length: 2\r\n") + "{}" + get)
			v.wantAnswer(`"before":"v0"`)
			v.wantAnswer(`"version":"v1"`)
		},
		"over HTTP, for the last time": func(v *voice) {
			v.say(post("Connection: close\r\n"))
			v.wantAnswer(`"before":"v0"`)
			v.wantEnd()
		},
		"over HTTP/1.0": func(v *voice) {
			v.say("POST /v1/upgrade HTTP/1.0\r\n\r\n")
			v.wantAnswer(`"before":"v0"`)
			v.wantEnd()
		},
		"on a line": func(v *voice) {
			v.say("upgrade\n")
			v.wantLine("done: the supervisor is now brood v1")
			v.say("version\n")
			v.wantLine("brood v1,")
			v.CloseWrite()
			v.wantEnd()
		},
		"on a line, half closed": func(v *voice) {
			v.say("version; json upgrade; version\n  version\nversion\n")
			v.CloseWrite()
			v.wantLine("brood v0,")
			v.wantLine(`{"outcome":"ok","result":{"version":"v1","before":"v0","pid":`)
			for range 3 {
				v.wantLine("brood v1,")
			}
			v.wantEnd()
		},
		"at a prompt": func(v *voice) {
			v.say("prompt\nupgrade\nversion\nquit\n")
			v.wantLine("> done: the supervisor is now brood v1")
			v.wantLine("> brood v1,")
			if rest, err := io.ReadAll(v.in); err != nil || string(rest) != "\n> " {
				t.Errorf("%q, %v", rest, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			th := newHeir(t)
			v := th.dial()
			v.t = t
			play(v)
			until(t, "the audit line", func() bool { return strings.Contains(th.log.String(), "verb=upgrade") })
			if n := strings.Count(th.log.String(), `verb=upgrade target="" outcome="ok"`); n != 1 {
				t.Errorf("there are %d audit lines: %s", n, th.log)
			}
		})
	}
}

// TestUpgradeRefused: where it does not come about, who has asked is told why, and
// all goes on.
func TestUpgradeRefused(t *testing.T) {
	var at atomic.Pointer[throne]
	th := newThrone(t, Config{Upgrade: func(ctx context.Context) error {
		s := at.Load().now()
		if err := s.Hold(ctx); err != nil {
			return err
		}
		defer s.Release()
		return errors.New("exec: no such program")
	}}, workers("web", 1))
	at.Store(th)
	v, other := th.dial(), th.dial()
	other.say("GET /v1/version HTTP/1.1\r\nHost: b\r\n\r\n")
	other.wantAnswer("v0")
	for range 3 {
		v.say("POST /v1/upgrade HTTP/1.1\r\nHost: b\r\n\r\n")
		if resp, body := v.answer(); resp.StatusCode != 500 || !strings.Contains(body, "nothing has changed: exec: no such program") {
			t.Error(resp.Status, body)
		}
	}
	line := th.dial()
	line.say("upgrade\n")
	line.wantLine("error: failed: nothing has changed: exec")
	other.say("GET /v1/version HTTP/1.1\r\nHost: b\r\n\r\n")
	other.wantAnswer("v0")
}

// TestOneUpgradeAtATime: who asks for a second is refused at once.
func TestOneUpgradeAtATime(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	th := newThrone(t, Config{Upgrade: func(ctx context.Context) error {
		close(began)
		<-end
		return errors.New("it can't be")
	}}, workers("web", 1))
	first, second := th.dial(), th.dial()
	first.say("upgrade\n")
	<-began
	second.say("upgrade\n")
	second.wantLine("an upgrade is under way already")
	close(end)
	first.wantLine("it can't be")
}

// TestUpgradeCarriesGuests: whoever is between two requests, or within one that has
// not come whole, goes on with the next program.
func TestUpgradeCarriesGuests(t *testing.T) {
	th := newThrone(t, Config{}, workers("web", 1))
	const get = "GET /v1/whoami HTTP/1.1\r\nHost: b\r\n\r\n"
	var web, lines []*voice
	for range 150 {
		v := th.dial()
		v.say(get)
		web = append(web, v)
		v = th.dial()
		v.say("version\n")
		lines = append(lines, v)
	}
	for i := range web {
		web[i].wantAnswer(`"uid":`)
		lines[i].wantLine("brood v0,")
	}
	silent, header, fresh, line, shell := th.dial(), th.dial(), th.dial(), th.dial(), th.dial()
	header.say(get + get[:30])
	header.wantAnswer(`"uid":`)
	fresh.say("POST /echo HT")
	line.say("version; version\nvers")
	line.wantLine("brood v0,")
	line.wantLine("brood v0,")
	shell.say("prompt\nversion\n")
	shell.wantLine("> brood v0,")
	for range 3 {
		patient(t, th.upgrade)
	}
	for i := range web {
		web[i].say(get)
		lines[i].say("version\n")
	}
	for i := range web {
		web[i].wantAnswer(`"uid":`)
		lines[i].wantLine("brood v3,")
	}
	header.say(get[30:])
	header.wantAnswer(`"uid":`)
	fresh.say("TP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi")
	fresh.wantAnswer("hi")
	line.say("ion\n")
	line.wantLine("brood v3,")
	shell.say("version\n")
	shell.wantLine("> brood v3,")
	silent.say("version\n")
	silent.wantLine("brood v3,")
	if n, _ := th.now().house.count(); n != len(web)+len(lines)+5 {
		t.Errorf("there are %d guests", n)
	}
	for _, v := range []*voice{silent, fresh} {
		v.CloseWrite()
		v.wantEnd()
	}
}

// TestUpgradeOfManyLines: of lines that were sent at once, those that are not begun
// with are left to the next program, and each is done once.
func TestUpgradeOfManyLines(t *testing.T) {
	th := newThrone(t, Config{}, workers("web", 1))
	v := th.dial()
	const n = 2000
	var all bytes.Buffer
	for i := range n {
		fmt.Fprintf(&all, "@web echo %d\n", i)
	}
	go func() {
		io.Copy(v, &all)
		v.CloseWrite()
	}()
	for i := range n {
		if i%100 == 0 {
			patient(t, th.upgrade)
		}
		v.wantLine(fmt.Sprintf(`["%d"]`, i))
	}
	v.wantEnd()
}

// TestHoldSaysWhoIsAtWork, and all goes on.
func TestHoldSaysWhoIsAtWork(t *testing.T) {
	th := newThrone(t, Config{}, workers("web", 1))
	v := th.dial()
	v.say("POST /v1/workers/web/1/commands/hang?timeout=1m HTTP/1.1\r\nHost: b\r\n\r\n")
	until(t, "the command", func() bool { return th.sup.Status().Pools[0].Slots[0].Inflight == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := th.now().Hold(ctx)
	if err == nil || !strings.Contains(err.Error(), "command web/1 hang of uid ") || !strings.Contains(err.Error(), ", since ") {
		t.Fatal(err)
	}
	other := th.dial()
	other.say("version\n")
	other.wantLine("brood v0")
	v.Close() // which cancels it
	patient(t, th.upgrade)
	other.say("version\n")
	other.wantLine("brood v1")
}

// TestHoldAndHostileClients: those who do not send what they have begun, or do not
// take what they are sent, hold up a Hold no longer than it may take.
func TestHoldAndHostileClients(t *testing.T) {
	const large = 8 << 20
	for name, tt := range map[string]struct {
		play func(v *voice)
		held bool // or not: it stands in the way
	}{
		"half a header": {func(v *voice) { v.say("POST /v1/pools/web/commands/echo HTTP/1.1\r\nHo") }, true},
		"half a line":   {func(v *voice) { v.say("@web echo a") }, true},
		"half a body":   {func(v *voice) { v.say("POST /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\nhalf") }, false},
		"no answer read": {func(v *voice) {
			v.say(fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n", large))
			v.Write(make([]byte, large))
		}, false},
		"no events read": {func(v *voice) { v.say("GET /v1/events HTTP/1.1\r\nHost: b\r\nAccept: text/event-stream\r\n\r\n") }, true},
		"no logs read":   {func(v *voice) { v.say("logs follow\n") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			th := newThrone(t, Config{}, workers("web", 1))
			before := th.dial()
			before.say("version\n")
			before.wantLine("brood v0")
			until(t, "who is idle", func() bool { return !isBusy(th.now().house) })
			v := th.dial()
			tt.play(v)
			if !tt.held {
				until(t, "who is at work", func() bool { return isBusy(th.now().house) })
			}
			if strings.Contains(name, "logs") { // more than a socket holds
				talker := th.dial()
				for range 40 {
					talker.say("@web print " + strings.Repeat("x", 30<<10) + "\n")
				}
				talker.CloseWrite()
				io.Copy(io.Discard, talker)
			}
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := th.now().Hold(ctx)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if (err == nil) != tt.held {
				t.Errorf("held: %v", err)
			}
			th.now().Release()
			before.say("version\n")
			before.wantLine("brood v0")
		})
	}
}

func isBusy(h *house) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for g := range h.guests {
		if g.busy {
			return true
		}
	}
	return false
}
