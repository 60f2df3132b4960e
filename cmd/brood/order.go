package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// giving is what an order does: it is given the client, and as long as --wait says.
type giving func(ctx context.Context, c *client.Client, out output, args []string) error

// orders has cmd give an order, with the flags of all such: -o and --wait.
func (g *globals) orders(cmd *cobra.Command, until string, give giving) *cobra.Command {
	var out output
	var wait time.Duration
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if err := out.check(); err != nil {
			return err
		}
		c, ctx, cancel, err := g.dialWait(wait)
		if err != nil {
			return err
		}
		defer cancel()
		return give(ctx, c, out, args)
	}
	out.flag(cmd)
	waitFlag(cmd, &wait, until)
	return cmd
}

// orderCommand is start, stop or restart.
func orderCommand(g *globals, verb, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   verb + " TARGET",
		Short: short,
		Args:  targets(1, 1, "brood "+verb+" web/2"),
	}
	completeTargets(g, cmd)
	return g.orders(cmd, "it is done", func(ctx context.Context, c *client.Client, out output, args []string) error {
		results, err := c.Order(ctx, verb, args[0])
		return out.results(cmd.OutOrStdout(), results, err)
	})
}

func scaleCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale POOL N",
		Short: "Give a pool another number of workers",
		Args:  targets(2, 2, "brood scale web 8"),
	}
	completePools(g, cmd)
	return g.orders(cmd, "it is done", func(ctx context.Context, c *client.Client, out output, args []string) error {
		pool := strings.TrimSuffix(strings.TrimPrefix(args[0], "@"), "/*")
		if client.NamesSlot(args[0]) || pool == "*" {
			return usagef("%s is no pool; write `brood scale web 8`", args[0])
		}
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 {
			return usagef("%q workers: write a number of 1 or more; to have none, stop the pool", args[1])
		}
		results, err := c.Scale(ctx, pool, n)
		if err == nil && len(results) == 0 && !out.json() {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s unchanged: %d workers\n", pool, n)
			return err
		}
		return out.results(cmd.OutOrStdout(), results, err)
	})
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
		line := r.Target
		if r.Generation != 0 {
			line += fmt.Sprintf("#%d", r.Generation)
		}
		line += " " + r.Outcome
		if r.State != "" { // else it is of a pool, in a reload that goes on
			line += ": " + r.State
		}
		if r.PID != 0 {
			line += fmt.Sprintf(", pid %d", r.PID)
		}
		if r.Text != "" {
			line += " (" + printable(strings.TrimPrefix(r.Text, r.State+": ")) + ")" // the state stands before it
		}
		fmt.Fprintln(w, line)
		for _, text := range r.Stderr {
			fmt.Fprintln(w, "  stderr: "+printable(text))
		}
	}
}

func shutdownCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "shutdown",
		Short:             "Stop every worker and the supervisor",
		Args:              exactArgs(0, "brood shutdown"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	return g.orders(cmd, "no worker is left", func(ctx context.Context, c *client.Client, out output, _ []string) error {
		err := c.Shutdown(ctx)
		if errors.Is(err, client.ErrBrokeOff) {
			err = nil // it has gone
		}
		if err == nil && out.json() {
			return printJSON(cmd.OutOrStdout(), api.Results{Results: []api.Result{}})
		}
		return err
	})
}
