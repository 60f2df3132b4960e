package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor"
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

// target checks what is named before a page is asked for: a target that is
// empty, as an unset variable is, must not pass for all.
func target(text string) error {
	if _, err := supervisor.ParseTarget(text); err != nil {
		return &coded{exitUsage, err}
	}
	return nil
}

// targets is an Args function: at the least and at the most so many arguments,
// the first of which is a target.
func targets(least, most int, usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("got %d arguments; write `%s`", len(args), usage)
		}
		if len(args) == 0 {
			return nil
		}
		return target(args[0])
	}
}

// printable escapes what could move a terminal's cursor or forge a line: it
// comes from workers.
func printable(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n', r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r):
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
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
