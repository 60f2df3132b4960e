package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// Exit codes of health: the contract of Nagios plugins.
const (
	healthOK = iota
	healthDegraded
	healthCritical
	healthUnknown
)

// Exit codes of health --lsb: those of an init script's status.
const (
	lsbRunning    = 0
	lsbDead       = 1
	lsbNotRunning = 3
	lsbUnknown    = 4
)

func healthCommand(g *globals) *cobra.Command {
	var out output
	var timeout, wait time.Duration
	var minReady int
	var lsb bool
	cmd := &cobra.Command{
		Use:   "health [TARGET]",
		Short: "Say in one line and by the exit code whether all is well",
		Long: `Say in one line and by the exit code whether all is well.

Exit codes, as of a Nagios plugin: 0 every pool has what it needs; 1 degraded:
fewer ready than configured, but at least min_ready; 2 critical: below
min_ready, given up, or no supervisor there; 3 unknown: no permission, no such
target, or no answer in time.`,
		Args: targets(0, 1, "brood health [web]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if minReady < 0 {
				return usagef("--min-ready %d: write a number of workers", minReady)
			}
			if wait < 0 || timeout <= 0 {
				return usagef("--wait %v --timeout %v: write times such as 5s", wait, timeout)
			}
			h, err := g.health(strings.Join(args, ""), minReady, timeout, wait)
			code, text := judge(h, err)
			if out.json() {
				if err != nil {
					h = api.Health{Health: [...]string{healthCritical: "critical", healthUnknown: "unknown"}[code], Text: err.Error()}
				}
				err = printJSON(cmd.OutOrStdout(), h)
			} else {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), g.verdict(cmd, code, printable(text)))
			}
			if err != nil {
				return &coded{healthUnknown, err}
			}
			if lsb {
				code = [...]int{lsbRunning, lsbRunning, lsbDead, lsbUnknown}[code]
				if strings.HasPrefix(text, noSupervisorText) {
					code = lsbNotRunning
				}
			}
			if code == healthOK {
				return nil
			}
			return &coded{code, nil}
		},
	}
	out.flag(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait until all is well, or until there is a supervisor at all")
	cmd.Flags().IntVar(&minReady, "min-ready", 0, "workers that must be ready (default: each pool's min_ready)")
	cmd.Flags().BoolVar(&lsb, "lsb", false, "exit as an init script's status does: 0 running, 1 dead, 3 not running, 4 unknown")
	completeTargets(g, cmd)
	return cmd
}

// healthUsage is the exit code of a call that is wrong in itself: a monitor that
// is set up wrongly knows nothing, and must not report a fault.
func healthUsage(cmd *cobra.Command) int {
	if lsb, err := cmd.Flags().GetBool("lsb"); err == nil && lsb {
		return lsbUnknown
	}
	return healthUnknown
}

// sayUnknown has the line of such a call, too, on standard output, which is all that a
// monitor shows.
func sayUnknown(cmd *cobra.Command, err error) {
	if asked := cmd.Flags().Lookup("output"); asked != nil && asked.Value.String() == "json" {
		_ = printJSON(cmd.OutOrStdout(), api.Health{Health: "unknown", Text: err.Error()}) // standard error has it as well
		return
	}
	_, text := judge(api.Health{}, err)
	_, _ = fmt.Fprintln(cmd.OutOrStdout(), printable(text))
}

// verdict is the line with its word in colour, on a terminal.
func (g *globals) verdict(cmd *cobra.Command, code int, text string) string {
	style := [...]term.Style{term.Green, term.Yellow, term.Alarm, term.Purple}[code]
	word, rest, _ := strings.Cut(text, " - ")
	return g.out(cmd).Paint(style, word) + " - " + rest
}

// lookAgain is how often health --wait looks.
const lookAgain = 50 * time.Millisecond

// health asks until all is well or wait is over, and returns the last answer.
func (g *globals) health(target string, minReady int, timeout, wait time.Duration) (api.Health, error) {
	c, err := g.client()
	if err != nil {
		return api.Health{}, err
	}
	defer c.Close()
	for end := time.Now().Add(wait); ; time.Sleep(lookAgain) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		h, err := c.Health(ctx, target, minReady)
		cancel()
		if code, _ := judge(h, err); code == healthOK || time.Now().After(end) {
			return h, err
		}
	}
}

const noSupervisorText = "BROOD CRITICAL - no supervisor"

// judge turns an answer, or the lack of one, into the plugin's code and line.
func judge(h api.Health, err error) (code int, text string) {
	switch {
	case errors.Is(err, client.ErrNoSupervisor):
		return healthCritical, "BROOD CRITICAL - " + err.Error()
	case err != nil:
		return healthUnknown, "BROOD UNKNOWN - " + err.Error()
	}
	switch h.Health {
	case "ok":
		return healthOK, "BROOD OK - " + h.Text
	case "degraded":
		return healthDegraded, "BROOD WARNING - " + h.Text
	}
	return healthCritical, "BROOD CRITICAL - " + h.Text
}
