package main

import (
	"encoding/json"
	"io"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor"
)

// What all commands that print share: the flag -o, how JSON is printed, and how
// arguments are checked.

// output is the flag -o.
type output struct{ format string }

func (o *output) flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "text", "text or json; then errors are JSON too, on standard error")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
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
			return wrongCount(len(args), "`"+usage+"`")
		}
		if len(args) == 0 {
			return nil
		}
		return target(args[0])
	}
}

func printable(s string) string { return term.Printable(s) }

// exactArgs is cobra.ExactArgs with an error that says what to write.
func exactArgs(n int, usage string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return wrongCount(len(args), "`"+usage+"`")
		}
		return nil
	}
}

// wrongCount says how many arguments there were, and what to write instead.
func wrongCount(n int, instead string) error {
	if n == 1 {
		return usagef("got 1 argument; write %s", instead)
	}
	return usagef("got %d arguments; write %s", n, instead)
}

func ago(d time.Duration) string { return term.Ago(d) }
