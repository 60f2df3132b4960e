package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/show"
	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// statusFlags are those of status.
type statusFlags struct {
	out      output
	timeout  time.Duration
	interval time.Duration // of --watch; 0: once
}

func statusCommand(g *globals) *cobra.Command {
	var s statusFlags
	cmd := &cobra.Command{
		Use:   "status [TARGET]",
		Short: "Show every worker, or those of a target",
		Long: `Show every worker, those of a pool, or all there is to know about one.

The table fits the terminal: columns that matter less give way, and all are
there in a pipe. BUSY is the commands a worker is at work on, SERVED those that
ended in its slot.

With -w it goes on until Ctrl-C, every two seconds or as --watch=500ms says, also
when the supervisor is restarted or upgraded meanwhile: on a terminal in place,
in a pipe one after the other, with an empty line between.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if _, err := time.ParseDuration(strings.Join(args, "")); err == nil && cmd.Flags().Changed("watch") {
				return usagef("%s is no target; write how often behind a sign: --watch=%[1]s", args[0])
			}
			return targets(0, 1, "brood status [web/2]")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.out.check(); err != nil {
				return err
			}
			watch := cmd.Flags().Changed("watch")
			if watch && s.interval < shortestWatch {
				return usagef("--watch=%v: write %v or more", s.interval, shortestWatch)
			}
			c, ctx, cancel, err := g.dial(s.timeout)
			if err != nil {
				return err
			}
			defer cancel()
			defer c.Close()
			target := strings.Join(args, "")
			if watch {
				return s.watch(c, func() term.Out { return g.out(cmd) }, target)
			}
			show, err := s.look(ctx, c, target)
			if err != nil {
				return err
			}
			return show(g.out(cmd))
		},
	}
	s.out.flag(cmd)
	cmd.Flags().DurationVar(&s.timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	cmd.Flags().DurationVarP(&s.interval, "watch", "w", 0, "show it again and again, so often (2s unless given)")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	completeTargets(g, cmd)
	return cmd
}

// look asks for a target, an empty one being all, and returns what prints the
// answer.
func (s *statusFlags) look(ctx context.Context, c *client.Client, target string) (show func(term.Out) error, err error) {
	var v any
	switch {
	case target == "" || target == "*":
		ask := c.StatusBrief
		if s.out.json() {
			ask = c.Status
		}
		var st api.Status
		st, err = ask(ctx)
		v, show = st, func(o term.Out) error { return printStatus(o, st) }
	case client.NamesSlot(target):
		var w api.Worker
		w, err = c.Worker(ctx, target)
		v, show = w, func(o term.Out) error { return printWorker(o, w) }
	default:
		var p api.Pool
		p, err = c.Pool(ctx, target)
		v, show = p, func(o term.Out) error { return printStatus(o, api.Status{Pools: []api.Pool{p}}) }
	}
	if s.out.json() {
		show = func(o term.Out) error { return printJSON(o, v) }
	}
	return show, err
}

func printStatus(o term.Out, st api.Status) error {
	var all []api.Worker
	for _, p := range st.Pools {
		line := fmt.Sprintf("%s: %d of %d ready, %s", p.Name, p.Ready, p.Workers, o.Paint(show.HealthStyle(p.Health), p.Health))
		if p.Queued > 0 {
			line += fmt.Sprintf(", %d commands wait", p.Queued)
		}
		if _, err := fmt.Fprintln(o, line); err != nil {
			return err
		}
		all = append(all, p.Slots...)
	}
	if _, err := fmt.Fprintln(o); err != nil {
		return err
	}
	return o.Table(statusColumns, statusRows(all))
}

// statusColumns are those of the table, most people's before others'. The note
// gives way in length first: `brood status web/2` has it whole.
var statusColumns = []term.Column{
	{Title: "WORKER"},
	{Title: "STATE", Style: show.StateStyle},
	{Title: "UPTIME", Rank: 1, Right: true},
	{Title: "RESTARTS", Rank: 2, Right: true},
	{Title: "RSS", Rank: 3, Right: true},
	{Title: "BUSY", Rank: 4, Right: true},
	{Title: "PID", Rank: 7, Right: true},
	{Title: "SERVED", Rank: 8, Right: true},
	{Title: "PING", Rank: 10, Right: true},
	{Title: "CPU", Rank: 9, Right: true},
	{Title: "LAST EXIT", Rank: 5, Min: 9},
	{Title: "NOTE", Rank: 6, Min: 12},
}

func statusRows(workers []api.Worker) [][]string {
	rows := make([][]string, len(workers))
	for i, x := range workers {
		up := x.PID != 0
		rows[i] = []string{
			fmt.Sprintf("%s#%d", x.Target, x.Generation), show.State(x),
			show.OrDash(up, ago(ms(x.UptimeMS))), strconv.Itoa(x.Restarts), show.OrDash(x.RSSBytes > 0, term.Size(x.RSSBytes)),
			show.OrDash(x.SDK != "", x.Inflight), show.OrDash(up, x.PID), show.OrDash(x.SDK != "" || x.Served > 0, x.Served),
			show.OrDash(x.PingUS > 0, time.Duration(x.PingUS)*time.Microsecond), show.OrDash(x.CPUMS > 0, ago(ms(x.CPUMS))),
			lastExit(x), printable(note(x)),
		}
	}
	return rows
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// lastExit is how and how long ago the process before this one ended.
func lastExit(x api.Worker) string {
	e := x.LastExit
	if e == nil {
		return "-"
	}
	text := "no start"
	switch {
	case e.OOM:
		text = "OOM"
	case e.Signal != "":
		text = strings.TrimPrefix(e.Signal, "SIG")
	case e.Code != nil:
		text = "code " + strconv.Itoa(*e.Code)
	}
	if at, err := time.Parse(time.RFC3339Nano, e.At); err == nil {
		text += " " + shortAgo(time.Since(at)) + " ago"
	}
	return text
}

// shortAgo is ago in one unit.
func shortAgo(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// note is the one thing worth knowing beside the numbers.
func note(x api.Worker) string {
	switch {
	case x.State == "backoff":
		return fmt.Sprintf("next try in %v; %s", ms(x.RetryInMS).Round(10*time.Millisecond), x.Reason)
	case x.Next != 0:
		return fmt.Sprintf("#%d is to take its place", x.Next)
	case x.State != "ready" && x.Reason != "":
		return x.Reason
	case x.Status != "":
		return x.Status
	case x.LogDrops > 0:
		return fmt.Sprintf("%d lines of output dropped", x.LogDrops)
	case x.SDK == "" && x.Alive:
		return "plain worker"
	}
	return ""
}

// printWorker is all of one worker, a line for each thing.
func printWorker(o term.Out, x api.Worker) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		text := printable(fmt.Sprintf(format, args...))
		fmt.Fprintf(&b, "%s %s\n", o.Paint(term.Dim, term.Pad(name, 9)), text)
	}
	row("worker", "%s#%d", x.Target, x.Generation)
	fmt.Fprintf(&b, "%s %s, wanted %s\n", o.Paint(term.Dim, "state    "), o.Paint(show.StateStyle(show.State(x)), show.State(x)), x.Want)
	if x.Reason != "" {
		row("reason", "%s", x.Reason)
	}
	if x.State == "backoff" {
		row("next try", "in %v", ms(x.RetryInMS))
	}
	if x.Next != 0 {
		row("next", "%s#%d is to take its place", x.Target, x.Next)
	}
	if x.PID != 0 {
		row("pid", "%d, up %s", x.PID, ago(ms(x.UptimeMS)))
		row("speaks", "%s", show.OrDash(x.SDK != "", x.SDK))
		row("busy", "%d commands, %d served", x.Inflight, x.Served)
	}
	if x.RSSBytes > 0 {
		row("takes", "%s of memory, %v of processor time", term.Size(x.RSSBytes), ms(x.CPUMS))
	}
	if x.PingUS > 0 {
		row("ping", "%v", time.Duration(x.PingUS)*time.Microsecond)
	}
	if x.Status != "" {
		row("status", "%s", x.Status)
	}
	row("restarts", "%d", x.Restarts)
	if x.LogDrops > 0 {
		row("log drops", "%d lines", x.LogDrops)
	}
	for i, c := range x.Commands {
		row([]string{"commands", ""}[min(i, 1)], "%-10s %s", c.Name, c.Help)
	}
	exits := x.Exits
	if len(exits) == 0 && x.LastExit != nil {
		exits = []api.Exit{*x.LastExit}
	}
	for i, e := range exits {
		row([]string{"last exit", "before"}[min(i, 1)], "%s#%d %s after %v, %s", x.Target, e.Generation, e.Text, ms(e.UptimeMS), e.At)
		for _, line := range e.Stderr {
			row("", "stderr: %s", line)
		}
	}
	_, err := o.Write([]byte(b.String()))
	return err
}
