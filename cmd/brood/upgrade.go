package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/client"
)

func upgradeCommand(g *globals) *cobra.Command {
	var out output
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace the supervisor by its program as it is on disk now; the workers go on",
		Args:  exactArgs(0, "brood upgrade"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, ctx, cancel, err := g.dialWait(wait)
			if err != nil {
				return err
			}
			defer cancel()
			err = c.Upgrade(ctx)
			if errors.Is(err, client.ErrNotFound) {
				return fmt.Errorf("this supervisor can't be upgraded while it runs; `brood shutdown` and `brood run` it anew: %w", err)
			}
			if errors.Is(err, client.ErrBrokeOff) {
				err = nil // the old one has gone
			}
			if err != nil {
				return err
			}
			v, err := c.Version(ctx)
			if err != nil {
				return fmt.Errorf("after the upgrade: %w", err)
			}
			if out.json() {
				return printJSON(cmd.OutOrStdout(), v)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the supervisor is now brood", v.Version)
			return err
		},
	}
	out.flag(cmd)
	waitFlag(cmd, &wait, "it is done")
	return cmd
}
