package control

import (
	"context"
	"errors"
	"net/http"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// failure is an error that knows its problem. Type, Title and Status are
// filled in by problemOf.
type failure struct{ api.Problem }

func (f *failure) Error() string { return f.Code + ": " + f.Detail }

// BadConfig is what Config.Reload returns for a file that is faulty. Nothing
// was changed.
type BadConfig struct{ Err error }

func (e *BadConfig) Error() string { return "nothing was changed: " + e.Err.Error() }

// Unwrap is what is wrong with the file.
func (e *BadConfig) Unwrap() error { return e.Err }

// statusClientClosed is nginx's for a client that hung up before the answer.
const statusClientClosed = 499

// problems gives every code its HTTP status and its title.
var problems = map[string]struct {
	status int
	title  string
}{
	api.CodeError:       {http.StatusInternalServerError, "the worker answered with an error"},
	api.CodeFailed:      {http.StatusInternalServerError, "what was asked did not come about"},
	api.CodeLost:        {http.StatusBadGateway, "the worker died before it answered"},
	api.CodeTimeout:     {http.StatusGatewayTimeout, "no answer in time; it may still be running"},
	api.CodeCanceled:    {statusClientClosed, "the caller gave up"},
	api.CodeOverloaded:  {http.StatusServiceUnavailable, "there is no room for more"},
	api.CodeUnavailable: {http.StatusServiceUnavailable, "the target is not up"},
	api.CodeBadRequest:  {http.StatusBadRequest, "the request is malformed"},
	api.CodeDenied:      {http.StatusForbidden, "permission denied"},
	api.CodeNotFound:    {http.StatusNotFound, "no such pool, worker, command or page"},
	api.CodeBadMethod:   {http.StatusMethodNotAllowed, "the page does not take this method"},
	api.CodeStale:       {http.StatusConflict, "that generation is not there"},
	api.CodeConflict:    {http.StatusConflict, "the request does not fit the state of things"},
	api.CodeTooLarge:    {http.StatusRequestEntityTooLarge, "too large"},
	api.CodeInternal:    {http.StatusInternalServerError, "a fault of brood"},
}

// sentinels gives the supervisor's errors their codes.
var sentinels = []struct {
	err  error
	code string
}{
	{supervisor.ErrBadTarget, api.CodeBadRequest},
	{supervisor.ErrNoTarget, api.CodeNotFound},
	{supervisor.ErrStale, api.CodeStale},
	{supervisor.ErrNotOne, api.CodeConflict},
	{supervisor.ErrStopping, api.CodeUnavailable},
	{supervisor.ErrBusy, api.CodeConflict},
	{errGone, api.CodeCanceled},
	{context.Canceled, api.CodeCanceled},
	{context.DeadlineExceeded, api.CodeTimeout},
}

// problemOf is the one place where an error becomes a document.
func problemOf(err error) api.Problem {
	p := bareProblem(err)
	p.Type = "urn:brood:problem:" + p.Code
	p.Status, p.Title = problems[p.Code].status, problems[p.Code].title
	return p
}

func bareProblem(err error) api.Problem {
	var f *failure
	if errors.As(err, &f) {
		return f.Problem
	}
	var ce *ipc.CallError
	if errors.As(err, &ce) {
		return callProblem(ce)
	}
	var bad *BadConfig
	var field *supervisor.FieldError
	if errors.As(err, &bad) || errors.As(err, &field) {
		return api.Problem{Code: api.CodeBadRequest, Detail: err.Error()}
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return api.Problem{Code: s.code, Detail: err.Error()}
		}
	}
	return api.Problem{Code: api.CodeInternal, Detail: err.Error()}
}

func callProblem(e *ipc.CallError) api.Problem {
	p := api.Problem{
		Code: string(e.Outcome()), Detail: e.Error(), Worker: e.Target, Command: e.Command, Started: e.Started.String(),
	}
	switch e.Code {
	case ipc.ErrUnknownCommand:
		p.Code = api.CodeNotFound
	case ipc.ErrTooLarge:
		p.Code = api.CodeTooLarge
	}
	if p.Code == api.CodeError {
		p.Error, p.Detail = string(e.Code), e.Message
		if e.Details != nil {
			p.Details = e.Details
		}
	}
	return p
}
