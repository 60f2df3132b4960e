package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/config"
	"example.com/brood/supervisor/control"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

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
		switch {
		case c.Reverted:
			line = c.Pool + ": left as it was"
		case slices.ContainsFunc(c.Results, func(r api.Result) bool { return r.Outcome == "failed" }):
			line += ", with failures"
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

// reloadFunc reads the configuration again; nil where there is no file.
type reloadFunc func(ctx context.Context, dryRun bool) ([]supervisor.Change, error)

// reloader reads the file that run was started with.
func (f *runFlags) reloader(sup *supervisor.Supervisor, now *standing, access func(config.Control) (undo func(), err error)) reloadFunc {
	if f.path == "" {
		return nil
	}
	return func(ctx context.Context, dryRun bool) ([]supervisor.Change, error) {
		file, err := config.Load(f.path)
		if err != nil {
			return nil, &control.BadConfig{Err: err}
		}
		if dryRun {
			return sup.Plan(supervisor.Config{Pools: file.Pools})
		}
		undo, err := access(file.Control) // first, as a rollout may take its time
		if err != nil {
			return nil, &control.BadConfig{Err: err}
		}
		changes, err := sup.Reload(ctx, supervisor.Config{Pools: file.Pools})
		if err != nil {
			undo()
			return changes, err
		}
		now.file.Store(file)
		return changes, nil
	}
}

// logReload is a reload that nobody waits for, so its outcome is logged. It waits for
// one that is under way, which may have read the file before it was changed, and ends
// with the supervisor.
func logReload(reload reloadFunc, sup *supervisor.Supervisor, log hclog.Logger) {
	if reload == nil {
		log.Warn("SIGHUP changes nothing: there is no configuration file to read again")
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-sup.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	var changes []supervisor.Change
	err := supervisor.ErrBusy
	for errors.Is(err, supervisor.ErrBusy) {
		awaitReload(sup, log)
		changes, err = reload(ctx, false)
	}
	if err != nil {
		log.Error("reload", "error", err)
		return
	}
	for _, c := range changes {
		if c.Failed() {
			log.Error("reload", "pool", c.Pool, "kind", string(c.Kind), "outcome", c.Trouble())
			continue
		}
		log.Info("reload", "pool", c.Pool, "kind", string(c.Kind), "fields", c.Fields)
	}
}

// awaitReload waits for the reload that is under way, if one is.
func awaitReload(sup *supervisor.Supervisor, log hclog.Logger) {
	over := sup.Reloaded()
	select {
	case <-over:
		return
	default:
	}
	log.Info("reload", "waits", "one is under way; the file is read again when that is over")
	select {
	case <-over:
	case <-sup.Stopping():
	}
}
