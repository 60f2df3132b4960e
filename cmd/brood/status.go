package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/api"
)

func statusCommand(g *globals) *cobra.Command {
	var out output
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "status [TARGET]",
		Short: "Show every worker, or those of a target",
		Args:  targets(0, 1, "brood status [web/2]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, ctx, cancel, err := g.dial(timeout)
			if err != nil {
				return err
			}
			defer cancel()
			if len(args) == 0 || args[0] == "*" {
				st, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if out.json() {
					return printJSON(cmd.OutOrStdout(), st)
				}
				return printStatus(cmd.OutOrStdout(), st)
			}
			if strings.Contains(args[0], "/") && !strings.HasSuffix(args[0], "/*") || strings.HasPrefix(args[0], "@") {
				w, err := c.Worker(ctx, args[0])
				if err != nil {
					return err
				}
				if out.json() {
					return printJSON(cmd.OutOrStdout(), w)
				}
				return printWorker(cmd.OutOrStdout(), w)
			}
			p, err := c.Pool(ctx, args[0])
			if err != nil {
				return err
			}
			if out.json() {
				return printJSON(cmd.OutOrStdout(), p)
			}
			return printTable(cmd.OutOrStdout(), p.Slots)
		},
	}
	out.flag(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	return cmd
}

func printStatus(w io.Writer, st api.Status) error {
	var all []api.Worker
	for _, p := range st.Pools {
		fmt.Fprintf(w, "%s: %d of %d ready, %s\n", p.Name, p.Ready, p.Workers, p.Health)
		all = append(all, p.Slots...)
	}
	fmt.Fprintln(w)
	return printTable(w, all)
}

// printTable fits 80 columns unless a reason is long; that comes last.
func printTable(w io.Writer, workers []api.Worker) error {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "WORKER\tSTATE\tPID\tUPTIME\tRESTARTS\tBUSY\tPING\tNOTE")
	for _, x := range workers {
		fmt.Fprintf(tw, "%s#%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", x.Target, x.Generation, stateText(x),
			orDash(x.PID != 0, x.PID), orDash(x.PID != 0, ago(time.Duration(x.UptimeMS)*time.Millisecond)), x.Restarts,
			orDash(x.SDK != "", x.Inflight), orDash(x.PingUS > 0, time.Duration(x.PingUS)*time.Microsecond), printable(note(x)))
	}
	tw.Flush() // into memory
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func orDash(ok bool, v any) string {
	if !ok {
		return "-"
	}
	return fmt.Sprint(v)
}

// stateText is the state, or what is worse.
func stateText(x api.Worker) string {
	if x.Responsive != nil && !*x.Responsive {
		return "hung"
	}
	return x.State
}

// note is the one thing worth knowing beside the numbers.
func note(x api.Worker) string {
	switch {
	case x.State == "backoff":
		return fmt.Sprintf("%s; next try in %v", x.Reason, time.Duration(x.RetryInMS)*time.Millisecond)
	case x.State != "ready" && x.Reason != "":
		return x.Reason
	case x.Status != "":
		return x.Status
	case x.LastExit != nil:
		return "before: " + x.LastExit.Text
	case x.SDK == "" && x.Alive:
		return "plain worker"
	}
	return ""
}

func printWorker(w io.Writer, x api.Worker) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	row("worker", "%s#%d", x.Target, x.Generation)
	row("state", "%s, wanted %s", stateText(x), x.Want)
	if x.Reason != "" {
		row("reason", "%s", x.Reason)
	}
	if x.State == "backoff" {
		row("next try", "in %v", time.Duration(x.RetryInMS)*time.Millisecond)
	}
	if x.PID != 0 {
		row("pid", "%d, up %s", x.PID, ago(time.Duration(x.UptimeMS)*time.Millisecond))
		row("speaks", "%s", orDash(x.SDK != "", x.SDK))
		row("busy", "%d commands", x.Inflight)
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
		name := ""
		if i == 0 {
			name = "commands"
		}
		row(name, "%-10s %s", c.Name, c.Help)
	}
	if e := x.LastExit; e != nil {
		row("last exit", "%s#%d %s after %v, %s", x.Target, e.Generation, e.Text, time.Duration(e.UptimeMS)*time.Millisecond, e.At)
		for _, line := range e.Stderr {
			row("", "stderr: %s", line)
		}
	}
	return tw.Flush()
}
