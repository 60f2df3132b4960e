package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// orderCommand is start, stop or restart.
func orderCommand(g *globals, verb, short string) *cobra.Command {
	var out output
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   verb + " TARGET",
		Short: short,
		Args:  targets(1, 1, "brood "+verb+" web/2"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, ctx, cancel, err := g.dialWait(wait)
			if err != nil {
				return err
			}
			defer cancel()
			results, err := c.Order(ctx, verb, args[0])
			return out.results(cmd.OutOrStdout(), results, err)
		},
	}
	out.flag(cmd)
	waitFlag(cmd, &wait, "it is done")
	completeTargets(g, cmd)
	return cmd
}

// results prints what became of each slot, and hands the error on.
func (o *output) results(w io.Writer, results []api.Result, err error) error {
	if results == nil {
		return err
	}
	if !o.json() {
		printResults(w, results)
		return err
	}
	if perr := printJSON(w, api.Results{Results: results}); perr != nil {
		return perr
	}
	return err
}

func printResults(w io.Writer, results []api.Result) {
	for _, r := range results {
		line := r.Target + " " + r.Outcome // of a pool, where it was not waited for
		if r.State != "" {
			line = fmt.Sprintf("%s#%d %s: %s", r.Target, r.Generation, r.Outcome, r.State)
		}
		if r.PID != 0 {
			line += fmt.Sprintf(", pid %d", r.PID)
		}
		if r.Text != "" {
			line += " (" + printable(r.Text) + ")"
		}
		fmt.Fprintln(w, line)
		for _, text := range r.Stderr {
			fmt.Fprintln(w, "  stderr: "+printable(text))
		}
	}
}

func shutdownCommand(g *globals) *cobra.Command {
	var out output
	var wait time.Duration
	cmd := &cobra.Command{
		Use:               "shutdown",
		Short:             "Stop every worker and the supervisor",
		Args:              exactArgs(0, "brood shutdown"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, ctx, cancel, err := g.dialWait(wait)
			if err != nil {
				return err
			}
			defer cancel()
			if err = c.Shutdown(ctx); errors.Is(err, client.ErrBrokeOff) {
				err = nil // it has gone
			}
			if err == nil && out.json() {
				return printJSON(cmd.OutOrStdout(), api.Results{Results: []api.Result{}})
			}
			return err
		},
	}
	out.flag(cmd)
	waitFlag(cmd, &wait, "no worker is left")
	return cmd
}
