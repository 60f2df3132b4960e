package main

import (
	"context"
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
		Args:  exactArgs(1, "brood "+verb+" web/2"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			results, err := g.order(verb, args[0], wait)
			if results == nil {
				return err
			}
			if out.json() {
				if perr := printJSON(cmd.OutOrStdout(), api.Results{Results: results}); perr != nil {
					return perr
				}
				return err
			}
			printResults(cmd.OutOrStdout(), results)
			return err
		},
	}
	out.flag(cmd)
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait until it is done; 0: not at all")
	return cmd
}

// order waits for so long, or not at all; whether or not, the answer to the
// order itself has its deadline.
func (g *globals) order(verb, target string, wait time.Duration) ([]api.Result, error) {
	if wait < 0 {
		return nil, usagef("--wait %v: write a time such as 30s, or 0 not to wait", wait)
	}
	c := client.New(client.ResolvePath(g.socket))
	ctx := context.Background()
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	return c.Order(ctx, verb, target)
}

func printResults(w io.Writer, results []api.Result) {
	for _, r := range results {
		line := fmt.Sprintf("%s#%d %s: %s", r.Target, r.Generation, r.Outcome, r.State)
		if r.PID != 0 {
			line += fmt.Sprintf(", pid %d", r.PID)
		}
		if r.Text != "" {
			line += " (" + r.Text + ")"
		}
		fmt.Fprintln(w, line)
	}
}

func shutdownCommand(g *globals) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "shutdown",
		Short: "Stop every worker and the supervisor",
		Args:  exactArgs(0, "brood shutdown"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait < 0 {
				return usagef("--wait %v: write a time such as 30s, or 0 not to wait", wait)
			}
			ctx := context.Background()
			if wait > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, wait)
				defer cancel()
			}
			err := client.New(client.ResolvePath(g.socket)).Shutdown(ctx)
			if err != nil && errors.Is(err, io.ErrUnexpectedEOF) {
				return nil // it has gone
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait until no worker is left; 0: not at all")
	return cmd
}
