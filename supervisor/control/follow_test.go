package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// TestEventsPage: what has happened is there at once; else the answer comes when
// something happens, or when the wait is over.
func TestEventsPage(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 2), workers("db", 1))
	all := get[api.Events](h, "/v1/events")
	if len(all.Events) < 6 || all.Missed != 0 || all.Next != all.Events[len(all.Events)-1].Seq || all.Events[0].Seq != 1 {
		t.Errorf("all: %+v", all)
	}
	e := all.Events[0]
	if _, err := time.Parse(time.RFC3339Nano, e.At); err != nil || e.Kind != "state" || !strings.HasPrefix(e.Text, "starting") || e.Generation != 1 || !strings.Contains(e.Target, "/") {
		t.Errorf("the first: %+v", e)
	}
	if part := get[api.Events](h, "/v1/events?since=2"); part.Events[0].Seq != 3 || part.Next != all.Next {
		t.Errorf("since 2: %+v", part)
	}
	if last := get[api.Events](h, "/v1/events?last=2"); len(last.Events) != 2 || last.Next != all.Next {
		t.Errorf("last 2: %+v", last)
	}
	if none := get[api.Events](h, "/v1/events?last=0"); len(none.Events) != 0 || none.Events == nil || none.Next != all.Next {
		t.Errorf("last 0: %+v", none)
	}
	begin := time.Now()
	late := get[api.Events](h, fmt.Sprintf("/v1/events?since=%d&wait=50ms", all.Next))
	if len(late.Events) != 0 || late.Next != all.Next || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("in vain: %+v after %v", late, time.Since(begin))
	}
	if again := get[api.Events](h, "/v1/events?since=99999999"); again.Events[0].Seq != 1 {
		t.Errorf("of a supervisor that was there before: %+v", again)
	}
	got := make(chan api.Events)
	go func() { got <- get[api.Events](h, fmt.Sprintf("/v1/events?since=%d&wait=1m&target=db/1", all.Next)) }()
	for _, page := range []string{"/v1/workers/web/1/restart?wait=1m", "/v1/workers/db/1/restart?wait=1m"} {
		if status, body := h.ask("POST", page, ""); status != 200 {
			t.Fatal(body)
		}
	}
	woken := <-got
	for _, e := range woken.Events {
		if e.Target != "db/1" {
			t.Errorf("asked for db/1: %+v", e)
		}
	}
	if len(woken.Events) == 0 {
		t.Errorf("woken by nothing: %+v", woken)
	}
	for page, code := range map[string]string{
		"/v1/events?since=x": "bad_request", "/v1/events?last=-1": "bad_request", "/v1/events?since=1&last=1": "bad_request",
		"/v1/events?target=web/9": "not_found", "/v1/events?target=we%20b": "bad_request", "/v1/events?sicne=1": "bad_request",
	} {
		if _, body := h.ask("GET", page, ""); !strings.Contains(body, code) {
			t.Errorf("%s: %s", page, body)
		}
	}
}

// TestEventStream: a stream goes on where the one before broke off, without a gap
// and without anything twice.
func TestEventStream(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	var seen []uint64
	var id string
	for round := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		header := []string{"Accept", "text/event-stream"}
		if id != "" {
			header = append(header, "Last-Event-ID", id)
		}
		resp := h.open(ctx, "GET", "/v1/events", "", header...)
		if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Fatalf("Content-Type %q", got)
		}
		if status, body := h.ask("POST", "/v1/workers/web/1/restart", ""); status != 202 {
			t.Fatal(body)
		}
		scan(t, resp.Body, fmt.Sprintf("ready of generation %d", round+2), func(line string) bool {
			if rest, ok := strings.CutPrefix(line, "id: "); ok {
				id = rest
				n, _ := strconv.ParseUint(id, 10, 64)
				seen = append(seen, n)
			}
			var e api.Event
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok {
				return false
			}
			if err := json.Unmarshal([]byte(data), &e); err != nil || fmt.Sprint(e.Seq) != id {
				t.Errorf("%v: %s after id %s", err, data, id)
			}
			return e.Generation == uint64(round+2) && strings.HasPrefix(e.Text, "ready")
		})
		cancel()
	}
	for i, n := range seen {
		if n != uint64(i+1) {
			t.Fatalf("the numbers are %v", seen)
		}
	}
}

// TestEventStreamEnds: with the supervisor, so that nobody waits for ever.
func TestEventStreamEnds(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	events := h.open(t.Context(), "GET", "/v1/events?last=0", "", "Accept", "text/event-stream")
	logs := h.open(t.Context(), "GET", "/v1/logs?follow=true", "")
	h.sup.Shutdown(false)
	b, err := io.ReadAll(events.Body)
	if err != nil || !strings.Contains(string(b), "stopped") {
		t.Errorf("%v: %s", err, b)
	}
	if _, err := io.ReadAll(logs.Body); err != nil {
		t.Error(err)
	}
}

// TestMissedEvents: what is no longer kept is counted.
func TestMissedEvents(t *testing.T) {
	h := startHere(t, Config{}, supervisor.Pool{Name: "web", Workers: 8, Command: []string{"true"}, // they end on and on
		Restart: supervisor.Restart{BackoffMin: time.Millisecond, BackoffMax: time.Millisecond, Budget: -1, Rate: -1}})
	until(t, "more events than are kept", func() bool { return h.sup.LastEvent() > 4096+100 })
	e := get[api.Events](h, "/v1/events?since=50")
	if e.Missed != e.Events[0].Seq-51 || e.Missed < 50 {
		t.Errorf("%d missed, and the first is %d", e.Missed, e.Events[0].Seq)
	}
	resp := h.open(t.Context(), "GET", "/v1/events?since=50", "", "Accept", "text/event-stream")
	scan(t, resp.Body, "word of what was missed", func(line string) bool { return strings.HasPrefix(line, `data: {"missed":`) })
	for text, want := range map[string]string{"events 50 follow\n": " events are no longer kept", "json events 50 follow\n": `{"missed":`} {
		c := lineTo(t, h.path)
		io.WriteString(c, text)
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.Contains(line, want) {
			t.Errorf("%q: %q %v", text, line, err)
		}
		c.Close()
	}
}

// TestLogsPages: the last lines, of one worker as they were printed, of several
// with their names, and as JSON with everything.
func TestLogsPages(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 2), workers("db", 1))
	for _, to := range []string{"web/1", "web/2", "db/1"} {
		if status, body := h.ask("POST", "/v1/workers/"+to+"/commands/print", "I am "+to); status != 200 {
			t.Fatal(body)
		}
	}
	for page, want := range map[string]string{
		"/v1/workers/web/1/logs":          "I am web/1\n",
		"/v1/workers/web/1%231/logs":      "I am web/1\n",
		"/v1/workers/web/1/logs?lines=0":  "",
		"/v1/pools/web/logs":              "web/1 | I am web/1\nweb/2 | I am web/2\n",
		"/v1/pools/web/logs?lines=1":      "web/2 | I am web/2\n",
		"/v1/logs":                        "web/1 | I am web/1\nweb/2 | I am web/2\ndb/1 | I am db/1\n",
		"/v1/logs?lines=100&follow=false": "web/1 | I am web/1\nweb/2 | I am web/2\ndb/1 | I am db/1\n",
	} {
		until(t, page, func() bool {
			status, body := h.ask("GET", page, "")
			return status == 200 && body == want
		})
	}
	_, body := h.ask("GET", "/v1/workers/web/2/logs", "", "Accept", "application/x-ndjson")
	var l api.LogLine
	if err := json.Unmarshal([]byte(body), &l); err != nil || l.Target != "web/2" || l.Generation != 1 || l.Stream != "stdout" || l.Text != "I am web/2" || l.At == "" {
		t.Errorf("%v: %s", err, body)
	}
	for page, code := range map[string]string{
		"/v1/workers/web/9/logs": "not_found", "/v1/pools/nosuch/logs": "not_found", "/v1/logs?lines=many": "bad_request", "/v1/logs?follow=maybe": "bad_request",
	} {
		if _, body := h.ask("GET", page, ""); !strings.Contains(body, code) {
			t.Errorf("%s: %s", page, body)
		}
	}
}

// TestFollowLogs: lines come as they are printed, across a restart.
func TestFollowLogs(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	resp := h.open(t.Context(), "GET", "/v1/workers/web/1/logs?follow=true", "", "Accept", "application/x-ndjson")
	for generation := range 2 {
		h.ask("POST", "/v1/pools/web/commands/print", "a line")
		scan(t, resp.Body, "the line", func(line string) bool {
			var l api.LogLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Error(err, line)
			}
			return l.Text == "a line" && l.Generation == uint64(generation+1)
		})
		if status, body := h.ask("POST", "/v1/workers/web/1/restart?wait=1m", ""); status != 200 {
			t.Fatal(body)
		}
	}
}

// TestSlowFollower: one who does not read holds up neither the worker nor
// others.
func TestSlowFollower(t *testing.T) {
	h := serveHere(t, Config{}, supervisor.Pool{Name: "web", Command: []string{"sh", "-c", `while :; do echo 0123456789012345678901234567890123456789; done`},
		Ready: supervisor.Ready{When: supervisor.ReadyLog, Log: "9"}})
	c, err := net.Dial("unix", h.path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /v1/workers/web/1/logs?follow=true HTTP/1.1\r\nHost: b\r\nAccept: application/x-ndjson\r\n\r\n")
	begin := h.sup.Status().Pools[0].Slots[0]
	for range 20 { // it is at work on
		resp := h.open(t.Context(), "GET", "/v1/pools/web/logs?lines=0&follow=true", "")
		n := 0
		scan(t, resp.Body, "lines", func(string) bool { n++; return n > 100 })
		resp.Body.Close()
	}
	until(t, "lines dropped", func() bool { // reading on tells of the lost
		b := make([]byte, 64<<10)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(b[:n]), `"dropped":`)
	})
	if end := h.sup.Status().Pools[0].Slots[0]; end.Generation != begin.Generation || !end.Ready {
		t.Errorf("the worker is %+v", end)
	}
}

// pieces reads lines of an answer.
func pieces(t *testing.T, body io.Reader) (all []api.Piece) {
	t.Helper()
	d := json.NewDecoder(body)
	for {
		var p api.Piece
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("%v after %+v", err, all)
		}
		all = append(all, p)
	}
}

// TestStream: the pieces in order and one last line that says how it ended.
func TestStream(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 2))
	resp := h.open(t.Context(), "POST", "/v1/workers/web/2/commands/pieces", "", "Accept", "application/x-ndjson")
	if got := resp.Header.Get("Content-Type"); got != "application/x-ndjson" || resp.StatusCode != 200 {
		t.Errorf("%d %q", resp.StatusCode, got)
	}
	text := func(p api.Piece) string {
		code := ""
		if p.Problem != nil {
			code = p.Problem.Code
		}
		return fmt.Sprintf("%s|%s|%s|%s|%s|%s|%s", p.Worker, p.Name, p.Codec, p.Data, p.Outcome, p.Result, code)
	}
	want := []string{
		`web/2#1||text|"text"|||`, `web/2#1||json|{"a":[1]}|||`, `web/2#1||bytes|"/wA="|||`,
		`web/2#1|progress|json|{"done":1,"total":2,"text":"half"}|||`, `web/2#1||text||ok|"end"|`,
	}
	var got []string
	for _, p := range pieces(t, resp.Body) {
		got = append(got, text(p))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	resp = h.open(t.Context(), "POST", "/v1/workers/web/1/commands/half", "", "Accept", "application/x-ndjson")
	if all := pieces(t, resp.Body); len(all) != 2 || text(all[1]) != "web/1#1||||error||error" || all[1].Problem.Error != "asked" {
		t.Errorf("an answer and then no: %+v", all)
	}
	resp = h.open(t.Context(), "POST", "/v1/pools/web/commands/pieces?all=true", "", "Accept", "application/x-ndjson")
	last := map[string]int{}
	for _, p := range pieces(t, resp.Body) {
		if p.Outcome != "" {
			last[p.Worker+" "+p.Outcome]++
		}
	}
	if len(last) != 2 || last["web/1#1 ok"] != 1 || last["web/2#1 ok"] != 1 {
		t.Errorf("the last lines: %v", last)
	}
	h.ask("POST", "/v1/workers/web/1/stop?wait=1m", "")
	resp = h.open(t.Context(), "POST", "/v1/pools/web/commands/pieces?all=true", "", "Accept", "application/x-ndjson")
	clear(last)
	for _, p := range pieces(t, resp.Body) {
		if p.Outcome != "" {
			last[p.Worker+" "+p.Outcome]++
		}
	}
	if len(last) != 2 || last["web/1 unavailable"] != 1 || last["web/2#1 ok"] != 1 {
		t.Errorf("the last lines with one stopped: %v", last)
	}
	for page, code := range map[string]string{"/v1/workers/web/9/commands/pieces": "not_found", "/v1/workers/web/1/commands/pieces": "unavailable"} {
		if _, body := h.ask("POST", page, "", "Accept", "application/x-ndjson"); !strings.Contains(body, `"code":"`+code+`"`) {
			t.Errorf("%s: %s", page, body)
		}
	}
}

// TestStreamOfASlowReader: the worker is held back, not the supervisor filled; one
// who hangs up cancels.
func TestStreamOfASlowReader(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	c, err := net.Dial("unix", h.path)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "POST /v1/workers/web/1/commands/pour?timeout=1m HTTP/1.1\r\nHost: b\r\nAccept: application/x-ndjson\r\nContent-Length: 0\r\n\r\n")
	one := make([]byte, 1)
	if _, err := c.Read(one); err != nil {
		t.Fatal(err)
	}
	if status, body := h.ask("POST", "/v1/workers/web/1/commands/echo", "there?"); status != 200 || body != "there?" {
		t.Errorf("beside it: %d %s", status, body)
	}
	c.Close()
	until(t, "the worker to be told", func() bool {
		_, body := h.ask("GET", "/v1/workers/web/1/logs", "")
		text, ok := strings.CutPrefix(body, "poured ")
		n, _ := strconv.Atoi(strings.TrimSpace(text))
		if ok && n > 200 {
			t.Errorf("%d pieces of 16 KiB went into a pipe that nobody reads", n)
		}
		return ok
	})
}

// TestHungUpStreamCancels: in a stream as well as without.
func TestHungUpStreamCancels(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	for i, accept := range []string{"application/x-ndjson", "*/*"} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			req, _ := http.NewRequestWithContext(ctx, "POST", "http://brood/v1/workers/web/1/commands/hang", nil)
			req.Header.Set("Accept", accept)
			if resp, err := h.http.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		count := func(word string) int {
			_, body := h.ask("GET", "/v1/workers/web/1/logs", "")
			return strings.Count(body, word)
		}
		until(t, "it to hang", func() bool { return count("hanging") == i+1 })
		cancel()
		until(t, "it to be canceled", func() bool { return count("canceled") == i+1 })
	}
}

// TestStreamOfAllEndsWithItsReader: who can't be given a piece of one worker's is
// not waited for by the others.
func TestStreamOfAllEndsWithItsReader(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 3))
	c := &caller{peer: Peer{UID: 0, known: true}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := h.server.doStream(ctx, c, supervisor.Target{Pool: "web"}, "partly", ipc.Message{}, true, func(api.Piece) error { return errGone })
	if !errors.Is(err, errGone) || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
	until(t, "nobody to be at work", func() bool {
		for _, w := range h.sup.Status().Pools[0].Slots {
			if w.Inflight > 0 {
				return false
			}
		}
		return true
	})
}
