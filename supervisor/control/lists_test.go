package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/brood/supervisor/control/api"
)

// TestKeptList: it is made anew when something has changed or was done, and after
// a moment; many who ask at once have it made once; an error is not kept.
func TestKeptList(t *testing.T) {
	var l keptList
	var made atomic.Int64
	get := func(changes, done uint64) string {
		body, err := l.get(changes, done, func() ([]byte, error) { return fmt.Append(nil, made.Add(1)), nil })
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for i, want := range []string{get(1, 1), get(1, 1), get(2, 1), get(2, 1), get(2, 2)} {
		if got := []string{"1", "1", "2", "2", "3"}[i]; got != want {
			t.Errorf("%d: %s, want %s", i, want, got)
		}
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { get(9, 9) })
	}
	wg.Wait()
	if made.Load() != 4 {
		t.Errorf("made %d times", made.Load())
	}
	l.last.Load().at = time.Now().Add(-listAge)
	if get(9, 9) != "5" {
		t.Error("an old one is given")
	}
	if _, err := l.get(10, 10, func() ([]byte, error) { return nil, errors.New("no") }); err == nil {
		t.Error("no error")
	}
	if get(9, 9) != "5" {
		t.Error("an error is kept")
	}
}

// TestKeptPair: who may read no output is not given what was made for who may.
func TestKeptPair(t *testing.T) {
	var l keptPair
	for _, tt := range []struct {
		rights rights
		want   *keptList
	}{
		{rights{whole: RoleAdmin}, &l[1]},
		{rights{whole: RoleOperator}, &l[1]},
		{rights{whole: RoleViewer}, &l[0]},
		{rights{whole: RoleViewer, parts: []part{{role: RoleOperator, commands: []string{"flush"}}}}, &l[0]},
		{rights{whole: RoleViewer, parts: []part{{role: RoleOperator, pools: []string{"web"}}}}, nil},
		{rights{parts: []part{{role: RoleOperator, pools: []string{"web"}}}}, nil},
		{rights{}, nil},
	} {
		if l.of(tt.rights, verbStatus) != tt.want {
			t.Errorf("%v is given another list", tt.rights)
		}
	}
}

// TestListOfOtherRules: a list that was made while the rules changed is kept for
// nobody.
func TestListOfOtherRules(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	web := httptest.NewRecorder()
	r := &request{Request: httptest.NewRequest("GET", "/", nil), w: web, verb: verbStatus, caller: &caller{peer: Peer{known: true}}}
	var l keptPair
	made := 0
	err := listed(h.server, r, &l, func(*caller) (string, error) {
		made++
		h.server.SetAccess(Access{Door: Door{Max: RoleViewer}})
		return "list", nil
	})
	if err != nil || made != 2 || web.Body.String() != "\"list\"\n" {
		t.Errorf("made %d times: %v %q", made, err, web.Body)
	}
	for i := range l {
		if l[i].last.Load() != nil {
			t.Errorf("list %d is kept", i)
		}
	}
}

// TestListsShowWhatWasDone: who has done something sees it in the lists at once.
func TestListsShowWhatWasDone(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 2))
	for n := range uint64(20) {
		h.ask("POST", "/v1/workers/web/1/commands/echo", "x")
		if w := get[api.Workers](h, "/v1/workers").Workers; w[0].Served != n+1 {
			t.Fatalf("after %d commands: %+v", n+1, w[0])
		}
	}
	for i := range 5 {
		h.ask("POST", "/v1/workers/web/2/restart?wait=1m", "")
		if st := get[api.Status](h, "/v1/status"); st.Pools[0].Slots[1].Generation != uint64(i+2) || !st.Pools[0].Slots[1].Ready {
			t.Fatalf("after %d restarts: %+v", i+1, st.Pools[0].Slots[1])
		}
	}
	h.ask("POST", "/v1/pools/web/scale?workers=3&wait=1m", "")
	if p := get[api.Pools](h, "/v1/pools").Pools; p[0].Workers != 3 || p[0].Ready != 3 {
		t.Errorf("after the scaling: %+v", p)
	}
}

// TestBriefStatus: it is the status, kept by itself, but for what workers can be
// sent.
func TestBriefStatus(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 2))
	for _, page := range []string{"/v1/status", "/v1/status?commands=false", "/v1/status?commands=true"} {
		for _, w := range get[api.Status](h, page).Pools[0].Slots {
			if brief := page == "/v1/status?commands=false"; (len(w.Commands) == 0) != brief || w.PID == 0 {
				t.Errorf("%s: %+v", page, w)
			}
		}
	}
	for _, page := range []string{"/v1/status?commands=some", "/v1/status?command=false", "/v1/pools?commands=false"} {
		if status, body := h.ask("GET", page, ""); status != 400 {
			t.Errorf("%s: %d %s", page, status, body)
		}
	}
}

// TestListsAreCounted: who is given a list counts once, whether it was kept or made.
func TestListsAreCounted(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	const n = 10
	for range n {
		get[api.Workers](h, "/v1/workers")
	}
	_, text := h.ask("GET", "/metrics", "")
	if want := fmt.Sprintf("brood_control_requests_total{verb=\"status\",outcome=\"ok\"} %d\n", n); !strings.Contains(text, want) {
		t.Errorf("no %q in:\n%s", want, text)
	}
}

// BenchmarkListOfWorkers is a list that has to be made each time.
func BenchmarkListOfWorkers(b *testing.B) {
	h := serveHere(b, Config{}, workers("web", 20))
	c := &caller{peer: Peer{UID: 0, known: true}}
	b.ReportAllocs()
	for b.Loop() {
		out, err := h.server.doWorkers(c)
		if err != nil {
			b.Fatal(err)
		}
		mustJSON(out)
	}
}

// BenchmarkCommand is a command to one worker over HTTP, by one client that keeps
// its connection.
func BenchmarkCommand(b *testing.B) {
	h := serveHere(b, Config{}, workers("web", 1))
	c, err := net.Dial("unix", h.path)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	b.ReportAllocs()
	for b.Loop() {
		io.WriteString(c, "POST /v1/workers/web/1/commands/echo HTTP/1.1\r\nHost: b\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 200 {
			b.Fatal(resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}
