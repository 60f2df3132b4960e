package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/api"
)

func whoamiCommand(g *globals) *cobra.Command {
	var out output
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:               "whoami",
		Short:             "Say who the supervisor takes you for, and what you may do",
		Args:              exactArgs(0, "brood whoami"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, ctx, cancel, err := g.dial(timeout)
			if err != nil {
				return err
			}
			defer cancel()
			w, err := c.Whoami(ctx)
			if err != nil {
				return err
			}
			if out.json() {
				return printJSON(cmd.OutOrStdout(), w)
			}
			name := w.User
			if name == "" {
				name = "no name"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "uid %d (%s), gid %d: %s, because %s\n", w.UID, name, w.GID, printable(w.Rights()), printable(w.Reason))
			return err
		},
	}
	out.flag(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	return cmd
}

func versionCommand(g *globals) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:               "version",
		Short:             "Print brood's version",
		Args:              exactArgs(0, "brood version"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			v := localVersion()
			if out.json() {
				return printJSON(cmd.OutOrStdout(), v)
			}
			return printVersion(cmd.OutOrStdout(), v)
		},
	}
	out.flag(cmd)
	return cmd
}

func printVersion(w io.Writer, v api.Version) error {
	_, err := fmt.Fprintf(w, "brood %s, worker protocol %d, %s %s/%s\n", v.Version, v.Protocol[1], v.Go, v.OS, v.Arch)
	return err
}
