package supervisor

import "errors"

// Errors of Supervisor's methods, beside the outcomes in package ipc.
var (
	// ErrBadTarget: the text is no target.
	ErrBadTarget = errors.New("bad target")
	// ErrNoTarget: there is no such pool or slot.
	ErrNoTarget = errors.New("no such target")
	// ErrStale: the slot is there, but that generation is not in it.
	ErrStale = errors.New("stale generation")
	// ErrNotOne: the target names several workers where one is needed, or no
	// pool where there are several.
	ErrNotOne = errors.New("not one worker")
	// ErrStopping: the supervisor has stopped every worker, or is about to.
	ErrStopping = errors.New("the supervisor is not running")
)
