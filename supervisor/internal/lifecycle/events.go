package lifecycle

import (
	"syscall"
	"time"
)

// Event is something that has happened. Events of a process carry its ID.
type Event interface{ event() }

type (
	// Boot starts every slot that is wanted up, as far as the pools that its
	// pool comes after are up.
	Boot struct{}
	// Tick says that time has passed.
	Tick struct{}

	// Spawned answers the effect Spawn.
	Spawned struct {
		ID
		PID int
	}
	// SpawnFailed answers the effect Spawn: there is no process.
	SpawnFailed struct {
		ID
		Err string
	}
	// Exited is the last event of a process.
	Exited struct {
		ID
		Code   int // -1 with Signal
		Signal syscall.Signal
		Core   bool
	}
	// Greeted: the worker has said HELLO.
	Greeted struct{ ID }
	// SaidReady: the worker has said READY, or its probe has.
	SaidReady struct{ ID }
	// Ponged: the worker has answered a ping.
	Ponged struct {
		ID
		Beat time.Duration // age of its beat; negative: it has none
	}
	// SaidAlive: the worker has fed its watchdog, sd_notify(3).
	SaidAlive struct{ ID }
	// SaidStopping: the worker goes of its own accord.
	SaidStopping struct{ ID }
	// WatchedBy: the worker wants another time between the signs that its
	// watchdog wants; 0: none.
	WatchedBy struct {
		ID
		Every time.Duration
	}
	// Extended: the worker needs so much more time to become ready.
	Extended struct {
		ID
		By time.Duration
	}
	// Due: the worker has done its share and is to be replaced when it fits. It
	// need not be said again.
	Due struct {
		ID
		Why string
	}
	// HungUp: the connection of a worker that had said HELLO has ended, or the
	// worker, HELLO or not, has broken the protocol (Breach).
	HungUp struct {
		ID
		Breach bool
		Reason string
	}

	// Order is what an operator asks for.
	Order struct {
		Op         uint64 // comes back in Settled
		Verb       Verb
		Slots      []Slot
		Generation uint64 // not 0: only if it is the one that counts
		Roll       bool   // Restart: a rollout, even of a single slot
	}
	// Resize gives a pool another number of slots. One that is too many is
	// stopped and, once empty, Gone. If it is wanted again before that, it stays,
	// with a new process. The op waits for the slots that come, go or stay after
	// all.
	Resize struct {
		Op   uint64
		Pool string
		To   int
	}
	// AddPool makes a pool and starts it, when the pools that it comes after are
	// up. A pool of that name which is being removed becomes the new one; slots
	// that are still leaving stay, with new processes.
	AddPool struct {
		Op      uint64
		Pool    string
		Slots   int
		Version uint64
		Policy  *Policy
		After   []string
	}
	// RemovePool stops a pool for good. Its slots are Gone one by one.
	RemovePool struct {
		Op   uint64
		Pool string
	}
	// Reconfigure gives a pool another policy and After.
	//
	// Without Roll they are of the processes that are there at once; those count
	// as of the new version.
	//
	// With Roll the workers are replaced by ones of that version, slot after
	// slot; one that the rollout has not come to goes on being restarted from the
	// version before. Slots in which nothing runs have the new one at once. If a
	// new worker does not become ready the pool is Reverted: every slot has the
	// version before again, and workers that run the new one are replaced once
	// more. One for which that fails too serves on, and it is tried again.
	//
	// One that comes while another rolls takes its place: with Roll, what was
	// rolling ends, and the way back leads to the last version that the whole pool
	// had. Without, the rollout goes on and brings the newer version instead.
	Reconfigure struct {
		Op      uint64
		Pool    string
		Version uint64 // no other configuration of the pool had it
		Policy  *Policy
		After   []string
		Roll    bool
	}
	// Shutdown stops everything for good; with Now, by SIGKILL.
	Shutdown struct{ Now bool }
)

func (Boot) event()         {}
func (Tick) event()         {}
func (Spawned) event()      {}
func (SpawnFailed) event()  {}
func (Exited) event()       {}
func (Greeted) event()      {}
func (SaidReady) event()    {}
func (Ponged) event()       {}
func (SaidAlive) event()    {}
func (SaidStopping) event() {}
func (Extended) event()     {}
func (WatchedBy) event()    {}
func (Due) event()          {}
func (HungUp) event()       {}
func (Order) event()        {}
func (Resize) event()       {}
func (AddPool) event()      {}
func (RemovePool) event()   {}
func (Reconfigure) event()  {}
func (Shutdown) event()     {}

// Verb is what an Order does.
type Verb string

const (
	Start   Verb = "start"
	Stop    Verb = "stop"
	Restart Verb = "restart" // of one slot: at once; of several: a rollout
)

// Effect is something for the shell to carry out, in order.
type Effect interface{ effect() }

type (
	// Spawn starts a process. Exactly one of Spawned and SpawnFailed answers.
	Spawn struct {
		ID
		Version uint64 // of the pool's configuration
	}
	// Drain asks a worker that has said HELLO to finish within Grace.
	Drain struct {
		ID
		Grace time.Duration
	}
	// Signal sends to the whole process group, or to its leader alone.
	Signal struct {
		ID
		Signal syscall.Signal
		Leader bool
	}
	// Ping asks a worker for a sign of life.
	Ping struct{ ID }
	// Announce tells whoever listens. The slot's view shows it already.
	Announce struct {
		Slot
		Generation uint64
		Kind       Kind
		Text       string
	}
	// Settled answers an Order and its like: each slot has come to what was
	// asked, or will not.
	Settled struct {
		Op      uint64
		Results []Result
	}
	// Gone: the slot is no more. If there is one of that name again, it goes on
	// counting generations where this one has ended.
	Gone struct{ Slot }
	// Reverted: a Reconfigure has failed, Version is the pool's again. It comes
	// before the op is Settled.
	Reverted struct {
		Pool    string
		Version uint64
	}
	// Finished: a Shutdown is over, no process is left.
	Finished struct{}
)

func (Spawn) effect()    {}
func (Drain) effect()    {}
func (Signal) effect()   {}
func (Ping) effect()     {}
func (Announce) effect() {}
func (Settled) effect()  {}
func (Gone) effect()     {}
func (Reverted) effect() {}
func (Finished) effect() {}

// Kind is what an announcement is about.
type Kind string

const (
	KindState      Kind = "state"      // the slot has come into another state
	KindExit       Kind = "exit"       // a process has ended
	KindSuspect    Kind = "suspect"    // a ping was missed, or the beat stands still
	KindHung       Kind = "hung"       // so often, or its watchdog's sign too late, that it counts as unresponsive
	KindResponsive Kind = "responsive" // it is not any more
	KindKill       Kind = "kill"       // SIGKILL was sent
	KindBeside     Kind = "beside"     // a new process starts beside the one that it is to replace
	KindSwap       Kind = "swap"       // it has taken the place
	KindRollout    Kind = "rollout"    // a rollout has ended early
	KindGone       Kind = "gone"       // the slot is no more
)

// Outcome is what became of an Order in one slot.
type Outcome string

const (
	OutcomeDone      Outcome = "done"
	OutcomeUnchanged Outcome = "unchanged" // it was so already, or was not touched
	OutcomeFailed    Outcome = "failed"
	OutcomeStale     Outcome = "stale" // the generation named is not the slot's newest
)

// Result is one slot's part of Settled.
type Result struct {
	Slot
	Outcome Outcome
	Text    string // why not, when it is not done
}
