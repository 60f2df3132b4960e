package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func pingCommand(g *globals) *cobra.Command {
	var out output
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "ping TARGET",
		Short: "Measure the round trip to one worker",
		Args:  targets(1, 1, "brood ping web/2"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if everyone(args[0]) {
				return usagef("ping goes to one worker, and %s is all of them; name one, or a pool, of which a ready one answers", args[0])
			}
			c, ctx, cancel, err := g.dialLimit(timeout)
			if err != nil {
				return err
			}
			defer cancel()
			p, err := c.Ping(ctx, args[0])
			if err != nil {
				return err
			}
			if out.json() {
				return printJSON(cmd.OutOrStdout(), p)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s#%d answered in %v, busy with %d\n",
				p.Target, p.Generation, time.Duration(p.PingUS)*time.Microsecond, p.Inflight)
			return err
		},
	}
	out.flag(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	completeTargets(g, cmd)
	return cmd
}
