package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What docs/api.md and docs/line.md tell clients of an upgrade, beside that it goes well.

// TestUpgradeAsksForRightsAnew: what somebody may do who stays connected is what the
// configuration of the next program says.
func TestUpgradeAsksForRightsAnew(t *testing.T) {
	th := newThrone(t, Config{Access: DefaultAccess()}, workers("web", 1))
	const post = "POST /v1/pools/web/commands/echo HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi"
	web, line := th.dial(), th.dial()
	web.say(post)
	web.wantAnswer("hi")
	line.say("@web echo hi\n")
	line.wantLine("hi")
	th.cfg.Access.Door.Max = RoleViewer
	patient(t, th.upgrade)
	web.say(post)
	if resp, body := web.answer(); resp.StatusCode != 403 {
		t.Error(resp.Status, body)
	}
	line.say("@web echo hi\nhealth\n")
	line.wantLine("error: denied: ")
	line.wantLine("ok: ")
}

// TestUpgradeHangsUpOnWhoCameByAnotherSocket: by one that the next program has no
// more. Who has asked for it by that one is given the answer.
func TestUpgradeHangsUpOnWhoCameByAnotherSocket(t *testing.T) {
	th := newHeir(t)
	other, err := Listen(ListenConfig{Path: filepath.Join(filepath.Dir(th.path), "other.sock")})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	before := th.now()
	th.served.Go(func() { _ = before.Serve(other) })
	here := th.dial()
	kept := th.path
	th.path = other.Addr().String()
	web, line, asks := th.dial(), th.dial(), th.dial()
	th.path = kept
	web.say("GET /v1/version HTTP/1.1\r\nHost: b\r\n\r\n")
	web.wantAnswer(`"v0"`)
	line.say("version\n")
	line.wantLine("brood v0,")
	th.cfg.Access.Doors = map[string]Door{th.path: {}}
	asks.say("upgrade\n")
	asks.wantLine("done: the supervisor is now brood v1")
	for _, v := range []*voice{web, line, asks} {
		v.wantEnd()
	}
	here.say("version\n")
	here.wantLine("brood v1,")
}

// follower waits until somebody follows, or waits for an event.
func (th *throne) follower() {
	th.t.Helper()
	h := th.now().house
	until(th.t, "one who follows", func() bool {
		_, follows := h.underWay()
		return follows == 1
	})
}

// TestUpgradeAnswersWhoWaits for an event, as when the time is up.
func TestUpgradeAnswersWhoWaits(t *testing.T) {
	th := newThrone(t, Config{}, workers("web", 1))
	last := th.sup.LastEvent()
	v := th.dial()
	v.say(fmt.Sprintf("GET /v1/events?since=%d&wait=10m HTTP/1.1\r\nHost: b\r\n\r\n", last))
	th.follower()
	patient(t, th.upgrade)
	v.wantAnswer(fmt.Sprintf(`{"events":[],"next":%d,"missed":0}`, last))
	v.say("GET /v1/version HTTP/1.1\r\nHost: b\r\n\r\n")
	v.wantAnswer(`"v1"`)
}

// TestUpgradeEndsWhoFollowsOnALine: with json and for a person the answer ends, else
// the connection, in each case behind a whole line.
func TestUpgradeEndsWhoFollowsOnALine(t *testing.T) {
	for name, tt := range map[string]struct{ say, last string }{
		"json":        {"json events follow\n", `{"outcome":"ok","result":"there is no more"}`},
		"json, logs":  {"json logs follow\n", `{"outcome":"ok","result":"there is no more"}`},
		"at a prompt": {"prompt\nevents follow\n", ""},
		"else":        {"events follow\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			th := newThrone(t, Config{}, workers("web", 1))
			v := th.dial()
			v.say(tt.say)
			th.follower()
			patient(t, th.upgrade)
			if name == "else" {
				all, err := io.ReadAll(v.in)
				if text := string(all); err != nil || !strings.HasSuffix(text, "ready\n") {
					t.Errorf("%q, %v", text, err)
				}
				return
			}
			v.say("version\n")
			before := ""
			for line := v.line(); !strings.Contains(line, "brood v1,"); line = v.line() {
				before = line
			}
			if tt.last != "" && before != tt.last {
				t.Errorf("the last line of the answer is %q", before)
			}
		})
	}
}

// TestUpgradeIsTriedForAsLongAsAsked, or as the page and the line say.
func TestUpgradeIsTriedForAsLongAsAsked(t *testing.T) {
	left := make(chan time.Duration, 1)
	th := newThrone(t, Config{Upgrade: func(ctx context.Context) error {
		end, _ := ctx.Deadline()
		left <- time.Until(end)
		return errors.New("it can't be")
	}}, workers("web", 1))
	for say, want := range map[string]time.Duration{
		"POST /v1/upgrade HTTP/1.1\r\nHost: b\r\n\r\n":         time.Minute,
		"POST /v1/upgrade?wait=9s HTTP/1.1\r\nHost: b\r\n\r\n": 9 * time.Second,
		"upgrade\n":         5 * time.Minute,
		"upgrade wait\n":    5 * time.Minute,
		"upgrade wait 9s\n": 9 * time.Second,
	} {
		th.dial().say(say)
		if got := <-left; got > want || got < want-5*time.Second {
			t.Errorf("%q: %v are left, want %v", say, got, want)
		}
		until(t, "its end", func() bool { return !isBusy(th.now().house) }) // one at a time
	}
}
