package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

func upgradeCommand(g *globals) *cobra.Command {
	var out output
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace the supervisor by its program as it is on disk now; the workers go on",
		Long: `Replace the supervisor by its program as it is on disk now. The process stays the
same one, and so do the workers and the clients: they notice a delay at most.

It takes a moment in which no command and no order is under way. While there is
none it is tried again, for as long as --wait says. Where it does not come about
nothing has changed, and what stands in the way is said.`,
		Args:              exactArgs(0, "brood upgrade"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if wait <= 0 {
				return usagef("--wait %v: write a time such as 30s", wait)
			}
			c, ctx, cancel, err := g.dialLimit(wait)
			if err != nil {
				return err
			}
			defer cancel()
			v, err := c.Upgrade(ctx)
			switch {
			case errors.Is(err, client.ErrNotFound):
				return fmt.Errorf("this supervisor can't be upgraded while it runs; `brood shutdown` and `brood run` it anew: %w", err)
			case errors.Is(err, client.ErrBrokeOff): // which of the two is there now says itself
				now, serr := c.StatusBrief(ctx)
				if serr != nil {
					return fmt.Errorf("after the upgrade: %w", serr)
				}
				v = api.Upgrade{Version: now.Version, PID: now.PID}
			case err != nil:
				return err
			}
			if out.json() {
				return printJSON(cmd.OutOrStdout(), v)
			}
			was := ""
			if v.Before != "" && v.Before != v.Version {
				was = ", it was " + v.Before
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the supervisor is now brood %s%s\n", v.Version, was)
			return err
		},
	}
	out.flag(cmd)
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to try")
	return cmd
}
