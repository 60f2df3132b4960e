package supervisor

import (
	"fmt"
	"os"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

// State is what a slot is doing.
type State = lifecycle.State

// The states of a slot.
const (
	Stopped   = lifecycle.Stopped  // nothing runs and nothing is meant to
	Starting  = lifecycle.Starting // a process was ordered and is not ready yet
	IsReady   = lifecycle.Ready    // it may be given work
	Stopping  = lifecycle.Stopping // it has been asked to go, one way or another
	InBackoff = lifecycle.Backoff  // it died; the next try waits
	HasFailed = lifecycle.Failed   // it died too often, or said not to try again
	IsDone    = lifecycle.Done     // it has done its work and is not to run again
)

// Status is what there is to know at one moment.
type Status struct {
	PID     int       // of the supervisor
	Started time.Time // when Run began; zero before
	Pools   []PoolStatus
}

// PoolStatus is one pool, its slots in order.
type PoolStatus struct {
	Name     string
	Workers  int // slots there are
	MinReady int // configured, and at most as many as there are slots that stay
	Wanted   int // slots that are wanted up
	Ready    int // slots that are ready
	Queued   int // commands that wait for a worker
	Slots    []SlotStatus
}

// SlotStatus is one slot and the process in it.
type SlotStatus struct {
	Pool       string
	Slot       int
	Generation uint64 // of the newest process; 0: there was none yet
	State      State
	WantUp     bool // what the operator wants
	Since      time.Time
	Reason     string    // why the state is what it is, for people
	PID        int       // 0: no process
	Spawned    time.Time // of the process; zero: none
	RetryAt    time.Time // backoff: of the next try
	Restarts   int       // that nobody asked for, since Run began
	LastExit   *ExitStatus
	Exits      []ExitStatus // newest first, at most 10; not to be written to
	// While a rollout is under way: the generation that is to take the place,
	// and the one that has lost it and is still there. 0: none.
	Next, Old uint64

	// The four verdicts. Responsive and Progressing are nil where nothing can
	// be said: the worker is not pinged, or has no beat.
	Alive, Ready            bool
	Responsive, Progressing *bool

	// What the worker says of itself.
	SDK      string // empty: a plain worker
	Commands []ipc.CommandInfo
	Status   string
	Inflight int           // commands open on it, asked for by this supervisor
	PingRTT  time.Duration // of the last answered ping; 0: none
	LogDrops uint64        // lines of its output that were dropped
	Served   uint64        // commands that have ended in this slot, of all generations

	// What the process takes, as of the last Sample; 0: not known.
	RSS int64         // resident memory, in bytes
	CPU time.Duration // processor time since its start
	FDs int           // open descriptors
}

// Target names the slot.
func (s SlotStatus) Target() Target { return Target{Pool: s.Pool, Slot: s.Slot} }

// ExitStatus is how a process ended.
type ExitStatus struct {
	lifecycle.Exit
	Stderr []string // its last lines, oldest first, at most 10
	// OOM guesses that the kernel killed it for want of memory: SIGKILL came, not
	// from here, and the kernel has counted such a kill since the exit before.
	OOM bool
}

// maxBeat is how old a beat may be for the worker to count as progressing.
const maxBeat = 10 * time.Second

// Status answers from memory, whatever else is stuck.
func (s *Supervisor) Status() Status {
	boards := s.boards()
	st := Status{PID: os.Getpid(), Pools: make([]PoolStatus, len(boards))}
	if t := s.started.Load(); t != nil {
		st.Started = *t
	}
	for i, b := range boards {
		st.Pools[i] = s.poolStatus(b)
	}
	return st
}

// Changes counts what has changed in what Status tells, but for what moves by
// itself: times, open commands, what the workers say and take.
func (s *Supervisor) Changes() uint64 { return s.changes.Load() }

// PoolNames are the pools there are.
func (s *Supervisor) PoolNames() []string {
	boards := s.boards()
	names := make([]string, len(boards))
	for i, b := range boards {
		names[i] = b.name
	}
	return names
}

// Select is Status for the pools and slots that t names: those of one pool or,
// for a slot, that one alone. A generation that is not in its slot is ErrStale.
func (s *Supervisor) Select(t Target) (Status, error) {
	st := s.Status()
	if t.Pool == "*" {
		return st, nil
	}
	b, err := s.findPool(t)
	if err != nil {
		return Status{}, err
	}
	p := s.poolStatus(b)
	st.Pools = []PoolStatus{p}
	if t.Slot == 0 {
		return st, nil
	}
	places, err := s.find(t)
	if err != nil {
		return Status{}, err
	}
	w := s.slotStatus(places[0])
	if t.Generation != 0 && t.Generation != w.Generation {
		named := lifecycle.ID{Slot: lifecycle.Slot{Pool: w.Pool, N: w.Slot}, Generation: t.Generation}
		return Status{}, fmt.Errorf("%w: %s", ErrStale, named.Missed(w.Generation))
	}
	p.Slots, p.Workers, p.MinReady, p.Wanted, p.Ready = []SlotStatus{w}, 1, 1, 0, 0
	if w.WantUp {
		p.Wanted = 1
	}
	if w.Ready {
		p.Ready = 1
	}
	st.Pools[0] = p
	return st, nil
}

func (s *Supervisor) poolStatus(b *board) PoolStatus {
	places := *b.places.Load()
	p := PoolStatus{
		Name: b.name, Workers: len(places), Queued: b.gate.waitingNow(), Slots: make([]SlotStatus, len(places)),
		MinReady: min(b.config.Load().MinReady, staying(places)),
	}
	for i, pl := range places {
		p.Slots[i] = s.slotStatus(pl)
		if p.Slots[i].WantUp {
			p.Wanted++
		}
		if p.Slots[i].Ready {
			p.Ready++
		}
	}
	return p
}

// staying is how many of a pool's slots are not to be gone: the others are the last.
func staying(places []*place) int {
	n := len(places)
	for n > 0 && places[n-1].view.Load().Leaving {
		n--
	}
	return n
}

func (s *Supervisor) slotStatus(pl *place) SlotStatus {
	v, l := pl.current()
	st := SlotStatus{
		Pool: v.Pool, Slot: v.N, Generation: v.Generation, State: v.State, WantUp: v.Want == lifecycle.Up,
		Since: v.Since, Reason: v.Reason, PID: v.PID, Spawned: v.Spawned, RetryAt: v.RetryAt, Restarts: v.Restarts,
		LastExit: pl.lastExit(), Exits: *pl.exits.Load(), Next: v.Next, Old: v.Old, Alive: v.PID != 0, Ready: v.State == lifecycle.Ready,
		Served: pl.served.Load(),
	}
	if newest := pl.live.Load(); newest != nil {
		st.LogDrops = newest.drops()
	}
	if l != nil && v.PID != 0 {
		l.describe(&st, v)
	}
	return st
}
