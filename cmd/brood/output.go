package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/client"
)

// What all client commands share: the flags --timeout and -o, the client, and
// how JSON is printed.

// output is the flag -o.
type output struct{ format string }

func (o *output) flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text or json")
}

func (o *output) check() error {
	if o.format != "text" && o.format != "json" {
		return usagef("-o %s: write text or json", o.format)
	}
	return nil
}

func (o *output) json() bool { return o.format == "json" }

// printJSON prints v on one line.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// dial is the client and its deadline.
func (g *globals) dial(timeout time.Duration) (*client.Client, context.Context, context.CancelFunc, error) {
	if timeout <= 0 {
		return nil, nil, nil, usagef("--timeout %v: write a time of more than 0, such as 5s", timeout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	return client.New(client.ResolvePath(g.socket)), ctx, cancel, nil
}

// exactArgs is cobra.ExactArgs with an error that says what to write.
func exactArgs(n int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("got %d arguments; write `%s`", len(args), usage)
		}
		return nil
	}
}

// ago is a duration the short way people read it: 4s, 12m, 3h5m, 2d4h.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
