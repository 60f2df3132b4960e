package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/conformance"
)

func conformanceCommand() *cobra.Command {
	var out output
	var o conformance.Options
	var list, verbose bool
	cmd := &cobra.Command{
		Use:   "conformance [--only CHECK,…] -- CMD ARGS…",
		Short: "Hold a worker program against the protocol",
		Long: `Conformance plays a supervisor against a worker program and prints a table of what
it does well and what not. Each check starts the program anew. It needs commands of
the program for some of them; docs/conformance.md says which.`,
		Example: "  brood conformance -- python3 worker.py\n  brood conformance --only 'stream,session/cancel' -- ./worker",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if list {
				fmt.Fprintln(cmd.OutOrStdout(), strings.Join(conformance.Names(), "\n"))
				return nil
			}
			switch {
			case len(args) == 0:
				return usagef("which worker? write `brood conformance -- CMD ARGS…`")
			case o.Timeout <= 0:
				return usagef("--timeout %v: write a time of more than 0, such as 5s", o.Timeout)
			}
			if _, err := exec.LookPath(args[0]); err != nil {
				return usagef("the worker: %w", err)
			}
			o.Command = args
			if verbose {
				o.Output = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), "worker |", printable(line)) }
			}
			return conform(cmd.OutOrStdout(), o, out.json())
		},
	}
	out.flag(cmd)
	cmd.Flags().StringSliceVar(&o.Only, "only", nil, "run only these checks: names, the part before a slash, or patterns such as 'session/*'")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 10*time.Second, "how long to wait for each thing that the worker has to do")
	cmd.Flags().BoolVar(&list, "list", false, "list the checks")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show what the worker writes")
	return cmd
}

// conformed is what -o json prints.
type conformed struct {
	Command []string             `json:"command"`
	Passed  int                  `json:"passed"`
	Failed  int                  `json:"failed"`
	Skipped int                  `json:"skipped"`
	Checks  []conformance.Result `json:"checks"`
}

func conform(w io.Writer, o conformance.Options, asJSON bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	sum := conformed{Command: o.Command}
	err := conformance.Run(ctx, o, func(r conformance.Result) {
		sum.Checks = append(sum.Checks, r)
		switch r.Outcome {
		case conformance.Passed:
			sum.Passed++
		case conformance.Failed:
			sum.Failed++
		default:
			sum.Skipped++
		}
		if !asJSON {
			printCheck(w, r)
		}
	})
	switch {
	case err != nil:
		return usagef("--only: %v", err)
	case asJSON:
		err = printJSON(w, sum)
	default:
		_, err = fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", sum.Passed, sum.Failed, sum.Skipped)
	}
	if err == nil && sum.Failed > 0 {
		err = &coded{exitError, nil}
	}
	return err
}

func printCheck(w io.Writer, r conformance.Result) {
	fmt.Fprintf(w, "%-8s %-40s %s\n", r.Outcome, r.Name, r.About)
	if r.Text != "" {
		fmt.Fprintf(w, "%-8s %s\n", "", printable(r.Text))
	}
}
