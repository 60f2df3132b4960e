package lifecycle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tables of this package are scripts: at a time, an event, and the effects
// wanted of it, in words (see words). The time of a row may not pass a timer
// that is armed, so every timer of a script shows in it, unless the row is late.

// row is one step. A nil ev is a Tick.
type row struct {
	at     time.Duration // since the machine was made
	ev     Event
	want   string        // effects, in words, "; " between
	next   time.Duration // when Next is due after it; 0: not looked at, never: no timer
	reason string        // part of the reason of slot 1 after it; empty: not looked at
	late   bool          // the supervisor did not run when a timer was due
}

const never = -1

var epoch = time.Unix(1_000_000_000, 0)

// script is a pool "web", maybe with others, and what happens to it.
type script struct {
	name   string
	slots  int                 // 0: 1
	after  map[string][]string // other pools, of one slot each, and web; nil: web alone
	policy func(*Policy)       // of all pools; nil: as in basic
	chance float64             // 0: one half, which is no jitter
	rows   []row
	end    func(*testing.T, View)     // of slot 1, nil: not looked at
	all    func(*testing.T, *Machine) // nil: not looked at
}

// basic is a pool whose workers are not pinged, so that only what a script is
// about arms timers.
func basic() *Policy {
	return &Policy{
		Boot: 30 * time.Second, Ping: -1, PingTimeout: time.Second, Failures: 3,
		BackoffMin: 100 * time.Millisecond, BackoffMax: 30 * time.Second, Stable: 10 * time.Second,
		Budget: 10, Window: time.Minute, StopSignal: syscall.SIGTERM, StopTimeout: 8 * time.Second,
	}
}

func playAll(t *testing.T, scripts []script) {
	for _, sc := range scripts {
		t.Run(sc.name, func(t *testing.T) { sc.play(t) })
	}
}

func (sc script) play(t *testing.T) {
	if sc.chance == 0 {
		sc.chance = 0.5
	}
	p := basic()
	if sc.policy != nil {
		sc.policy(p)
	}
	m := New(func() float64 { return sc.chance })
	for n := range max(sc.slots, 1) {
		m.Add(Slot{"web", n + 1}, p, epoch)
	}
	for _, name := range slices.Sorted(maps.Keys(sc.after)) {
		if name != "web" {
			m.Add(Slot{name, 1}, p, epoch)
		}
		m.Order(name, sc.after[name])
	}
	for i, r := range sc.rows {
		now := epoch.Add(r.at)
		if next := m.Next(); !r.late && !next.IsZero() && next.Before(now) {
			t.Fatalf("row %d at %v passes the timer at %v", i, r.at, next.Sub(epoch))
		}
		if r.ev == nil {
			r.ev = Tick{}
		}
		if got := words(m.Step(now, r.ev)); got != r.want {
			t.Fatalf("row %d at %v, %T:\n got %s\nwant %s", i, r.at, r.ev, got, r.want)
		}
		r.look(t, i, m)
	}
	if sc.all != nil {
		sc.all(t, m)
	}
	if sc.end != nil && len(m.order) > 0 {
		sc.end(t, m.order[0].view())
	}
}

// look checks what is not an effect.
func (r row) look(t *testing.T, i int, m *Machine) {
	t.Helper()
	next := m.Next()
	switch {
	case r.next == never && !next.IsZero():
		t.Fatalf("row %d at %v: a timer is armed, at %v", i, r.at, next.Sub(epoch))
	case r.next > 0 && (next.IsZero() || next.Sub(epoch) != r.next):
		t.Fatalf("row %d at %v: the next timer is at %v, want %v", i, r.at, next.Sub(epoch), r.next)
	}
	if len(m.order) == 0 {
		return
	}
	if v := m.order[0].view(); !strings.Contains(v.Reason, r.reason) {
		t.Fatalf("row %d at %v: the reason is %q, want %q in it", i, r.at, v.Reason, r.reason)
	}
}

// words tells effects so that a row fits a line: slot 2's 7th process is 2#7,
// and one of another pool than web cache/2#7.
func words(effects []Effect) string {
	var all []string
	for i, e := range effects {
		if a, ok := e.(Announce); ok && a.Kind == KindGone && i+1 < len(effects) && effects[i+1] == (Gone{a.Slot}) {
			continue // "gone 2" is both
		}
		all = append(all, word(e))
	}
	return strings.Join(all, "; ")
}

func word(e Effect) string {
	place := func(s Slot) string { return strings.TrimPrefix(s.String(), "web/") }
	short := func(id ID) string { return fmt.Sprintf("%s#%d", place(id.Slot), id.Generation) }
	switch e := e.(type) {
	case Spawn:
		if e.Version != 0 {
			return fmt.Sprintf("spawn %s v%d", short(e.ID), e.Version)
		}
		return "spawn " + short(e.ID)
	case Drain:
		return fmt.Sprintf("drain %s %v", short(e.ID), e.Grace)
	case Signal:
		return SignalName(e.Signal) + " " + short(e.ID)
	case Ping:
		return "ping " + short(e.ID)
	case Settled:
		text := fmt.Sprintf("op %d:", e.Op)
		for _, r := range e.Results {
			text += " " + string(r.Outcome)
		}
		return text
	case Announce:
		if e.Kind == KindState {
			state, _, _ := strings.Cut(e.Text, ":")
			return fmt.Sprintf("%s %s", place(e.Slot), state)
		}
		return fmt.Sprintf("%s %s", short(ID{e.Slot, e.Generation}), e.Kind)
	case Gone:
		return "gone " + place(e.Slot)
	case Reverted:
		return fmt.Sprintf("reverted v%d", e.Version)
	case Finished:
		return "finished"
	}
	return fmt.Sprintf("%T", e)
}

// The events of slot 1's process of generation g.
func spawned(g uint64) Event   { return spawnedIn(1, g) }
func greeted(g uint64) Event   { return Greeted{web(1, g)} }
func saidReady(g uint64) Event { return saidReadyIn(1, g) }
func ponged(g uint64) Event    { return Ponged{web(1, g), -1} }
func exited(g uint64, code int) Event {
	return exitedIn(1, g, code)
}
func killed(g uint64, s syscall.Signal) Event {
	return Exited{ID: web(1, g), Code: -1, Signal: s}
}
func notSpawned(g uint64) Event {
	return SpawnFailed{web(1, g), "it could not be started: no such file"}
}
func notSpawnedIn(n int, g uint64) Event { return SpawnFailed{web(n, g), "no such file"} }
func hungUp(g uint64) Event              { return HungUp{web(1, g), false, "it has closed its connection"} }
func breached(g uint64) Event {
	return HungUp{web(1, g), true, "protocol violation at byte 0"}
}

// Those of any slot.
func web(n int, g uint64) ID                   { return ID{Slot{"web", n}, g} }
func spawnedIn(n int, g uint64) Event          { return Spawned{web(n, g), 100*n + int(g)} }
func greetedIn(n int, g uint64) Event          { return Greeted{web(n, g)} }
func saidReadyIn(n int, g uint64) Event        { return SaidReady{web(n, g)} }
func exitedIn(n int, g uint64, code int) Event { return Exited{ID: web(n, g), Code: code} }
func order(op uint64, verb Verb, ns ...int) Event {
	o := Order{Op: op, Verb: verb}
	for _, n := range ns {
		o.Slots = append(o.Slots, Slot{"web", n})
	}
	return o
}

// up is the rows that bring slot n's process of generation g, just ordered, to
// ready by its own word.
func up(at time.Duration, n int, g uint64) []row {
	return []row{
		{at: at, ev: spawnedIn(n, g)},
		{at: at, ev: greetedIn(n, g)},
		{at: at, ev: saidReadyIn(n, g), want: fmt.Sprintf("%d ready", n)},
	}
}

// rows joins single rows and groups of them.
func rows(parts ...any) []row {
	var all []row
	for _, p := range parts {
		switch p := p.(type) {
		case row:
			all = append(all, p)
		case []row:
			all = append(all, p...)
		}
	}
	return all
}

// boot is the first row of a pool of so many.
func boot(slots int) row {
	var all []string
	for n := range slots {
		all = append(all, fmt.Sprintf("spawn %d#1; %d starting", n+1, n+1))
	}
	return row{ev: Boot{}, want: strings.Join(all, "; ")}
}
