package supervisor

import (
	"slices"
	"sync/atomic"

	"example.com/brood/supervisor/internal/lifecycle"
)

// The board is where the loop leaves what readers may see. Readers never ask
// the loop, so status answers even while everything else is stuck.

// board is one pool. The loop alone changes it.
type board struct {
	name   string
	config atomic.Pointer[Pool]     // in force, defaults filled in
	asked  atomic.Int64             // workers that the configuration asks for, whatever scale has made of that
	places atomic.Pointer[[]*place] // by slot - 1
	gone   atomic.Bool              // RemovePool: it is on its way out
	gate   *gate                    // commands to the pool
	stats  poolStats
}

// place is one slot.
type place struct {
	board *board
	id    lifecycle.Slot
	view  atomic.Pointer[lifecycle.View]
	live  atomic.Pointer[live]         // the process that counts, running or not; nil: none yet
	exits atomic.Pointer[[]ExitStatus] // newest first

	logs   logRing
	served atomic.Uint64 // commands that have ended here, of all generations
}

// keptExits is how many ends of processes are remembered for each slot.
const keptExits = 10

func newBoard(p Pool, slots int) *board {
	b := &board{name: p.Name}
	b.config.Store(&p)
	b.asked.Store(int64(p.Workers))
	b.places.Store(&[]*place{})
	b.gate = newGate(b)
	b.extend(slots)
	return b
}

// extend makes the places up to n that are not there.
func (b *board) extend(n int) {
	places := slices.Clone(*b.places.Load())
	for len(places) < n {
		places = append(places, newPlace(b, len(places)+1))
	}
	b.places.Store(&places)
}

func newPlace(b *board, n int) *place {
	pl := &place{board: b, id: lifecycle.Slot{Pool: b.name, N: n}}
	pl.view.Store(&lifecycle.View{Slot: pl.id, State: lifecycle.Stopped, Want: lifecycle.Up, Reason: "not started yet"})
	pl.exits.Store(&[]ExitStatus{})
	return pl
}

// remove takes the last place out if it is n's.
func (b *board) remove(n int) {
	places := *b.places.Load()
	if len(places) == n {
		places = slices.Clone(places[:n-1])
		b.places.Store(&places)
	}
}

// configure puts a configuration in force.
func (b *board) configure(p *Pool) { b.config.Store(p) }

// noteExit keeps what ended, unless it is the end that is kept already.
func (pl *place) noteExit(e ExitStatus) {
	known := false
	pl.changeExits(func(old []ExitStatus) []ExitStatus {
		if known = len(old) > 0 && old[0].Generation == e.Generation; known {
			return old
		}
		return append([]ExitStatus{e}, old[:min(len(old), keptExits-1)]...)
	})
	if !known {
		pl.board.stats.exit(e)
	}
}

// blameMemory says of an end that is kept that memory had run out.
func (pl *place) blameMemory(generation uint64) {
	fresh := false
	pl.changeExits(func(old []ExitStatus) []ExitStatus {
		exits := slices.Clone(old)
		fresh = false
		for i := range exits {
			if exits[i].Generation == generation {
				fresh = !exits[i].OOM
				exits[i].OOM = true
			}
		}
		return exits
	})
	if fresh {
		pl.board.stats.oomKills.Add(1)
	}
}

// changeExits replaces what readers may hold.
func (pl *place) changeExits(change func(old []ExitStatus) []ExitStatus) {
	for {
		old := pl.exits.Load()
		exits := change(*old)
		if pl.exits.CompareAndSwap(old, &exits) {
			return
		}
	}
}

// lastExit is the newest end, nil: there was none.
func (pl *place) lastExit() *ExitStatus {
	if exits := *pl.exits.Load(); len(exits) > 0 {
		return &exits[0]
	}
	return nil
}

// current is the process that counts and what the loop says of it. live is nil
// while there is none.
func (pl *place) current() (*lifecycle.View, *live) {
	v, l := pl.view.Load(), pl.live.Load()
	if l != nil && l.id.Generation != v.Generation {
		l = nil
	}
	return v, l
}

// boards are the pools, as configured.
func (s *Supervisor) boards() []*board { return *s.pools.Load() }

// declared are the pools as they were last asked for and are in force: but for their
// number of workers, which scale may have changed.
func (s *Supervisor) declared() []Pool {
	var all []Pool
	for _, b := range s.boards() {
		if b.gone.Load() {
			continue
		}
		p := *b.config.Load()
		p.Workers = int(b.asked.Load())
		all = append(all, p)
	}
	return all
}

func (s *Supervisor) boardOf(pool string) *board {
	for _, b := range s.boards() {
		if b.name == pool {
			return b
		}
	}
	return nil
}
