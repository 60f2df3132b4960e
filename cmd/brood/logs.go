package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

func logsCommand(g *globals) *cobra.Command {
	var out output
	var follow, times bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs [-f] [-n LINES] [TARGET]",
		Short: "Show what workers print",
		Long: `Show the last lines that workers have printed, standard error in red. With -f
it goes on, also when the supervisor is restarted or upgraded meanwhile.`,
		Args: targets(0, 1, "brood logs -f [web/2]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if lines < 0 {
				return usagef("-n %d: write a number of lines", lines)
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, stop := untilInterrupt()
			defer stop()
			l := logReader{c: c, out: g.out(cmd), json: out.json(), times: times, target: strings.Join(args, "")}
			if follow {
				return l.follow(ctx, lines)
			}
			ctx, cancel := context.WithTimeout(ctx, answerTime)
			defer cancel()
			return c.Logs(ctx, l.target, lines, false, l.print)
		},
	}
	out.flag(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is printed")
	cmd.Flags().BoolVarP(&times, "times", "t", false, "say when each line was printed")
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "begin with so many of the last lines")
	completeTargets(g, cmd)
	return cmd
}

// logReader prints lines as they come.
type logReader struct {
	c           *client.Client
	out         term.Out
	json, times bool
	target      string
}

// follow goes on until it is interrupted. Another supervisor's workers are shown
// from their first line; those of one that was only out of reach from here on.
func (l *logReader) follow(ctx context.Context, lines int) error {
	began, err := supervisorAge(ctx, l.c)
	if err != nil {
		return err
	}
	for {
		err := l.c.Logs(ctx, l.target, lines, true, l.print)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		if !gone(err) {
			return err
		}
		if began, err = awaitSupervisor(ctx, l.c, began, func(anew bool) {
			if lines = 0; anew {
				lines = 1000
			}
		}); err != nil {
			return err
		}
	}
}

func (l *logReader) print(line api.LogLine) error {
	if l.json {
		return printJSON(l.out, line)
	}
	who := l.out.Paint(term.StyleOf(line.Target), line.Target+" |")
	if l.times && line.At != "" {
		who = l.out.Paint(term.Dim, clock(line.At)) + " " + who
	}
	text := printable(line.Text)
	switch {
	case line.Dropped > 0:
		text = l.out.Paint(term.Alarm, fmt.Sprintf("… %d lines were dropped here", line.Dropped))
	case line.Stream == "stderr":
		text = l.out.Paint(term.Red, text)
	}
	_, err := fmt.Fprintln(l.out, who, text)
	return err
}
