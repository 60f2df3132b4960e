package orphans

import (
	"encoding/json"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// succeed has another Orphans take the place of h's, as the next program does.
func (h *house) succeed(t *testing.T, all bool) {
	t.Helper()
	b, err := json.Marshal(h.Export())
	if err != nil {
		t.Fatal(err)
	}
	var saved Saved
	if err := json.Unmarshal(b, &saved); err != nil {
		t.Fatal(err)
	}
	before := h.leaders.all()
	env := h.Env()
	h.Orphans.Close()
	h.leaders = &Leaders{}
	for _, pid := range before {
		h.leaders.Adopt(pid)
	}
	h.Orphans, err = Start(Options{Leaders: h.leaders, All: all, Log: hclog.New(&hclog.LoggerOptions{Output: h.logged}), Before: &saved})
	if err != nil {
		t.Fatal(err)
	}
	if h.Env() != env {
		t.Errorf("the mark was %s and is %s", env, h.Env())
	}
}

func (l *Leaders) all() (pids []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid := range l.pids {
		pids = append(pids, pid)
	}
	return pids
}

// TestHandedOver: what a worker has left behind, before and after, is known to the
// program that has taken over, and what it noted before as well.
func TestHandedOver(t *testing.T) {
	needs(t, "setsid")
	for _, c := range left {
		for _, noted := range []bool{true, false} {
			t.Run(c.name+map[bool]string{true: ", noted before"}[noted], func(t *testing.T) {
				h := open(t, false)
				l := h.startLeaving(t, c.script)
				origin := Origin{Worker: "web/2", Generation: 7, Leader: l.pid}
				f := h.Family(origin)
				pids := l.pids(t, c.n)
				if noted {
					f.Note()
					afterTheForks(t, pids)
				}
				h.succeed(t, false)
				f = h.Family(origin)
				if !noted {
					f.Note()
					afterTheForks(t, pids)
				}
				l.end()
				checkSweep(t, f, c.group, pids)
				if _, err := f.End(deadline(t)); err != nil {
					t.Fatal(err)
				}
				if left := there(pids...); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
				h.isEmpty(t)
			})
		}
	}
}

// TestSubreaperIsHandedOver: the attribute stays with an execve(2), and the next
// program gives it back all the same.
func TestSubreaperIsHandedOver(t *testing.T) {
	h := open(t, false)
	_, n := h.Beside()
	saved := h.Export()
	h.Orphans.Close()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.Orphans, err = Start(Options{Leaders: h.leaders, Before: saved}); err != nil {
		t.Fatal(err)
	}
	if _, next := h.Beside(); next != n+1 {
		t.Errorf("the number after %d is %d", n, next)
	}
	h.Orphans.Close()
	if is, err := isSubreaper(); is || err != nil {
		t.Errorf("still a subreaper: %v, %v", is, err)
	}
	if h.Orphans, err = Start(Options{Leaders: h.leaders}); err != nil { // for the end of the test
		t.Fatal(err)
	}
}
