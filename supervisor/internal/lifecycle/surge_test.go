package lifecycle

import (
	"syscall"
	"testing"
	"time"
)

// surging replaces beside, one at a time; a new worker has to stay ready for 2 s.
func surging(p *Policy) { p.Surge, p.Soak = 1, 2*time.Second }

// besideOne is a pool of two, ready, whose restart was asked for at 1 s.
func besideOne() []row {
	return rows(boot(2), up(0, 1, 1), up(0, 2, 1),
		row{at: time.Second, ev: order(1, Restart, 1, 2), want: "spawn 1#2; 1#2 beside", next: never})
}

// soaking is besideOne with the new process of slot 1 ready since 2 s.
func soaking() []row {
	const s = time.Second
	return rows(besideOne(),
		row{at: 2 * s, ev: spawned(2)},
		row{at: 2 * s, ev: greeted(2)},
		row{at: 2 * s, ev: saidReady(2), next: 4 * s})
}

// swapped is soaking up to where the new one has the place and the old one goes.
func swapped() []row {
	const s = time.Second
	return rows(soaking(), row{at: 4 * s, want: "1#2 swap; drain 1#1 6s", next: 10 * s})
}

func TestSurge(t *testing.T) {
	const s = time.Second
	slot2 := rows(swapped(),
		row{at: 5 * s, ev: exited(1, 0), want: "1#1 exit; spawn 2#2; 2#2 beside"},
		up(5*s, 2, 2)[:2])
	playAll(t, []script{
		{name: "one after the other", slots: 2, policy: surging, rows: rows(slot2,
			row{at: 5 * s, ev: saidReadyIn(2, 2), next: 7 * s},
			row{at: 7 * s, want: "2#2 swap; drain 2#1 6s"},
			row{at: 8 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; op 1: done done", next: never}), end: func(t *testing.T, v View) {
			if v.Restarts != 0 || v.Generation != 2 || v.Next != 0 || v.Old != 0 || v.State != Ready || !v.Since.Equal(epoch) {
				t.Errorf("%+v", v)
			}
		}},
		{name: "the view shows both: next", slots: 2, policy: surging, rows: soaking(), end: func(t *testing.T, v View) {
			if v.Generation != 1 || v.Next != 2 || v.PID != 101 || v.State != Ready {
				t.Errorf("%+v", v)
			}
		}},
		{name: "the view shows both: old", slots: 2, policy: surging, rows: swapped(), end: func(t *testing.T, v View) {
			if v.Generation != 2 || v.Old != 1 || v.PID != 102 || v.State != Ready {
				t.Errorf("%+v", v)
			}
		}},
		{name: "the old one's stop has its deadlines", slots: 2, policy: surging, rows: rows(swapped(),
			row{at: 10 * s, want: "SIGTERM 1#1", next: 12 * s},
			row{at: 12 * s, want: "1#1 kill; SIGKILL 1#1", next: 17 * s},
			row{at: 12 * s, ev: killed(1, syscall.SIGKILL), want: "1#1 exit; spawn 2#2; 2#2 beside"})},
		{name: "two at a time", slots: 3, policy: func(p *Policy) { p.Surge = 2 }, rows: rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
			row{ev: order(1, Restart, 1, 2, 3), want: "spawn 1#2; 1#2 beside; spawn 2#2; 2#2 beside"},
			up(0, 1, 2)[:2],
			row{ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"}, // 1#1 is extra still
			row{ev: exited(1, 0), want: "1#1 exit; spawn 3#2; 3#2 beside"})},
		{name: "two in place", slots: 3, policy: func(p *Policy) { p.Unavailable = 2 }, rows: rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
			row{ev: order(1, Restart, 1, 2, 3), want: "drain 1#1 6s; 1 stopping; drain 2#1 6s; 2 stopping"},
			again(0, 2, 1, "2#1 exit; spawn 2#2; 2 starting", "2 ready; drain 3#1 6s; 3 stopping"),
			again(0, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready"),
			again(0, 3, 1, "3#1 exit; spawn 3#2; 3 starting", "3 ready; op 1: done done done"))},
		{name: "one beside and one in place", slots: 3, policy: func(p *Policy) { p.Surge, p.Unavailable = 1, 1 }, rows: rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
			row{ev: order(1, Restart, 1, 2, 3), want: "spawn 1#2; 1#2 beside; drain 2#1 6s; 2 stopping"})},
		{name: "soak in place", slots: 2, policy: func(p *Policy) { p.Soak = 2 * s }, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: order(1, Restart, 1, 2), want: "drain 1#1 6s; 1 stopping"},
			again(2*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready"),
			row{at: 4 * s, want: "drain 2#1 6s; 2 stopping"})},
		{name: "a pool of one, asked for as a pool", policy: surging, rows: rows(boot(1), up(0, 1, 1),
			row{at: s, ev: Order{Op: 1, Verb: Restart, Slots: []Slot{{"web", 1}}, Roll: true}, want: "spawn 1#2; 1#2 beside"})},
		{name: "two restarts of a pool, one after the other", slots: 2, policy: surging, rows: rows(slot2,
			row{at: 5 * s, ev: order(2, Restart, 1, 2)},
			row{at: 5 * s, ev: saidReadyIn(2, 2)},
			row{at: 7 * s, want: "2#2 swap; drain 2#1 6s"},
			row{at: 8 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; op 1: done done; spawn 1#3; 1#3 beside"})},
	})
}

// The first new one that does not become ready ends it; the old one serves on.
func TestSurgeAborts(t *testing.T) {
	const s = time.Second
	booting := rows(besideOne(), row{at: 2 * s, ev: spawned(2), next: 32 * s})
	serves := func(t *testing.T, v View) {
		if v.State != Ready || v.Generation != 1 || v.PID != 101 || v.Restarts != 0 || !v.RetryAt.IsZero() {
			t.Errorf("%+v", v)
		}
	}
	playAll(t, []script{
		{name: "it is not there", slots: 2, policy: surging, rows: rows(besideOne(),
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout; op 1: failed unchanged", next: never}), end: serves},
		{name: "it dies", slots: 2, policy: surging, rows: rows(booting,
			row{at: 3 * s, ev: exited(2, 1), want: "1#2 exit; 1#2 rollout; op 1: failed unchanged", next: never}), end: serves},
		{name: "with a code that gives up", slots: 2, policy: func(p *Policy) { surging(p); p.GiveUp = []int{78} }, rows: rows(booting,
			row{at: 3 * s, ev: exited(2, 78), want: "1#2 exit; 1#2 rollout; op 1: failed unchanged", next: never}), end: serves},
		{name: "it is not ready in time", slots: 2, policy: surging, rows: rows(booting,
			row{at: 32 * s, want: "SIGTERM 1#2; 1#2 rollout; op 1: failed unchanged", next: 40 * s},
			row{at: 33 * s, ev: exited(2, 0), want: "1#2 exit", next: never}), end: serves},
		{name: "it closes its connection, and the exit says why", slots: 2, policy: surging, rows: rows(booting,
			row{at: 2 * s, ev: greeted(2)},
			row{at: 3 * s, ev: hungUp(2), next: 4 * s},
			row{at: 3 * s, ev: exited(2, 1), want: "1#2 exit; 1#2 rollout; op 1: failed unchanged", next: never}), end: serves},
		{name: "and does not exit", slots: 2, policy: surging, rows: rows(booting,
			row{at: 2 * s, ev: greeted(2)},
			row{at: 3 * s, ev: hungUp(2), next: 4 * s},
			row{at: 4 * s, want: "SIGTERM 1#2; 1#2 rollout; op 1: failed unchanged"})},
		{name: "it dies while it soaks", slots: 2, policy: surging, rows: rows(soaking(),
			row{at: 3 * s, ev: exited(2, 1), want: "1#2 exit; 1#2 rollout; op 1: failed unchanged", next: never}), end: serves},
		{name: "it dies once it has the place", slots: 2, policy: surging, rows: rows(swapped(),
			row{at: 5 * s, ev: exited(2, 1), want: "1#2 exit; spawn 1#3; 1 starting; 1#2 rollout; op 1: failed unchanged"})},
		{name: "the others' new ones go too", slots: 3, policy: func(p *Policy) { p.Surge = 2 }, rows: rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
			row{ev: order(1, Restart, 1, 2, 3), want: "spawn 1#2; 1#2 beside; spawn 2#2; 2#2 beside"},
			row{ev: spawned(2)},
			row{ev: spawnedIn(2, 2)},
			row{ev: exited(2, 1), want: "1#2 exit; 1#2 rollout; SIGTERM 2#2; op 1: failed unchanged unchanged"},
			row{ev: exitedIn(2, 2, 1), want: "2#2 exit", next: never})},
		{name: "the next rollout waits until they have gone", slots: 2, policy: surging, rows: rows(booting,
			row{at: 32 * s, want: "SIGTERM 1#2; 1#2 rollout; op 1: failed unchanged"},
			row{at: 32 * s, ev: order(2, Restart, 2, 1)},
			row{at: 33 * s, ev: exited(2, 0), want: "1#2 exit; spawn 2#2; 2#2 beside"})},
		{name: "what is done is done: in place, while it soaks", slots: 2, policy: func(p *Policy) { p.Unavailable, p.Soak = 2, 9*s }, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{ev: order(1, Restart, 1, 2), want: "drain 1#1 6s; 1 stopping; drain 2#1 6s; 2 stopping"},
			again(0, 2, 1, "2#1 exit; spawn 2#2; 2 starting", "2 ready"),
			row{ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{at: s, ev: notSpawned(2), want: "1#2 exit; spawn 1#3; 1 starting; 1#2 rollout; op 1: failed done"})},
		{name: "what can't be undone goes on: in place", slots: 2, policy: func(p *Policy) { p.Unavailable = 2 }, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{ev: order(1, Restart, 1, 2), want: "drain 1#1 6s; 1 stopping; drain 2#1 6s; 2 stopping"},
			row{ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{ev: spawned(2)},
			row{ev: exited(2, 1), want: "1#2 exit; spawn 1#3; 1 starting; 1#2 rollout"},
			again(0, 2, 1, "2#1 exit; spawn 2#2; 2 starting", "2 ready; op 1: failed done"))},
	})
}

// The one that counts dies while the next boots: the next takes the place.
func TestSurgeTakesThePlaceOfTheDead(t *testing.T) {
	const s = time.Second
	dead := rows(besideOne(),
		row{at: 2 * s, ev: exited(1, 1), want: "1#1 exit; 1#2 swap; 1 starting", reason: "takes the place of one that has ended"})
	playAll(t, []script{
		{name: "ordered", slots: 2, policy: surging, rows: rows(dead,
			up(2*s, 1, 2),
			row{at: 4 * s, want: "spawn 2#2; 2#2 beside"}), end: func(t *testing.T, v View) {
			if v.Restarts != 0 || v.State != Ready {
				t.Errorf("%+v", v)
			}
		}},
		{name: "soaking", slots: 2, policy: surging, rows: rows(soaking(),
			row{at: 3 * s, ev: exited(1, 1), want: "1#1 exit; 1#2 swap", next: 4 * s}, // it was ready all along
			row{at: 4 * s, want: "spawn 2#2; 2#2 beside"})},
		{name: "and then it dies too", slots: 2, policy: surging, rows: rows(dead,
			row{at: 3 * s, ev: notSpawned(2), want: "1#2 exit; spawn 1#3; 1 starting; 1#2 rollout; op 1: failed unchanged"})},
		{name: "while the one that hangs goes", policy: func(p *Policy) { surging(p); p.Ping, p.Failures = 10*s, 1 }, rows: rows(boot(1), up(0, 1, 1),
			row{at: s, ev: Order{Op: 1, Verb: Restart, Slots: []Slot{{"web", 1}}, Roll: true}, want: "spawn 1#2; 1#2 beside"},
			row{at: 2 * s, ev: spawned(2)},
			row{at: 2 * s, ev: greeted(2)},
			row{at: 9500 * ms, ev: saidReady(2)},
			row{at: 10 * s, want: "ping 1#1"},
			row{at: 11 * s, want: "1#1 hung; SIGTERM 1#1; 1 stopping", next: 11500 * ms},
			row{at: 11500 * ms, want: "1#2 swap; 1 ready"},
			row{at: 12 * s, ev: exited(1, 1), want: "1#1 exit; op 1: done"})},
		{name: "but one that is to go does not", slots: 2, policy: surging, rows: rows(besideOne(),
			row{at: 2 * s, ev: spawned(2)},
			row{at: 32 * s, want: "SIGTERM 1#2; 1#2 rollout; op 1: failed unchanged"},
			row{at: 33 * s, ev: exited(1, 1), want: "1#1 exit; spawn 1#3; 1 starting"},
			row{at: 34 * s, ev: exited(2, 1), want: "1#2 exit"})},
	})
}

// An operator may do anything to a slot, whatever part of its turn it is in.
func TestSurgeAndOtherHands(t *testing.T) {
	const s = time.Second
	playAll(t, []script{
		{name: "stopped while the next is ordered", slots: 2, policy: surging, rows: rows(besideOne(),
			row{at: 2 * s, ev: order(2, Stop, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit"},
			row{at: 3 * s, ev: spawned(2), want: "SIGTERM 1#2"}, // it is beside the others still
			row{at: 4 * s, ev: exited(2, 0), want: "1#2 exit; 1 stopped; op 2: done; spawn 2#2; 2#2 beside"})},
		{name: "stopped while the next soaks", slots: 2, policy: surging, rows: rows(soaking(),
			row{at: 3 * s, ev: order(2, Stop, 1), want: "drain 1#1 6s; 1 stopping; drain 1#2 6s"},
			row{at: 3 * s, ev: exited(2, 0), want: "1#2 exit; spawn 2#2; 2#2 beside"},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 2: done"})},
		{name: "stopped while the old one goes", slots: 2, policy: surging, rows: rows(swapped(),
			row{at: 5 * s, ev: order(2, Stop, 1), want: "drain 1#2 6s; 1 stopping"},
			row{at: 5 * s, ev: exited(2, 0), want: "1#2 exit"},
			row{at: 5 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 2: done; spawn 2#2; 2#2 beside"})},
		{name: "stopped and started while the next is ordered", policy: surging, rows: rows(boot(1), up(0, 1, 1),
			row{at: s, ev: Order{Op: 1, Verb: Restart, Slots: []Slot{{"web", 1}}, Roll: true}, want: "spawn 1#2; 1#2 beside"},
			row{at: 2 * s, ev: order(2, Stop, 1), want: "drain 1#1 6s; 1 stopping; op 1: failed"},
			row{at: 2 * s, ev: order(3, Start, 1)},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#3; 1 starting; op 2: failed"},
			row{at: 3 * s, ev: spawned(2), want: "SIGTERM 1#2"},
			up(3*s, 1, 3)[:2],
			row{at: 3 * s, ev: saidReady(3), want: "1 ready; op 3: done"},
			row{at: 4 * s, ev: exited(2, 0), want: "1#2 exit"})},
		{name: "started: it is up", slots: 2, policy: surging, rows: rows(besideOne(), row{at: 2 * s, ev: order(2, Start, 1), want: "op 2: unchanged"})},
		{name: "restarted while the next boots: that will do", slots: 2, policy: surging, rows: rows(besideOne(),
			row{at: 2 * s, ev: spawned(2)},
			row{at: 2 * s, ev: order(2, Restart, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; 1#2 swap; 1 starting"},
			row{at: 3 * s, ev: greeted(2)},
			row{at: 3 * s, ev: saidReady(2), want: "1 ready; op 2: done"},
			row{at: 5 * s, want: "spawn 2#2; 2#2 beside"})},
		{name: "restarted while the old one goes: the turn waits for the newer", slots: 2, policy: surging, rows: rows(swapped(),
			row{at: 5 * s, ev: order(2, Restart, 1), want: "drain 1#2 6s; 1 stopping"},
			row{at: 5 * s, ev: exited(1, 0), want: "1#1 exit"},
			row{at: 6 * s, ev: exited(2, 0), want: "1#2 exit; spawn 1#3; 1 starting"},
			up(6*s, 1, 3)[:2],
			row{at: 6 * s, ev: saidReady(3), want: "1 ready; op 2: done"},
			row{at: 8 * s, want: "spawn 2#2; 2#2 beside"})},
		{name: "restarted in place meanwhile: the turn waits for the newer", slots: 2, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: order(1, Restart, 1, 2), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2; 1 starting"},
			row{at: s, ev: spawned(2)},
			row{at: 2 * s, ev: order(2, Restart, 1), want: "SIGTERM 1#2; 1 stopping"},
			again(2*s, 1, 2, "1#2 exit; spawn 1#3; 1 starting", "1 ready; op 2: done; drain 2#1 6s; 2 stopping"))},
		{name: "the next slot has been restarted already and boots", slots: 2, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: order(1, Restart, 1, 2), want: "drain 1#1 6s; 1 stopping"},
			row{at: 2 * s, ev: exitedIn(2, 1, 1), want: "2#1 exit; spawn 2#2; 2 starting"},
			again(2*s, 1, 1, "1#1 exit; spawn 1#2; 1 starting", "1 ready"), // it is new, so it is awaited and left alone
			up(3*s, 2, 2)[:2],
			row{at: 3 * s, ev: saidReadyIn(2, 2), want: "2 ready; op 1: done done"})},
		{name: "scaled away while the next boots", slots: 2, policy: surging, rows: rows(besideOne(),
			row{at: 2 * s, ev: spawned(2)},
			row{at: 2 * s, ev: Resize{2, "web", 0}, want: "drain 1#1 6s; 1 stopping; SIGTERM 1#2; drain 2#1 6s; 2 stopping; op 1: failed failed"},
			row{at: 3 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; gone 2"},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit"},
			row{at: 3 * s, ev: exited(2, 0), want: "1#2 exit; 1 stopped; op 2: done done; gone 1", next: never})},
		{name: "shutdown while the next boots", slots: 2, policy: surging, rows: rows(besideOne(),
			row{at: 2 * s, ev: spawned(2)},
			row{at: 2 * s, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping; SIGTERM 1#2; drain 2#1 6s; 2 stopping; op 1: failed failed"},
			row{at: 3 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped"},
			row{at: 3 * s, ev: exited(2, 0), want: "1#2 exit"},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; finished"})},
		{name: "shutdown now while the next is ordered", slots: 2, policy: surging, rows: rows(besideOne(),
			row{at: 2 * s, ev: Shutdown{Now: true}, want: "drain 1#1 6s; 1 stopping; 1#1 kill; SIGKILL 1#1; drain 2#1 6s; 2 stopping; op 1: failed failed; 2#1 kill; SIGKILL 2#1"},
			row{at: 2 * s, ev: spawned(2), want: "1#2 kill; SIGKILL 1#2"})},
	})
}

// Late events of the one beside, or of the one that was, change nothing.
func TestStaleEventsBesideAnother(t *testing.T) {
	const s = time.Second
	playAll(t, []script{{slots: 2, policy: surging, rows: rows(swapped(),
		row{at: 5 * s, ev: exited(1, 0), want: "1#1 exit; spawn 2#2; 2#2 beside"},
		row{at: 5 * s, ev: exited(1, 1)},
		row{at: 5 * s, ev: saidReady(1)},
		row{at: 5 * s, ev: breached(1)},
		row{at: 5 * s, ev: exited(3, 1), next: never})}})
}
