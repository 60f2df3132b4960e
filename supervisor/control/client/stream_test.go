package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// page is what a made-up supervisor answers to one request.
type page struct {
	contentType string
	status      int // 0: 200
	body        string
}

// fake is a client of a supervisor that has these pages, by method and URL, and
// an echo of the request's body.
func fake(pages map[string]page) (*client.Client, func()) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		url, _, _ := strings.Cut(r.Method+" "+r.URL.String(), "timeout=") // it varies
		p, ok := pages[strings.TrimRight(url, "?&")]
		if !ok {
			p = page{"application/problem+json", 404, fmt.Sprintf(`{"code":"not_found","detail":"no page %s"}`, url)}
		}
		w.Header().Set("Content-Type", p.contentType)
		w.Header().Set("Brood-Worker", "web/2#7")
		w.WriteHeader(max(p.status, 200))
		io.WriteString(w, p.body)
	}))
	c := client.NewDialer("the test", func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", srv.Listener.Addr().String())
	})
	return c, func() { c.Close(); srv.Close() }
}

const lines = "application/x-ndjson"

func TestCallStream(t *testing.T) {
	c, done := fake(map[string]page{
		"POST /v1/workers/web/2/commands/build": {lines, 0, `{"worker":"web/2#7","name":"progress","codec":"json","data":{"done":1,"total":3,"text":"one"}}
{"worker":"web/2#7","codec":"text","data":"a piece"}
{"worker":"web/2#7","codec":"bytes","data":"AAE="}
{"worker":"web/2#7","outcome":"ok","codec":"json","result":{"n":3}}
`},
		"POST /v1/workers/web/2/commands/fail": {lines, 0, `{"worker":"web/2#7","outcome":"error","problem":{"code":"error","error":"no_paper","detail":"out of paper"}}` + "\n"},
		"POST /v1/workers/web/2/commands/cut":  {lines, 0, `{"worker":"web/2#7","codec":"text","data":"a piece"}` + "\n"},
		"POST /v1/workers/web/2/commands/old":  {"text/plain", 0, "old"},
	})
	defer done()
	ctx := context.Background()
	var got []string
	reply, err := c.CallStream(ctx, "web/2", "build", ipc.Args(), func(p api.Piece) error {
		m, err := client.Payload(p)
		got = append(got, fmt.Sprintf("%s %v %q", p.Name, m.Codec, m.Payload))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`progress json "{\"done\":1,\"total\":3,\"text\":\"one\"}"`, ` text "a piece"`, ` bytes "\x00\x01"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if reply.Worker != "web/2#7" || string(reply.Payload) != `{"n":3}` || reply.Codec != ipc.CodecJSON {
		t.Errorf("%+v", reply)
	}

	none := func(api.Piece) error { return nil }
	_, err = c.CallStream(ctx, "web/2", "fail", ipc.Args(), none)
	if !errors.Is(err, ipc.ErrFailed) || !errors.Is(err, ipc.Code("no_paper")) || errors.Is(err, ipc.ErrLost) || err.Error() != "out of paper" {
		t.Errorf("fail: %v", err)
	}
	if _, err = c.CallStream(ctx, "web/2", "cut", ipc.Args(), none); !errors.Is(err, client.ErrBrokeOff) {
		t.Errorf("an answer without an end: %v", err)
	}
	if reply, err = c.CallStream(ctx, "web/2", "old", ipc.Args(), none); err != nil || string(reply.Payload) != "old" || reply.Worker != "web/2#7" {
		t.Errorf("an answer that is no stream: %+v, %v", reply, err)
	}
	enough := errors.New("enough")
	if _, err = c.CallStream(ctx, "web/2", "build", ipc.Args(), func(api.Piece) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the caller's own error: %v", err)
	}
}

func TestCallAllStream(t *testing.T) {
	c, done := fake(map[string]page{"POST /v1/pools/web/commands/pid?all=true": {lines, 0, `{"worker":"web/1#1","outcome":"ok","codec":"text","result":"4711"}
{"worker":"web/2#1","outcome":"lost","problem":{"code":"lost","detail":"it died","started":"unknown"}}
`}})
	defer done()
	var got []string
	if err := c.CallAllStream(context.Background(), "web/*", "pid", ipc.Args(), func(p api.Piece) error {
		got = append(got, p.Worker+" "+p.Outcome)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"web/1#1 ok", "web/2#1 lost"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEventsAndLogs(t *testing.T) {
	c, done := fake(map[string]page{
		"GET /v1/events?since=7&target=web%2F2&wait=30s": {"application/json", 0, `{"events":[{"seq":8,"target":"web/2","kind":"exit","text":"code 1"}],"next":8,"missed":0}`},
		"GET /v1/events?target=web":                      {"text/event-stream", 0, ": hello\n\nevent: missed\ndata: {\"missed\":3}\n\nid: 8\nevent: exit\ndata: {\"seq\":8,\"target\":\"web/2\",\"kind\":\"exit\"}\n\n"},
		"GET /v1/logs?lines=2&follow=false":              {lines, 0, "{\"target\":\"web/1\",\"stream\":\"stdout\",\"text\":\"a\"}\n{\"target\":\"web/1\",\"dropped\":3}\n"},
		"GET /v1/workers/web/2/logs?lines=1&follow=true": {lines, 0, "{\"target\":\"web/2\",\"stream\":\"stderr\",\"text\":\"b\"}\n"},
	})
	defer done()
	ctx := context.Background()
	e, err := c.Events(ctx, 7, 30e9, "web/2")
	if err != nil || e.Next != 8 || len(e.Events) != 1 || e.Events[0].Kind != "exit" {
		t.Errorf("%+v, %v", e, err)
	}
	var got []string
	err = c.FollowEvents(ctx, 7, "web", func(e api.Events) error {
		for _, ev := range e.Events {
			got = append(got, fmt.Sprint(ev.Seq, " ", ev.Target, " ", ev.Kind, " ", e.Next))
		}
		if e.Missed > 0 {
			got = append(got, fmt.Sprint(e.Missed, " missed"))
		}
		return nil
	})
	if !errors.Is(err, client.ErrBrokeOff) {
		t.Errorf("a stream that ends: %v", err)
	}
	line := func(l api.LogLine) error {
		got = append(got, fmt.Sprint(l.Target, " ", l.Stream, l.Text, l.Dropped))
		return nil
	}
	if err := c.Logs(ctx, "", 2, false, line); err != nil {
		t.Error(err)
	}
	if err := c.Logs(ctx, "web/2", 1, true, line); !errors.Is(err, client.ErrBrokeOff) {
		t.Errorf("a log that ends: %v", err)
	}
	if diff := cmp.Diff([]string{"3 missed", "8 web/2 exit 8", "web/1 stdouta0", "web/1 3", "web/2 stderrb0"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestErrorsAreThoseOfTheOtherEnd: what the supervisor's errors are there, they
// are here.
func TestErrorsAreThoseOfTheOtherEnd(t *testing.T) {
	for code, is := range map[string]error{
		"error": ipc.ErrFailed, "lost": ipc.ErrLost, "timeout": ipc.ErrTimeout, "canceled": ipc.ErrCanceled, "overloaded": ipc.ErrOverloaded,
		"unavailable": ipc.ErrUnavailable, "too_large": ipc.ErrTooLarge, "denied": client.ErrDenied, "not_found": supervisor.ErrNoTarget,
		"bad_request": supervisor.ErrBadTarget, "stale": supervisor.ErrStale, "conflict": supervisor.ErrNotOne,
	} {
		err := fmt.Errorf("wrapped: %w", &client.Error{Problem: api.Problem{Code: code}})
		if !errors.Is(err, is) {
			t.Errorf("%s is not %v", code, is)
		}
		if errors.Is(err, context.Canceled) || code != "lost" && errors.Is(err, ipc.ErrLost) {
			t.Errorf("%s is more than it is", code)
		}
	}
	if !errors.Is(&client.Error{Problem: api.Problem{Code: "unavailable"}}, supervisor.ErrStopping) ||
		!errors.Is(&client.Error{Problem: api.Problem{Code: "conflict"}}, supervisor.ErrBusy) ||
		!errors.Is(&client.Error{Problem: api.Problem{Code: "not_found"}}, client.ErrNotFound) {
		t.Error("ErrStopping, ErrBusy or ErrNotFound is lost")
	}
}
