package lifecycle

import (
	"syscall"
	"time"
)

// Event is something that has happened. Events of a process carry its ID.
type Event interface{ event() }

type (
	// Boot starts every slot that is wanted up.
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
	// SaidReady: the worker has said READY.
	SaidReady struct{ ID }
	// Ponged: the worker has answered a ping.
	Ponged struct{ ID }
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
	// Shutdown stops everything for good; with Now, by SIGKILL.
	Shutdown struct{ Now bool }
)

func (Boot) event()        {}
func (Tick) event()        {}
func (Spawned) event()     {}
func (SpawnFailed) event() {}
func (Exited) event()      {}
func (Greeted) event()     {}
func (SaidReady) event()   {}
func (Ponged) event()      {}
func (HungUp) event()      {}
func (Order) event()       {}
func (Shutdown) event()    {}

// Verb is what an Order does.
type Verb string

const (
	Start   Verb = "start"
	Stop    Verb = "stop"
	Restart Verb = "restart" // several slots: one after the other
)

// Effect is something for the shell to carry out, in order.
type Effect interface{ effect() }

type (
	// Spawn starts a process. Exactly one of Spawned and SpawnFailed answers.
	Spawn struct{ ID }
	// Drain asks a worker that has said HELLO to finish within Grace.
	Drain struct {
		ID
		Grace time.Duration
	}
	// Signal sends to the whole process group.
	Signal struct {
		ID
		Signal syscall.Signal
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
	// Settled answers an Order: each slot has come to what was asked, or will not.
	Settled struct {
		Op      uint64
		Results []Result
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
func (Finished) effect() {}

// Kind is what an announcement is about.
type Kind string

const (
	KindState      Kind = "state"      // the slot has come into another state
	KindExit       Kind = "exit"       // a process has ended
	KindSuspect    Kind = "suspect"    // a ping was missed
	KindHung       Kind = "hung"       // so many that it counts as unresponsive
	KindResponsive Kind = "responsive" // it answers again
	KindKill       Kind = "kill"       // SIGKILL was sent
	KindRollout    Kind = "rollout"    // a restart of several slots has ended
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
