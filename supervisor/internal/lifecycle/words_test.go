package lifecycle

import (
	"strings"
	"testing"
	"time"
)

// What is announced says in words what was, and why.
func TestAnnouncementsInWords(t *testing.T) {
	p := basic()
	p.Surge, p.GiveUp = 1, []int{78}
	m := New(func() float64 { return 0.5 })
	for n := range 3 {
		m.Add(Slot{"web", n + 1}, p, epoch)
	}
	var said []string
	step := func(ev Event) {
		for _, e := range m.Step(epoch.Add(3*time.Second), ev) {
			if a, ok := e.(Announce); ok {
				said = append(said, string(a.Kind)+" "+a.Text)
			}
		}
	}
	m.Step(epoch, Boot{})
	for n := 1; n <= 3; n++ {
		for _, r := range up(0, n, 1) {
			m.Step(epoch, r.ev)
		}
	}
	step(order(1, Restart, 1, 2, 3))
	for _, r := range up(0, 1, 2) {
		step(r.ev)
	}
	step(exited(1, 0))
	step(notSpawnedIn(2, 2))
	step(exited(2, 1))
	step(exited(3, 78))
	step(order(2, Stop, 2))
	want := []string{
		"beside started beside #1: restarted by hand",
		"swap takes the place of #1",
		"exit exit code 0 after 3s",
		"beside started beside #1: restarted by hand",
		"exit no such file after 0s",
		"rollout restarted by hand; ended after 1 of 3: web/2#2 did not become ready: no such file",
		"exit exit code 1 after 0s",
		"state starting: restarted after exit code 1",
		"exit exit code 78 after 0s",
		"state failed: exit code 78, which means not to try again",
		"state stopping: stopped by hand",
	}
	if got := strings.Join(said, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// A slot that goes is announced while it is still there.
func TestGoneIsAnnounced(t *testing.T) {
	m := New(func() float64 { return 0.5 })
	for n := range 2 {
		m.Add(Slot{"web", n + 1}, basic(), epoch)
	}
	m.Step(epoch, Boot{})
	m.Step(epoch, resize(1, 1))
	effects := m.Step(epoch, notSpawnedIn(2, 1))
	n := len(effects)
	if n < 2 || effects[n-1] != (Gone{Slot{"web", 2}}) || effects[n-2] != (Announce{Slot{"web", 2}, 1, KindGone, "the slot is no more"}) {
		t.Errorf("%+v", effects)
	}
}

// The reason beside a state says why it is so.
func TestReasonsInWords(t *testing.T) {
	m := New(func() float64 { return 0.5 })
	m.Add(Slot{"web", 1}, basic(), epoch)
	is := func(id Slot, want string) {
		t.Helper()
		if v := m.slots[id].view(); v.Reason != want {
			t.Errorf("%v is %s: %q, want %q", id, v.State, v.Reason, want)
		}
	}
	m.Step(epoch, Boot{})
	m.Step(epoch, resize(1, 2))
	is(Slot{"web", 2}, "scaled up")
	m.Step(epoch, AddPool{Op: 2, Pool: "cache", Slots: 1, Policy: basic()})
	is(Slot{"cache", 1}, "its pool is new")
	m.Step(epoch, spawned(1))
	m.Step(epoch.Add(30*time.Second+50*time.Millisecond), Tick{}) // it was due a moment ago
	is(Slot{"web", 1}, "not ready within 30s")
}

// What is said of a generation that does not count.
func TestMissed(t *testing.T) {
	for there, want := range map[uint64]string{
		0: "there has been no web/1#3 yet, nor any other",
		2: "there has been no web/1#3 yet, web/1#2 is there",
		4: "web/1#3 is gone, web/1#4 is there",
	} {
		if got := (ID{Slot{"web", 1}, 3}).Missed(there); got != want {
			t.Errorf("with %d there: %q, want %q", there, got, want)
		}
	}
}
