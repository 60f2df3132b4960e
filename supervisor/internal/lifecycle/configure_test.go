package lifecycle

import (
	"syscall"
	"testing"
	"time"
)

// configured gives web version v, with the policy that the script has.
func configured(op, v uint64, roll bool, policies ...func(*Policy)) Event {
	p := basic()
	for _, f := range policies {
		f(p)
	}
	return Reconfigure{Op: op, Pool: "web", Version: v, Policy: p, Roll: roll}
}

func surge(p *Policy) { p.Surge = 1 }

// versions are what the slots of a script run at its end, by slot.
func versions(want ...uint64) func(*testing.T, *Machine) {
	return func(t *testing.T, m *Machine) {
		t.Helper()
		i := 0
		m.Views(func(v View) {
			if i >= len(want) || v.Version != want[i] {
				t.Errorf("slot %v is of version %d, want %v", v.Slot, v.Version, want)
			}
			i++
		})
	}
}

func TestReconfigureWithoutRoll(t *testing.T) {
	const s = time.Second
	ready := rows(boot(2), up(0, 1, 1), up(0, 2, 1))
	pinged := func(p *Policy) { p.Ping = 2 * s }
	playAll(t, []script{
		{name: "nothing is replaced, the next process is of it", slots: 2, rows: rows(ready,
			row{at: s, ev: configured(1, 1, false), want: "op 1:", next: never},
			row{at: 2 * s, ev: exited(1, 1), want: "1#1 exit; spawn 1#2 v1; 1 starting"}), all: versions(1, 1)},
		{name: "pings begin", slots: 2, rows: rows(ready,
			row{at: s, ev: configured(1, 1, false, pinged), want: "op 1:", next: 3 * s})},
		{name: "and end", slots: 2, policy: pinged, rows: rows(ready,
			row{at: s, ev: configured(1, 1, false), want: "op 1:", next: never})},
		{name: "a watchdog comes", slots: 2, rows: rows(ready,
			row{at: s, ev: configured(1, 1, false, watched), want: "op 1:", next: 4 * s})},
		{name: "and goes", slots: 2, policy: watched, rows: rows(ready,
			row{at: s, ev: configured(1, 1, false), want: "op 1:", next: never})},
		{name: "an age, from when it was ready", slots: 1, rows: rows(boot(1), up(0, 1, 1),
			row{at: 3 * s, ev: configured(1, 1, false, func(p *Policy) { p.Surge, p.Age = 1, 4*s }), want: "op 1:", next: 4 * s},
			row{at: 4 * s, want: "spawn 1#2 v1; 1#2 beside"})},
		{name: "a boot keeps its time", slots: 1, rows: rows(boot(1),
			row{ev: spawned(1), next: 30 * s},
			row{ev: configured(1, 1, false, func(p *Policy) { p.Boot = s }), want: "op 1:", next: 30 * s})},
		{name: "a boot that living is enough for", slots: 1, rows: rows(boot(1),
			row{ev: spawned(1), next: 30 * s},
			row{at: s / 2, ev: configured(1, 1, false, auto), want: "op 1:", next: s},
			row{at: s, want: "1 ready"})},
		{name: "a stop keeps its time", slots: 1, rows: rows(boot(1), up(0, 1, 1),
			row{ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping", next: 6 * s},
			row{ev: configured(2, 1, false, func(p *Policy) { p.StopTimeout = s }), want: "op 2:", next: 6 * s},
			row{at: 6 * s, want: "SIGTERM 1#1", next: 8 * s})},
	})
}

func TestReconfigureRolls(t *testing.T) {
	const s = time.Second
	begun := rows(boot(2), up(0, 1, 1), up(0, 2, 1),
		row{at: s, ev: configured(1, 1, true, surge), want: "spawn 1#2 v1; 1#2 beside"})
	first := rows(begun, up(s, 1, 2)[:2],
		row{at: s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
		row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 2#2 v1; 2#2 beside"})
	playAll(t, []script{
		{name: "slot after slot", slots: 2, rows: rows(first, up(2*s, 2, 2)[:2],
			row{at: 2 * s, ev: saidReadyIn(2, 2), want: "2#2 swap; drain 2#1 6s"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; op 1: done done", next: never}), all: versions(1, 1)},
		{name: "a slot that it has not come to is restarted as it was", slots: 2, rows: rows(begun,
			row{at: 2 * s, ev: exitedIn(2, 1, 1), want: "2#1 exit; spawn 2#2; 2 starting"},
			up(2*s, 2, 2)), all: versions(0, 0)},
		{name: "one that it has come to is restarted as it is to be", slots: 2, rows: rows(first,
			row{at: 2 * s, ev: exited(2, 1), want: "1#2 exit; spawn 1#3 v1; 1 starting"}), all: versions(1, 0)},
		{name: "what is idle has it at once", slots: 3, policy: func(p *Policy) { p.OnFailureOnly = true }, rows: rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
			row{ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping"},
			row{ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done"},
			row{ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 done"},
			row{ev: configured(2, 1, true, surge), want: "spawn 3#2 v1; 3#2 beside"},
			row{ev: order(3, Start, 1, 2), want: "spawn 1#2 v1; 1 starting; spawn 2#2 v1; 2 starting"},
			row{ev: resize(4, 4), want: "spawn 4#1 v1; 4 starting"})},
		{name: "what is done before its turn is left alone", slots: 2, policy: func(p *Policy) { p.OnFailureOnly = true }, rows: rows(begun,
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 done"},
			up(2*s, 1, 2)[:2],
			row{at: 2 * s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; op 1: done unchanged", next: never},
			row{at: 3 * s, ev: order(2, Start, 2), want: "spawn 2#2 v1; 2 starting"})},
		{name: "nothing runs", slots: 1, rows: rows(boot(1), up(0, 1, 1),
			row{ev: order(1, Stop, 1), want: "drain 1#1 6s; 1 stopping"},
			row{ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done"},
			row{ev: configured(2, 1, true), want: "op 2:"},
			row{ev: order(3, Start, 1), want: "spawn 1#2 v1; 1 starting"})},
		{name: "what is not ready goes first", slots: 2, policy: func(p *Policy) { p.Never = true }, rows: rows(boot(2), up(0, 1, 1),
			row{ev: notSpawnedIn(2, 1), want: "2#1 exit; 2 failed"},
			row{ev: configured(1, 1, true, surge), want: "spawn 2#2 v1; 2 starting"},
			up(0, 2, 2)[:2],
			row{ev: saidReadyIn(2, 2), want: "2 ready; spawn 1#2 v1; 1#2 beside"})},
		{name: "the old one's stop is by its own policy", slots: 1, policy: func(p *Policy) { p.StopSignal = syscall.SIGINT }, rows: rows(boot(1), up(0, 1, 1),
			row{ev: configured(1, 1, true, func(p *Policy) { p.StopTimeout = s }), want: "drain 1#1 6s; 1 stopping", next: 6 * s},
			row{at: 6 * s, want: "SIGINT 1#1"})},
		{name: "stopped by hand before its turn", slots: 2, rows: rows(begun,
			row{at: 2 * s, ev: order(2, Stop, 2), want: "drain 2#1 6s; 2 stopping"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 2: done"},
			up(2*s, 1, 2)[:2],
			row{at: 2 * s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; op 1: done failed"},
			row{at: 3 * s, ev: order(3, Start, 2), want: "spawn 2#2 v1; 2 starting"})},
		{name: "shutdown", slots: 2, rows: rows(begun,
			row{at: 2 * s, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping; drain 2#1 6s; 2 stopping; op 1: failed failed"},
			row{at: 2 * s, ev: configured(2, 2, true), want: "op 2: failed"})},
		{name: "removed meanwhile", slots: 2, rows: rows(begun,
			row{at: 2 * s, ev: RemovePool{2, "web"}, want: "drain 1#1 6s; 1 stopping; drain 2#1 6s; 2 stopping; op 1: failed failed"})},
	})
}

func TestReconfigureReverts(t *testing.T) {
	const s = time.Second
	begun := rows(boot(2), up(0, 1, 1), up(0, 2, 1),
		row{at: s, ev: configured(1, 1, true, surge), want: "spawn 1#2 v1; 1#2 beside"})
	second := rows(begun, up(s, 1, 2)[:2],
		row{at: s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
		row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 2#2 v1; 2#2 beside"})
	back := rows(second,
		row{at: 2 * s, ev: notSpawnedIn(2, 2), want: "2#2 exit; 2#2 rollout; reverted v0; op 1: unchanged failed; drain 1#2 6s; 1 stopping"}) // by then surge is what it was: none
	inPlace := rows(boot(2), up(0, 1, 1), up(0, 2, 1),
		row{at: s, ev: configured(1, 1, true), want: "drain 1#1 6s; 1 stopping"},
		row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2 v1; 1 starting"})
	playAll(t, []script{
		{name: "the first: nothing was changed", slots: 2, rows: rows(begun,
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout; reverted v0; op 1: failed unchanged", next: never},
			row{at: 3 * s, ev: exited(1, 1), want: "1#1 exit; spawn 1#3; 1 starting"},
			row{at: 3 * s, ev: resize(2, 3), want: "spawn 3#1; 3 starting"}), all: versions(0, 0, 0)},
		{name: "a later one: those before go back", slots: 2, rows: rows(back,
			again(3*s, 1, 2, "1#2 exit; spawn 1#3; 1 starting", "1 ready"),
			row{at: time.Hour}), all: versions(0, 0)},
		{name: "in place: it is started as it was, whatever the budget", slots: 2, policy: func(p *Policy) { p.Never = true }, rows: rows(inPlace,
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; spawn 1#3 v1; 1 starting; 1#2 rollout; reverted v0; op 1: failed unchanged; 1 stopping"},
			row{at: 2 * s, ev: notSpawned(3), want: "1#3 exit; spawn 1#4; 1 starting"})}, // its policy of version 1 restarts
		{name: "in place, and it has failed for good", slots: 2, policy: func(p *Policy) { p.GiveUp = []int{78} }, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: configured(1, 1, true, func(p *Policy) { p.GiveUp = []int{78} }), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2 v1; 1 starting"},
			row{at: s, ev: spawned(2)},
			row{at: s, ev: exited(2, 78), want: "1#2 exit; 1 failed; 1#2 rollout; reverted v0; op 1: failed unchanged; spawn 1#3; 1 starting"},
			up(s, 1, 3),
			row{at: time.Hour}), all: versions(0, 0)},
		{name: "in place, not ready in time", slots: 2, rows: rows(inPlace,
			row{at: s, ev: spawned(2)},
			row{at: 31 * s, want: "SIGTERM 1#2; 1 stopping; 1#2 rollout; reverted v0; op 1: failed unchanged"},
			row{at: 32 * s, ev: exited(2, 0), want: "1#2 exit; spawn 1#3; 1 starting", reason: "back to the configuration before"}), all: versions(0, 0)},
		{name: "it dies while it soaks: what was done is not", slots: 2, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: configured(1, 1, true, func(p *Policy) { p.Soak = 2 * s }), want: "drain 1#1 6s; 1 stopping"},
			again(s, 1, 1, "1#1 exit; spawn 1#2 v1; 1 starting", "1 ready"),
			row{at: 3 * s, want: "drain 2#1 6s; 2 stopping"},
			again(3*s, 2, 1, "2#1 exit; spawn 2#2 v1; 2 starting", "2 ready"),
			row{at: 4 * s, ev: exitedIn(2, 2, 1), want: "2#2 exit; spawn 2#3 v1; 2 starting; 2#2 rollout; reverted v0; op 1: unchanged failed; 2 stopping"})},
		{name: "what has ended well under the new one runs as before", slots: 2, policy: surge, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: configured(1, 1, true, func(p *Policy) { p.OnFailureOnly = true }), want: "drain 1#1 6s; 1 stopping"},
			again(s, 1, 1, "1#1 exit; spawn 1#2 v1; 1 starting", "1 ready; drain 2#1 6s; 2 stopping"),
			row{at: 2 * s, ev: exited(2, 0), want: "1#2 exit; 1 done"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; spawn 2#2 v1; 2 starting"},
			row{at: 2 * s, ev: notSpawnedIn(2, 2), want: "2#2 exit; spawn 2#3 v1; 2 starting; 2#2 rollout; reverted v0; op 1: unchanged failed; spawn 1#3; 1 starting"}), all: versions(0, 1)},
		{name: "what it has brought down is started, what was idle is not", slots: 4, policy: func(p *Policy) { p.OnFailureOnly = true }, rows: rows(boot(4), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1), up(0, 4, 1),
			row{ev: order(1, Stop, 2), want: "drain 2#1 6s; 2 stopping"},
			row{ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 1: done"},
			row{ev: exitedIn(3, 1, 0), want: "3#1 exit; 3 done"},
			row{ev: exitedIn(4, 1, 0), want: "4#1 exit; 4 done"},
			row{ev: configured(2, 1, true, func(p *Policy) { p.Surge, p.Never = 1, true }), want: "spawn 1#2 v1; 1#2 beside"},
			row{ev: order(3, Start, 2, 3), want: "spawn 2#2 v1; 2 starting; spawn 3#2 v1; 3 starting"},
			row{ev: notSpawnedIn(2, 2), want: "2#2 exit; 2 failed"},
			row{ev: exitedIn(3, 2, 0), want: "3#2 exit; 3 done; op 3: failed done"},
			row{ev: notSpawned(2), want: "1#2 exit; 1#2 rollout; reverted v0; op 2: failed; spawn 2#3; 2 starting"},
			up(0, 2, 3),
			row{at: time.Hour}), all: versions(0, 0, 0, 0)},
		{name: "slots that came meanwhile go back too", slots: 2, rows: rows(begun,
			row{at: s, ev: resize(2, 3), want: "spawn 3#1 v1; 3 starting"},
			up(s, 3, 1)[:2],
			row{at: s, ev: saidReadyIn(3, 1), want: "3 ready; op 2: done"},
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout; reverted v0; op 1: failed unchanged; drain 3#1 6s; 3 stopping"},
			again(2*s, 3, 1, "3#1 exit; spawn 3#2; 3 starting", "3 ready")), all: versions(0, 0, 0)},
		{name: "what was stopped meanwhile is started as it was", slots: 2, rows: rows(begun,
			row{at: s, ev: order(2, Stop, 2), want: "drain 2#1 6s; 2 stopping"},
			row{at: s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 2: done"},
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout; reverted v0; op 1: failed failed"},
			row{at: 2 * s, ev: order(3, Start, 2), want: "spawn 2#2; 2 starting"})},
		{name: "it is not settled before it has ended, though a slot that was stopped is answered", slots: 2, rows: rows(begun,
			row{at: s, ev: order(2, Stop, 2), want: "drain 2#1 6s; 2 stopping"},
			row{at: s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 2: done"},
			row{at: s, ev: order(3, Start, 2), want: "spawn 2#2; 2 starting"}, // as it was: its turn is to come
			up(s, 1, 2)[:2],
			row{at: s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
			row{at: s, ev: exited(1, 0), want: "1#1 exit; 2 stopping"},
			row{at: s, ev: notSpawnedIn(2, 2), want: "2#2 exit; spawn 2#3 v1; 2 starting"},
			row{at: s, ev: notSpawnedIn(2, 3), want: "2#3 exit; spawn 2#4 v1; 2 starting; 2#3 rollout; reverted v0; op 1: unchanged failed; 2 stopping"})},
		{name: "the way back waits for the new ones beside to go", slots: 2, policy: surge, rows: rows(second,
			row{at: s, ev: spawnedIn(2, 2)},
			row{at: 31 * s, want: "SIGTERM 2#2; 2#2 rollout; reverted v0; op 1: unchanged failed"},
			row{at: 31 * s, ev: exitedIn(2, 2, 1), want: "2#2 exit; spawn 1#3; 1#3 beside"})},
		{name: "another rollout waits for the way back", slots: 2, policy: surge, rows: rows(second,
			row{at: s, ev: order(2, Restart, 1, 2)},
			row{at: 2 * s, ev: notSpawnedIn(2, 2), want: "2#2 exit; 2#2 rollout; reverted v0; op 1: unchanged failed; spawn 1#3; 1#3 beside"},
			up(2*s, 1, 3)[:2],
			row{at: 2 * s, ev: saidReady(3), want: "1#3 swap; drain 1#2 6s"},
			row{at: 2 * s, ev: exited(2, 0), want: "1#2 exit; spawn 2#3; 2#3 beside"})}, // slot 1 has had a new one since it was asked for
	})
}

// The way back may fail as well. What runs the other version serves on, and is
// tried again until it is of its pool's.
func TestWayBackFails(t *testing.T) {
	const s = time.Second
	stuck := rows(boot(2), up(0, 1, 1), up(0, 2, 1),
		row{at: s, ev: configured(1, 1, true, surge), want: "spawn 1#2 v1; 1#2 beside"},
		up(s, 1, 2)[:2],
		row{at: s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
		row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 2#2 v1; 2#2 beside"},
		row{at: 2 * s, ev: notSpawnedIn(2, 2), want: "2#2 exit; 2#2 rollout; reverted v0; op 1: unchanged failed; spawn 1#3; 1#3 beside"},
		row{at: 3 * s, ev: notSpawned(3), want: "1#3 exit; 1#3 rollout", next: 63 * s})
	playAll(t, []script{
		{name: "it serves on", slots: 2, policy: surge, rows: stuck, all: versions(1, 0)},
		{name: "it is tried again", slots: 2, policy: surge, rows: rows(stuck,
			row{at: 63 * s, want: "spawn 1#4; 1#4 beside"},
			row{at: 64 * s, ev: notSpawned(4), want: "1#4 exit; 1#4 rollout", next: 124 * s},
			row{at: 124 * s, want: "spawn 1#5; 1#5 beside"},
			up(124*s, 1, 5)[:2],
			row{at: 124 * s, ev: saidReady(5), want: "1#5 swap; drain 1#2 6s"},
			row{at: 124 * s, ev: exited(2, 0), want: "1#2 exit", next: never}), all: versions(0, 0)},
		{name: "it dies: the next is as it should be", slots: 2, policy: surge, rows: rows(stuck,
			row{at: 4 * s, ev: exited(2, 1), want: "1#2 exit; spawn 1#4; 1 starting"},
			up(4*s, 1, 4),
			row{at: time.Hour}), all: versions(0, 0)},
		{name: "another configuration comes", slots: 2, policy: surge, rows: rows(stuck,
			row{at: 4 * s, ev: configured(2, 2, true, surge), want: "spawn 1#4 v2; 1#4 beside"})},
	})
}

// A Reconfigure that comes while another rolls takes its place.
func TestReconfigureTwice(t *testing.T) {
	const s = time.Second
	second := rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
		row{at: s, ev: configured(1, 1, true, surge), want: "spawn 1#2 v1; 1#2 beside"},
		up(s, 1, 2)[:2],
		row{at: s, ev: saidReady(2), want: "1#2 swap; drain 1#1 6s"},
		row{at: s, ev: exited(1, 0), want: "1#1 exit; spawn 2#2 v1; 2#2 beside"})
	other := rows(second,
		row{at: 2 * s, ev: configured(2, 2, true, surge), want: "op 1: done unchanged unchanged"}, // 2#2 is ordered still
		row{at: 2 * s, ev: notSpawnedIn(2, 2), want: "2#2 exit; spawn 1#3 v2; 1#3 beside"})
	playAll(t, []script{
		{name: "what was rolling ends", slots: 3, rows: rows(other,
			up(2*s, 1, 3)[:2],
			row{at: 2 * s, ev: saidReady(3), want: "1#3 swap; drain 1#2 6s"},
			row{at: 2 * s, ev: exited(2, 0), want: "1#2 exit; spawn 2#3 v2; 2#3 beside"},
			up(2*s, 2, 3)[:2],
			row{at: 2 * s, ev: saidReadyIn(2, 3), want: "2#3 swap; drain 2#1 6s"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; spawn 3#2 v2; 3#2 beside"},
			up(2*s, 3, 2)[:2],
			row{at: 2 * s, ev: saidReadyIn(3, 2), want: "3#2 swap; drain 3#1 6s"},
			row{at: 2 * s, ev: exitedIn(3, 1, 0), want: "3#1 exit; op 2: done done done", next: never}), all: versions(2, 2, 2)},
		{name: "the way back leads to what all had", slots: 3, policy: surge, rows: rows(other,
			row{at: 3 * s, ev: notSpawned(3), want: "1#3 exit; 1#3 rollout; reverted v0; op 2: failed unchanged unchanged; spawn 1#4; 1#4 beside"}, // 1#2 is of version 1
			up(3*s, 1, 4)[:2],
			row{at: 3 * s, ev: saidReady(4), want: "1#4 swap; drain 1#2 6s"},
			row{at: 3 * s, ev: exited(2, 0), want: "1#2 exit", next: never}), all: versions(0, 0, 0)},
		{name: "a slot not reached is restarted as all had it", slots: 3, rows: rows(other,
			row{at: 3 * s, ev: exitedIn(3, 1, 1), want: "3#1 exit; spawn 3#2; 3 starting"}), all: versions(1, 0, 0)},
		{name: "one that only the one before reached too, and then it is its turn", slots: 3, rows: rows(second,
			row{at: 2 * s, ev: configured(2, 2, true, surge), want: "op 1: done unchanged unchanged"},
			row{at: 2 * s, ev: exited(2, 1), want: "1#2 exit; spawn 1#3; 1 starting; 1 stopping"},
			row{at: 2 * s, ev: notSpawned(3), want: "1#3 exit; spawn 1#4 v2; 1 starting"})},
		{name: "in place: the one under way goes first", slots: 2, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: configured(1, 1, true), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: configured(2, 2, true), want: "op 1: unchanged unchanged"},
			again(2*s, 1, 1, "1#1 exit; spawn 1#2 v2; 1 starting", "1 ready; drain 2#1 6s; 2 stopping"),
			again(2*s, 2, 1, "2#1 exit; spawn 2#2 v2; 2 starting", "2 ready; op 2: done done")), all: versions(2, 2)},
		{name: "without Roll: it goes on and brings the newer", slots: 3, rows: rows(second,
			row{at: 2 * s, ev: configured(2, 2, false, surge), want: "op 2:"},
			row{at: 2 * s, ev: exited(2, 1), want: "1#2 exit; spawn 1#3 v2; 1 starting"},
			row{at: 2 * s, ev: exitedIn(3, 1, 1), want: "3#1 exit; spawn 3#2; 3 starting"},
			up(2*s, 3, 2),
			up(2*s, 2, 2)[:2],
			row{at: 2 * s, ev: saidReadyIn(2, 2), want: "2#2 swap; drain 2#1 6s"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; spawn 3#3 v2; 3#3 beside"}), all: versions(2, 2, 0)},
		{name: "without Roll, and then it fails", slots: 3, policy: surge, rows: rows(second,
			row{at: 2 * s, ev: configured(2, 2, false, surge), want: "op 2:"},
			row{at: 2 * s, ev: notSpawnedIn(2, 2), want: "2#2 exit; 2#2 rollout; reverted v0; op 1: unchanged failed unchanged; spawn 1#3; 1#3 beside"})},
		{name: "it waits behind a restart, as the one before it did", slots: 2, policy: surge, rows: rows(boot(2), up(0, 1, 1), up(0, 2, 1),
			row{at: s, ev: order(1, Restart, 1, 2), want: "spawn 1#2; 1#2 beside"},
			row{at: s, ev: configured(2, 1, true, surge)},
			row{at: s, ev: configured(3, 2, true, surge), want: "op 2: unchanged unchanged"},
			row{at: 2 * s, ev: notSpawned(2), want: "1#2 exit; 1#2 rollout; op 1: failed unchanged; spawn 1#3 v2; 1#3 beside"})},
	})
}
