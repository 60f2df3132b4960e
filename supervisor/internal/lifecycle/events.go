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
	// Extended: the worker needs so much more time to become ready.
	Extended struct {
		ID
		By time.Duration
	}
	// Due: the worker has done its share and is to be replaced when it fits.
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
		Slots      []Slot // all of them exist
		Generation uint64 // not 0: only if it is the slot's newest
	}
	// Resize gives a pool another number of slots. One that is too many is
	// stopped and, once empty, Gone.
	Resize struct {
		Op   uint64
		Pool string
		To   int
	}
	// AddPool makes a pool and starts it.
	AddPool struct {
		Op      uint64
		Pool    string
		Slots   int
		Version uint64
		Policy  *Policy
		After   []string
	}
	// RemovePool stops a pool for good.
	RemovePool struct {
		Op   uint64
		Pool string
	}
	// Reconfigure gives a pool another policy and, with Roll, replaces its
	// workers by ones of that version. If one does not become ready the pool
	// goes back to what it had.
	Reconfigure struct {
		Op      uint64
		Pool    string
		Version uint64
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
	Restart Verb = "restart" // of several slots: a rollout
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
	// Gone: the slot is no more.
	Gone struct{ Slot }
	// Reverted: a Reconfigure has failed, the pool is back to Version.
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
	KindHung       Kind = "hung"       // so often that it counts as unresponsive
	KindResponsive Kind = "responsive" // it answers again
	KindKill       Kind = "kill"       // SIGKILL was sent
	KindBeside     Kind = "beside"     // a new process starts beside the one that it is to replace
	KindSwap       Kind = "swap"       // it has taken the place
	KindRollout    Kind = "rollout"    // a rollout has ended early
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
