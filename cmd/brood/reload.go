package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

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

func reloadCommand(g *globals) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:               "reload",
		Short:             "Read the configuration again, and touch only what has changed",
		Args:              exactArgs(0, "brood reload"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return g.orders(cmd, "it is done", func(ctx context.Context, c *client.Client, out output, _ []string) error {
		changes, err := c.Reload(ctx, dryRun)
		if changes == nil {
			return err
		}
		if out.json() {
			if perr := printJSON(cmd.OutOrStdout(), api.Reload{DryRun: dryRun, Changes: changes}); perr != nil {
				return perr
			}
			return err
		}
		printChanges(cmd.OutOrStdout(), changes)
		return err
	})
}

// changeText says in words what each kind of change does.
var changeText = map[string]string{
	"unchanged": "unchanged",
	"add":       "added",
	"remove":    "removed",
	"scale":     "scaled",
	"inplace":   "changed in place, its workers go on",
	"roll":      "its workers are replaced",
}

func printChanges(w io.Writer, changes []api.Change) {
	for _, c := range changes {
		line := c.Pool + ": " + changeText[c.Kind]
		if slices.ContainsFunc(c.Results, func(r api.Result) bool { return r.Outcome == "failed" }) {
			line = c.Pool + ": left as it was"
		}
		if len(c.Fields) > 0 {
			line += " (" + strings.Join(c.Fields, ", ") + ")"
		}
		if len(c.Workers) == 2 {
			line += fmt.Sprintf(", %d → %d workers", c.Workers[0], c.Workers[1])
		}
		fmt.Fprintln(w, line)
		printResults(w, c.Results)
	}
}
