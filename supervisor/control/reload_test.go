package control

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// TestReloadSaysWhatHappened: done, accepted where nobody waits, or not there yet.
func TestReloadSaysWhatHappened(t *testing.T) {
	var sup atomic.Pointer[supervisor.Supervisor]
	slow := workers("slow", 1)
	slow.Command, slow.Ready = []string{"sleep", "1000"}, supervisor.Ready{When: supervisor.ReadyHello} // it never is
	var next atomic.Pointer[[]supervisor.Pool]
	next.Store(&[]supervisor.Pool{workers("web", 1)})
	reload := func(ctx context.Context, dryRun bool) ([]supervisor.Change, error) {
		if dryRun {
			return sup.Load().Plan(supervisor.Config{Pools: *next.Load()})
		}
		return sup.Load().Reload(ctx, supervisor.Config{Pools: *next.Load()})
	}
	h := serveHere(t, Config{Reload: reload}, workers("web", 1))
	sup.Store(h.sup)
	check := func(page string, status int, words ...string) {
		t.Helper()
		got, body := h.ask("POST", page, "")
		for _, w := range words {
			if got != status || !strings.Contains(body, w) {
				t.Errorf("%s: %d %s; want %d with %s", page, got, body, status, w)
			}
		}
	}
	check("/v1/reload", 200, `"kind":"unchanged"`)
	next.Store(&[]supervisor.Pool{workers("web", 1), slow})
	check("/v1/reload?dry_run=true", 200, `"dry_run":true`, `"kind":"add"`)
	check("/v1/reload?wait=50ms", 504, `"code":"timeout"`, `"pool":"slow"`, `"outcome":"timeout"`)
	check("/v1/reload", 409, "conflict") // it is under way
	h.ask("POST", "/v1/pools/slow/stop?wait=1m", "")
	until(t, "its end", func() bool { status, _ := h.ask("POST", "/v1/reload", ""); return status == 200 })
	next.Store(&[]supervisor.Pool{workers("web", 1)})
	check("/v1/reload?wait=0s", 202, `"outcome":"accepted"`)
}

// TestReloadThatFails: a pool that was taken back is told apart from one in which a
// slot has failed.
func TestReloadThatFails(t *testing.T) {
	failed := []supervisor.Result{{Slot: supervisor.SlotStatus{Pool: "web", Slot: 3}, Outcome: supervisor.OutcomeFailed, Text: "as it happens"}}
	var reverted atomic.Bool
	h := serveHere(t, Config{Reload: func(context.Context, bool) ([]supervisor.Change, error) {
		return []supervisor.Change{{Pool: "web", Kind: supervisor.ChangeRoll, Results: failed, Reverted: reverted.Load()}}, nil
	}}, workers("web", 1))
	for back, words := range map[bool]string{true: "pool web is as it was before: web/3: as it happens", false: "pool web has changed, but"} {
		reverted.Store(back)
		status, body := h.ask("POST", "/v1/reload", "")
		if status != 500 || !strings.Contains(body, words) || strings.Contains(body, `"reverted":true`) != back {
			t.Errorf("%v: %d %s", back, status, body)
		}
		var problem api.Problem
		if err := json.Unmarshal([]byte(body), &problem); err != nil {
			t.Fatal(err)
		}
		if text := string(appendProblem(nil, problem)); strings.Contains(text, "\nweb: roll, reverted\n") != back {
			t.Errorf("%v: %s", back, text)
		}
	}
}

// TestUpgradePage: an admin's, where there is one to be had.
func TestUpgradePage(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	if status, body := h.ask("POST", "/v1/upgrade", ""); status != 409 || !strings.Contains(body, "conflict") {
		t.Errorf("where it can't be: %d %s", status, body)
	}
	var asked atomic.Int32
	h = serveHere(t, Config{Upgrade: func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		asked.Add(1)
		return nil
	}}, workers("web", 1))
	if status, body := h.ask("POST", "/v1/upgrade?wait=5s", ""); status != 200 || asked.Load() != 1 {
		t.Errorf("%d %s, asked %d times", status, body, asked.Load())
	}
	stranger := &caller{peer: Peer{UID: 61000, known: true}}
	if _, err := h.server.doUpgrade(t.Context(), stranger, time.Minute, said{}); err == nil || problemOf(err).Code != "denied" || asked.Load() != 1 {
		t.Errorf("a stranger: %v, asked %d times", err, asked.Load())
	}
}

// TestHealthOfASmallerPool: a pool that is scaled below its min_ready needs all that
// it has, while and after the others go; who asks for more is told.
func TestHealthOfASmallerPool(t *testing.T) {
	p := workers("web", 3)
	p.MinReady = 2
	h := serveHere(t, Config{}, p)
	if status, body := h.ask("POST", "/v1/pools/web/scale?workers=1", ""); status != 202 {
		t.Fatalf("%d %s", status, body)
	}
	until(t, "the scale to begin", func() bool { return h.sup.Status().Pools[0].MinReady == 1 })
	if status, body := h.ask("GET", "/v1/health", ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	until(t, "its end", func() bool { return h.sup.Status().Pools[0].Workers == 1 }) // a slot is announced to be gone before it is
	if status, body := h.ask("GET", "/v1/health", ""); status != 200 || !strings.Contains(body, `"health":"ok"`) || !strings.Contains(body, `"min_ready":1`) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := h.ask("GET", "/v1/health?min_ready=2", ""); status != 503 {
		t.Errorf("where two are asked for: %d %s", status, body)
	}
	if status, body := h.ask("POST", "/v1/pools/web/scale?workers=3&wait=1m", ""); status != 200 || h.sup.Status().Pools[0].MinReady != 2 {
		t.Errorf("%d %s", status, body)
	}
}
