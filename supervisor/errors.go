package supervisor

import (
	"fmt"
	"strings"
)

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

// NoPoolError is of a target that names no pool there is, or none where there are
// several. It is ErrNoTarget or ErrNotOne.
type NoPoolError struct {
	Pool  string   // as it was named. Empty: it was not
	Known []string // the pools that may be spoken of. Empty: none is
}

func (e *NoPoolError) Error() string {
	text, list := fmt.Sprintf("%v: there is no pool %q", ErrNoTarget, e.Pool), "; the pools are "
	if e.Pool == "" {
		text, list = fmt.Sprintf("%v: there are several pools", ErrNotOne), ": say which of "
	}
	if len(e.Known) == 0 {
		return text
	}
	return text + list + strings.Join(e.Known, ", ")
}

func (e *NoPoolError) Unwrap() error {
	if e.Pool == "" {
		return ErrNotOne
	}
	return ErrNoTarget
}
