package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/cmd/brood/internal/top"
)

func topCommand(g *globals) *cobra.Command {
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "top [TARGET]",
		Short: "Watch the workers, and restart, stop and scale them by key",
		Long: `Watch the workers on the whole screen: state, memory, commands a second. Keys
restart, stop, start and scale what is chosen, and show what it prints; ? tells
of them. It goes on when the supervisor goes and comes back.`,
		Args: targets(0, 1, "brood top [web]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval < 100*time.Millisecond {
				return usagef("--interval %v: write 100ms or more", interval)
			}
			out := term.Of(os.Stdout, g.color)
			if !out.Terminal || !term.Of(os.Stdin, g.color).Terminal {
				return usagef("top draws on a terminal, and this is none; `brood status` and `brood events -f` print")
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(context.Background(), answerTime)
			_, err = c.StatusBrief(ctx) // who may not look at all is told so at once
			cancel()
			if err != nil {
				return err
			}
			return top.Run(context.Background(), top.Config{
				Source: c, Target: strings.TrimSuffix(strings.Join(args, ""), "/*"), Interval: interval, Color: out.Color,
			})
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "how often to look")
	completeTargets(g, cmd)
	return cmd
}
