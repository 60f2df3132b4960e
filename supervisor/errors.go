package supervisor

// sentinel is an error with the code that it has on the control socket, so that
// errors.Is holds on both ends: package client's errors compare codes.
type sentinel struct{ text, code string }

func (e *sentinel) Error() string { return e.text }

// ControlCode is the code of the problem document.
func (e *sentinel) ControlCode() string { return e.code }

// Errors of Supervisor's methods, beside the outcomes in package ipc.
var (
	// ErrBadTarget: the text is no target.
	ErrBadTarget error = &sentinel{"bad target", "bad_request"}
	// ErrNoTarget: there is no such pool or slot.
	ErrNoTarget error = &sentinel{"no such target", "not_found"}
	// ErrStale: the slot is there, but that generation is not in it.
	ErrStale error = &sentinel{"stale generation", "stale"}
	// ErrNotOne: the target names several workers where one is needed, or no
	// pool where there are several.
	ErrNotOne error = &sentinel{"not one worker", "conflict"}
	// ErrStopping: the supervisor has stopped every worker, or is about to.
	ErrStopping error = &sentinel{"the supervisor is not running", "unavailable"}
)
