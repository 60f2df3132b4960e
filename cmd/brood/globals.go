package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// globals are the flags of every command.
type globals struct{ socket, host, color string }

// client is one of the socket that the flags and the environment name. --host
// goes before --socket, that before $BROOD_HOST, that before $BROOD_SOCKET. A
// worker's own socket is always the one it was given: a variable of whoever
// started the supervisor must not lead it to another machine.
func (g *globals) client() (*client.Client, error) {
	host := g.host
	switch {
	case host != "" && g.socket != "":
		return nil, usagef("--host and --socket are two places; write the path behind the host: --host %s/path/of/socket", host)
	case host == "" && g.socket == "" && os.Getenv("BROOD_WORKER") == "":
		host = os.Getenv("BROOD_HOST")
	}
	if host == "" {
		path, err := client.ResolvePath(g.socket)
		if err != nil {
			return nil, err
		}
		return client.New(path), nil
	}
	c, err := client.NewHost(host)
	if err != nil {
		return nil, &coded{exitUsage, err}
	}
	return c, nil
}

// dial is the client and its deadline.
func (g *globals) dial(timeout time.Duration) (*client.Client, context.Context, context.CancelFunc, error) {
	return g.dialWith(context.WithTimeout, timeout)
}

// dialLimit is the same for what the supervisor gives up by itself when the time is
// over, and says how far it is.
func (g *globals) dialLimit(timeout time.Duration) (*client.Client, context.Context, context.CancelFunc, error) {
	return g.dialWith(client.WithLimit, timeout)
}

func (g *globals) dialWith(limit func(context.Context, time.Duration) (context.Context, context.CancelFunc), timeout time.Duration) (*client.Client, context.Context, context.CancelFunc, error) {
	if timeout <= 0 {
		return nil, nil, nil, usagef("--timeout %v: write a time of more than 0, such as 5s", timeout)
	}
	c, err := g.client()
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := limit(context.Background(), timeout)
	return c, ctx, cancel, nil
}

// dialWait is dialLimit for --wait; of 0 the supervisor answers at once.
func (g *globals) dialWait(wait time.Duration) (*client.Client, context.Context, context.CancelFunc, error) {
	switch {
	case wait < 0:
		return nil, nil, nil, usagef("--wait %v: write a time such as 30s, or 0 not to wait", wait)
	case wait > 0:
		return g.dialLimit(wait)
	}
	return g.dialWith(func(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeout(client.NoWait(ctx), limit)
	}, answerTime)
}

func waitFlag(cmd *cobra.Command, wait *time.Duration, until string) {
	cmd.Flags().DurationVar(wait, "wait", time.Minute, "how long to wait until "+until+"; 0: not at all")
}

// out is standard output. It is a terminal only if the command prints there,
// which in tests it may not.
func (g *globals) out(cmd *cobra.Command) term.Out {
	if f, ok := cmd.OutOrStdout().(*os.File); ok {
		return term.Of(f, g.color)
	}
	return term.Out{Writer: cmd.OutOrStdout()}
}

func (g *globals) checkColor() error {
	switch g.color {
	case "auto", "always", "never":
		return nil
	}
	return usagef("--color %s: write auto, always or never", g.color)
}

// complain says on standard error what went wrong, a line for each fault.
func (g *globals) complain(err error) {
	text := err.Error()
	if text == "" {
		return // it was said already
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n") // each is a fault of its own
	var problem *client.Error
	if errors.As(err, &problem) && problem.Code != api.CodeBadRequest {
		lines = []string{text} // a worker's words may be in it
	}
	name := term.Of(os.Stderr, g.color).Paint(term.Red, "brood:")
	for _, line := range lines {
		fmt.Fprintln(os.Stderr, name, term.Printable(line))
	}
}

// complainJSON says it as a problem document on one line, for -o json: the
// supervisor's own, or one of the same form with the exit code's word as code.
func complainJSON(err error, exit int) {
	if err.Error() == "" {
		return
	}
	p := complaint{Problem: api.Problem{Code: exitWord(err, exit), Detail: err.Error()}, Exit: exit}
	p.Type, p.Title = "urn:brood:problem:"+p.Code, exitTitles[exit]
	var problem *client.Error
	if errors.As(err, &problem) {
		p.Problem, p.Status = problem.Problem, problem.Status
	}
	_ = printJSON(os.Stderr, p) // there is nowhere left to say it
}

// complaint is what -o json prints on standard error.
type complaint struct {
	api.Problem
	Status int `json:"status,omitempty"` // the HTTP status; the command line's own have none
	Exit   int `json:"exit"`             // the exit code
}

// exitWord is the code of a problem that no supervisor has written.
func exitWord(err error, exit int) string {
	var code ipc.Code
	switch {
	case exit == exitNoSupervisor:
		return "no_supervisor"
	case exit == exitUsage:
		return api.CodeBadRequest
	case errors.Is(err, client.ErrDenied):
		return api.CodeDenied
	case errors.Is(err, client.ErrBrokeOff):
		return "broke_off"
	case errors.As(err, &code):
		return string(code)
	}
	return api.CodeInternal
}

// exitTitles are the rows of the table of exit codes, in words.
var exitTitles = map[int]string{
	exitError: "it did not work out", exitUsage: "wrong usage or configuration", exitDown: "the target is not up",
	exitNoSupervisor: "no supervisor on that socket", exitDenied: "permission denied", exitNotFound: "no such pool, worker or command",
	exitTimeout: "no answer in time; it may still be running", exitLost: "the worker died", exitOverloaded: "there is no room",
}
