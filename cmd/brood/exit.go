package main

import (
	"errors"
	"fmt"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// Exit codes of all commands but health.
const (
	exitDone         = 0
	exitError        = 1 // the worker answered with an error; or anything not below
	exitUsage        = 2 // wrong usage or configuration
	exitDown         = 3 // the target is not up
	exitNoSupervisor = 4
	exitDenied       = 5
	exitNotFound     = 6
	exitTimeout      = 7 // it may still be running
	exitLost         = 8 // the worker died; the text says whether it had started
	exitOverloaded   = 9
)

// coded is an error with an exit code of its own.
type coded struct {
	code int
	err  error // nil: all was said already
}

func (c *coded) Error() string {
	if c.err == nil {
		return ""
	}
	return c.err.Error()
}

func (c *coded) Unwrap() error { return c.err }

func usagef(format string, args ...any) error {
	return &coded{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var c *coded
	var problem *client.Error
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &problem):
		return problemExit(problem.Code)
	case errors.Is(err, client.ErrNoSupervisor):
		return exitNoSupervisor
	case errors.Is(err, client.ErrDenied):
		return exitDenied
	case errors.Is(err, ipc.ErrTimeout):
		return exitTimeout
	}
	return exitError
}

// problemExit is the exit code for a problem's code or an outcome.
func problemExit(code string) int {
	switch code {
	case "ok":
		return exitDone
	case api.CodeUnavailable:
		return exitDown
	case api.CodeDenied:
		return exitDenied
	case api.CodeNotFound, api.CodeStale:
		return exitNotFound
	case api.CodeTimeout:
		return exitTimeout
	case api.CodeLost:
		return exitLost
	case api.CodeOverloaded:
		return exitOverloaded
	case api.CodeBadRequest, api.CodeConflict:
		return exitUsage
	}
	return exitError
}
