package lifecycle

import (
	"testing"
	"time"
)

func resize(op uint64, to int) Event { return Resize{op, "web", to} }

// addWeb makes the pool web again, of version v.
func addWeb(op uint64, slots int, v uint64, after ...string) Event {
	return AddPool{Op: op, Pool: "web", Slots: slots, Version: v, Policy: basic(), After: after}
}

func TestResize(t *testing.T) {
	const s = time.Second
	two := rows(boot(2), up(0, 1, 1), up(0, 2, 1))
	down := rows(two, row{at: s, ev: resize(1, 1), want: "drain 2#1 6s; 2 stopping"})
	gone := rows(down, row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 1: done; gone 2", next: never})
	playAll(t, []script{
		{name: "up", slots: 2, rows: rows(two,
			row{at: s, ev: resize(1, 4), want: "spawn 3#1; 3 starting; spawn 4#1; 4 starting"},
			up(s, 4, 1),
			up(s, 3, 1)[:2],
			row{at: s, ev: saidReadyIn(3, 1), want: "3 ready; op 1: done done"})},
		{name: "up, and one fails", slots: 2, policy: func(p *Policy) { p.Never = true }, rows: rows(two,
			row{at: s, ev: resize(1, 3), want: "spawn 3#1; 3 starting"},
			row{at: s, ev: notSpawnedIn(3, 1), want: "3#1 exit; 3 failed; op 1: failed"})},
		{name: "as it is", slots: 2, rows: rows(two, row{at: s, ev: resize(1, 2), want: "op 1:"})},
		{name: "down", slots: 2, rows: rows(gone, row{at: time.Hour})},
		{name: "late words of what is gone", slots: 2, rows: rows(gone,
			row{at: 2 * s, ev: exitedIn(2, 1, 0)},
			row{at: 2 * s, ev: saidReadyIn(2, 1)},
			row{at: 2 * s, ev: order(2, Restart, 2), want: "op 2: failed"},
			row{at: 2 * s, ev: order(3, Stop, 1, 2), want: "drain 1#1 6s; 1 stopping"},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 3: done failed"})},
		{name: "down to none, and up again: generations go on", slots: 2, rows: rows(gone,
			row{at: 3 * s, ev: resize(2, 0), want: "drain 1#1 6s; 1 stopping"},
			row{at: 3 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 2: done; gone 1"},
			row{at: 4 * s, ev: resize(3, 2), want: "spawn 1#2; 1 starting; spawn 2#2; 2 starting"})},
		{name: "gone from the end, each once it is empty", slots: 3, rows: rows(boot(3), up(0, 1, 1), up(0, 2, 1), up(0, 3, 1),
			row{at: s, ev: resize(1, 1), want: "drain 2#1 6s; 2 stopping; drain 3#1 6s; 3 stopping"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped"},
			row{at: 3 * s, ev: exitedIn(3, 1, 0), want: "3#1 exit; 3 stopped; op 1: done done; gone 3; gone 2"})},
		{name: "one that is stopped is gone at once", slots: 2, rows: rows(two,
			row{at: s, ev: order(1, Stop, 2), want: "drain 2#1 6s; 2 stopping"},
			row{at: s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 1: done"},
			row{at: s, ev: resize(2, 1), want: "op 2: done; gone 2"})},
		{name: "up again while it leaves: it stays, with a new process", slots: 2, rows: rows(down,
			row{at: s, ev: resize(2, 2), next: 7 * s},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; spawn 2#2; 2 starting; op 1: failed"},
			up(2*s, 2, 2)[:2],
			row{at: 2 * s, ev: saidReadyIn(2, 2), want: "2 ready; op 2: done"})},
		{name: "and down once more", slots: 2, rows: rows(down,
			row{at: s, ev: resize(2, 2)},
			row{at: s, ev: resize(3, 1), want: "op 2: failed"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 1: done; op 3: done; gone 2"})},
		{name: "orders while it leaves", slots: 2, rows: rows(down,
			row{at: s, ev: order(2, Start, 2), want: "op 2: failed"},
			row{at: s, ev: order(3, Restart, 2), want: "op 3: failed"},
			row{at: s, ev: order(4, Restart, 2, 1), want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: order(5, Stop, 2)},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 1: done; op 5: done; gone 2"})},
		{name: "while ordered", slots: 2, rows: rows(boot(2),
			row{ev: resize(1, 1), want: "2 stopping"},
			row{at: s, ev: spawnedIn(2, 1), want: "SIGTERM 2#1"},
			row{at: s, ev: exitedIn(2, 1, 1), want: "2#1 exit; 2 stopped; op 1: done; gone 2"})},
		{name: "in backoff", slots: 2, rows: rows(boot(2),
			row{ev: notSpawnedIn(2, 1), want: "2#1 exit; spawn 2#2; 2 starting"},
			row{ev: notSpawnedIn(2, 2), want: "2#2 exit; 2 backoff"},
			row{ev: resize(1, 1), want: "2 stopped; op 1: done; gone 2", next: never})},
		{name: "no such pool", rows: rows(boot(1), row{ev: Resize{1, "cache", 1}, want: "op 1: failed"})},
		{name: "shutdown", slots: 2, rows: rows(down,
			row{at: s, ev: Shutdown{}, want: "drain 1#1 6s; 1 stopping"},
			row{at: s, ev: resize(2, 4), want: "op 2: failed"},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 1: done; gone 2; finished"})},
	})
}

func TestPoolsComeAndGo(t *testing.T) {
	const s = time.Second
	removed := rows(boot(2), up(0, 1, 1), up(0, 2, 1),
		row{at: s, ev: RemovePool{1, "web"}, want: "drain 1#1 6s; 1 stopping; drain 2#1 6s; 2 stopping"})
	gone := rows(removed,
		row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped"},
		row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 1: done done; gone 2; gone 1", next: never})
	playAll(t, []script{
		{name: "removed", slots: 2, rows: rows(gone,
			row{at: 2 * s, ev: RemovePool{2, "web"}, want: "op 2: failed"},
			row{at: 2 * s, ev: resize(3, 1), want: "op 3: failed"},
			row{at: 2 * s, ev: Reconfigure{Op: 4, Pool: "web", Version: 1, Policy: basic()}, want: "op 4: failed"})},
		{name: "what may not be done meanwhile", slots: 2, rows: rows(removed,
			row{at: s, ev: RemovePool{2, "web"}, want: "op 2: failed"},
			row{at: s, ev: resize(3, 1), want: "op 3: failed"},
			row{at: s, ev: Reconfigure{Op: 4, Pool: "web", Version: 1, Policy: basic()}, want: "op 4: failed"},
			row{at: s, ev: order(5, Start, 1), want: "op 5: failed"})},
		{name: "added", slots: 2, rows: rows(gone,
			row{at: 3 * s, ev: addWeb(2, 1, 7), want: "spawn 1#2 v7; 1 starting"},
			up(3*s, 1, 2)[:2],
			row{at: 3 * s, ev: saidReady(2), want: "1 ready; op 2: done", next: never})},
		{name: "of no slots, removed and added", slots: 2, rows: rows(gone,
			row{at: 3 * s, ev: addWeb(2, 0, 7), want: "op 2:"},
			row{at: 3 * s, ev: addWeb(3, 1, 8), want: "op 3: failed"},
			row{at: 3 * s, ev: RemovePool{4, "web"}, want: "op 4:"},
			row{at: 3 * s, ev: addWeb(5, 1, 8), want: "spawn 1#2 v8; 1 starting"})},
		{name: "there already", rows: rows(boot(1), row{ev: addWeb(1, 3, 7), want: "op 1: failed"})},
		{name: "added while its slots leave: those have new processes of the new pool", slots: 2, rows: rows(removed,
			row{at: s, ev: exited(1, 0), want: "1#1 exit; 1 stopped"},
			row{at: s, ev: addWeb(2, 3, 7), want: "spawn 1#2 v7; 1 starting; spawn 3#1 v7; 3 starting"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; spawn 2#2 v7; 2 starting; op 1: done failed"},
			up(2*s, 1, 2), up(2*s, 3, 1), up(2*s, 2, 2)[:2],
			row{at: 2 * s, ev: saidReadyIn(2, 2), want: "2 ready; op 2: done done done", next: never})},
		{name: "with fewer slots: the rest is gone", slots: 2, rows: rows(removed,
			row{at: s, ev: addWeb(2, 1, 7)},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; gone 2"},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#2 v7; 1 starting; op 1: failed done"})},
		{name: "added and removed once more", slots: 2, rows: rows(removed,
			row{at: s, ev: addWeb(2, 2, 7)},
			row{at: s, ev: RemovePool{3, "web"}, want: "op 2: failed failed"},
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; gone 2"},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; 1 stopped; op 1: done done; op 3: done done; gone 1"})},
		{name: "removed while one beside boots", slots: 2, policy: surging, rows: rows(besideOne(),
			row{at: 2 * s, ev: spawned(2)},
			row{at: 2 * s, ev: RemovePool{2, "web"}, want: "drain 1#1 6s; 1 stopping; SIGTERM 1#2; drain 2#1 6s; 2 stopping; op 1: failed failed"},
			row{at: 2 * s, ev: addWeb(3, 1, 7)},
			row{at: 2 * s, ev: exited(1, 0), want: "1#1 exit; spawn 1#3 v7; 1 starting"}, // 1#2 goes on going
			row{at: 2 * s, ev: exitedIn(2, 1, 0), want: "2#1 exit; 2 stopped; op 2: failed done; gone 2"},
			row{at: 3 * s, ev: exited(2, 0), want: "1#2 exit"})},
		{name: "shutdown", slots: 2, rows: rows(boot(2),
			row{ev: Shutdown{Now: true}, want: "1 stopping; 2 stopping"},
			row{ev: AddPool{Op: 1, Pool: "cache", Slots: 1, Policy: basic()}, want: "op 1: failed"},
			row{ev: RemovePool{2, "web"}, want: "op 2: failed"})},
	})
}
