package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/show"
	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

func eventsCommand(g *globals) *cobra.Command {
	var out output
	var follow bool
	var since int64
	var lines int
	cmd := &cobra.Command{
		Use:   "events [-f] [TARGET]",
		Short: "Show what has happened to workers, and with -f what happens",
		Long: `Show what has happened to workers: starts, exits, missed pings, rollouts. With
-f it goes on, also when the supervisor is restarted or upgraded meanwhile.

Events are numbered from 1 since the supervisor began; --since N shows those
after N. Without it the last 20 are shown.`,
		Args: targets(0, 1, "brood events -f [web]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if lines < 0 {
				return usagef("-n %d: write a number of events", lines)
			}
			if cmd.Flags().Changed("since") && since < 0 {
				return usagef("--since %d: write the number of an event, or 0 for all that are kept", since)
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, stop := untilInterrupt()
			defer stop()
			e := eventReader{c: c, out: g.out(cmd), json: out.json(), target: strings.Join(args, "")}
			err = e.first(ctx, since, lines, cmd.Flags().Changed("since"))
			switch {
			case !follow:
				return err
			case err != nil:
				return afterInterrupt(ctx, err)
			}
			return e.follow(ctx)
		},
	}
	out.flag(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().Int64Var(&since, "since", 0, "show the events after this number; 0: all that are kept")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "without --since, show so many of the last ones")
	completeTargets(g, cmd)
	return cmd
}

// untilInterrupt is a context that ends at Ctrl-C or SIGTERM.
func untilInterrupt() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// afterInterrupt is err, or nil where that is what an interrupt has made: it is how
// what goes on ends.
func afterInterrupt(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// eventReader prints events as they come.
type eventReader struct {
	c      *client.Client
	out    term.Out
	json   bool
	target string

	last uint64 // number of the last event that was seen
}

// first prints those that are kept.
func (e *eventReader) first(ctx context.Context, since int64, lines int, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	got, err := e.c.Events(ctx, uint64(max(0, since)), 0, e.target)
	if err != nil {
		return err
	}
	if all {
		if err := e.missed(got.Missed); err != nil {
			return err
		}
	}
	events := got.Events
	if !all && len(events) > lines {
		events = events[len(events)-lines:]
	}
	e.last = got.Next
	for _, ev := range events {
		if err := e.print(ev); err != nil {
			return err
		}
	}
	return nil
}

// answerTime is how long a question that is answered from memory may take.
const answerTime = 5 * time.Second

// follow goes on until it is interrupted. Where the supervisor goes, it waits
// for the next one.
func (e *eventReader) follow(ctx context.Context) error {
	began, err := supervisorAge(ctx, e.c)
	if err != nil {
		return afterInterrupt(ctx, err)
	}
	for {
		err := e.c.FollowEvents(ctx, e.last, e.target, func(got api.Events) error {
			for _, ev := range got.Events {
				e.last = ev.Seq
				if err := e.print(ev); err != nil {
					return err
				}
			}
			return e.missed(got.Missed)
		})
		if ctx.Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		if !gone(err) {
			return err
		}
		if began, err = awaitSupervisor(ctx, e.c, began, func(anew bool) {
			if anew {
				e.last = 0
			}
		}); err != nil {
			return err
		}
	}
}

// gone: the supervisor is not there any more, or not yet.
func gone(err error) bool {
	return errors.Is(err, client.ErrBrokeOff) || errors.Is(err, client.ErrNoSupervisor)
}

// supervisorAge is when the supervisor began. There must be one to begin with.
func supervisorAge(ctx context.Context, c *client.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	st, err := c.StatusBrief(ctx)
	return st.Started, err
}

// awaitSupervisor waits until there is one again, says so on standard error and
// tells back whether it is another than the one that began at began. It ends
// with an error only when ctx does, or when this user is refused.
func awaitSupervisor(ctx context.Context, c *client.Client, began string, back func(anew bool)) (string, error) {
	say := func(text string) { fmt.Fprintln(os.Stderr, "brood:", text) }
	said := false
	for {
		ask, cancel := context.WithTimeout(ctx, answerTime)
		st, err := c.StatusBrief(ask)
		cancel()
		switch {
		case ctx.Err() != nil:
			return "", nil
		case err == nil:
			if st.Started != began || said {
				say(fmt.Sprintf("a supervisor is there again, pid %d", st.PID))
			}
			back(st.Started != began)
			return st.Started, nil
		case !gone(err) && !errors.Is(err, client.ErrDenied):
			return "", err
		}
		if !said {
			said = true
			say("the supervisor has gone; waiting for the next one, Ctrl-C ends it")
		}
		select {
		case <-time.After(lookForSupervisor):
		case <-ctx.Done():
			return "", nil
		}
	}
}

// lookForSupervisor is how often one that has gone is looked for.
const lookForSupervisor = 200 * time.Millisecond

// missed says how many events are not there that would come here.
func (e *eventReader) missed(n uint64) error {
	switch {
	case n == 0:
		return nil
	case e.json:
		return printJSON(e.out, struct {
			Missed uint64 `json:"missed"`
		}{n})
	}
	_, err := fmt.Fprintln(e.out, e.out.Paint(term.Dim, fmt.Sprintf("… %d events are no longer kept", n)))
	return err
}

func (e *eventReader) print(ev api.Event) error {
	if e.json {
		return printJSON(e.out, ev)
	}
	at := clock(ev.At)
	style := term.Plain
	switch ev.Kind {
	case "exit", "hung", "kill":
		style = term.Red
	case "suspect", "rollout":
		style = term.Yellow
	case "responsive", "swap":
		style = term.Green
	case "state":
		word, _, _ := strings.Cut(ev.Text, " ")
		style = show.StateStyle(strings.TrimRight(word, ":,"))
	}
	kind := e.out.Paint(style, ev.Kind) + " "
	if strings.HasPrefix(ev.Text, ev.Kind+" ") { // "exit code 1"
		kind = ""
	}
	_, err := fmt.Fprintf(e.out, "%s %s %s%s\n", e.out.Paint(term.Dim, at), e.out.Paint(term.StyleOf(ev.Target), fmt.Sprintf("%s#%d", ev.Target, ev.Generation)),
		kind, printable(ev.Text))
	return err
}

// clock is a time of the API in the local day, to the millisecond.
func clock(at string) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return t.Local().Format("2006-01-02 15:04:05.000")
}
