package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

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

// keptLines is how many lines a supervisor keeps of a worker, at most.
const keptLines = 2048

// follow goes on until it is interrupted. Another supervisor's workers are shown
// from their first line; those of one that was only out of reach, or upgraded, from
// the last one that was seen, as far as lines are kept.
func (l *logReader) follow(ctx context.Context, lines int) error {
	began, err := supervisorAge(ctx, l.c)
	if err != nil {
		return afterInterrupt(ctx, err)
	}
	seen := newSeenLines(time.Now())
	for {
		err := l.c.Logs(ctx, l.target, lines, true, func(line api.LogLine) error {
			was, gap := seen.has(line)
			if was {
				return nil
			}
			if gap {
				fmt.Fprintf(os.Stderr, "brood: lines of %s may be missing here: those it printed meanwhile are not all kept\n", line.Target)
			}
			return l.print(line)
		})
		if ctx.Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		if !gone(err) {
			return err
		}
		if began, err = awaitSupervisor(ctx, l.c, began, func(anew bool) {
			lines = keptLines
			if seen.repeat(); anew {
				seen = newSeenLines(time.Time{})
			}
		}); err != nil {
			return err
		}
	}
}

// seenLines tells the lines that come again from those that are new. Those of a
// worker come in order, so the last one says it: when it was printed, and how many
// were at the same time.
type seenLines struct {
	since time.Time // what was printed before, by whom nothing was seen, is not wanted again
	from  map[string]*seenLine
	round int // how often lines have come again
}

type seenLine struct {
	at    time.Time
	n     int // lines of that time
	round int // up to which new ones have come
	again int // lines of that time that have come again, in the round
	of    int
}

func newSeenLines(since time.Time) *seenLines {
	return &seenLines{since: since, from: map[string]*seenLine{}}
}

// repeat says that lines come again from now on.
func (s *seenLines) repeat() { s.round++ }

// has reports whether the line was seen before, and else remembers it. gap: the one
// that was seen last has not come again, so others may be missing behind it.
func (s *seenLines) has(line api.LogLine) (was, gap bool) {
	at, err := time.Parse(time.RFC3339Nano, line.At)
	if err != nil {
		return false, false // it only counts what was dropped
	}
	w := s.from[line.Target]
	if w == nil {
		w = &seenLine{at: s.since, round: s.round}
		if s.from[line.Target] = w; s.round > 0 {
			w.round--
		}
	}
	if w.round < s.round {
		if w.of != s.round {
			w.of, w.again = s.round, 0
		}
		switch {
		case at.Before(w.at):
			return true, false
		case at.Equal(w.at) && w.again < w.n:
			w.again++
			return true, false
		}
		gap = w.again < w.n
		w.round = s.round
	}
	if !at.Equal(w.at) {
		w.at, w.n = at, 0
	}
	w.n++
	return false, gap
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
