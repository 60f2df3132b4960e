// Package conformance plays a supervisor against a worker program and holds what
// it does against docs/protocol.md. It writes the wire by hand, with
// [ipc.AppendFrame], so that it can break every rule; docs/conformance.md says
// what the checks are and which commands they need.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options is what to run.
type Options struct {
	Command []string      // the worker: program and arguments
	Only    []string      // names of checks, or patterns as of path.Match; none: all
	Timeout time.Duration // for each thing that is waited for
	Output  func(string)  // is given each line that a worker writes; nil: none
}

// Outcome is how a check ended.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "pass"
	Failed  Outcome = "fail"
	Skipped Outcome = "skipped"
)

// Result is one check's.
type Result struct {
	Name    string  `json:"name"`
	About   string  `json:"about"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text,omitempty"` // why it failed or was skipped
	MS      int64   `json:"ms"`
}

// check is one row of the table. Each has a worker of its own.
type check struct {
	name  string
	about string
	needs []string // commands that the worker must offer
	fds   bool     // its HELLO must offer descriptors
	raw   bool     // it starts the worker itself
	run   func(*subject) error
}

// skip is a check's word that it does not apply.
type skip string

func (s skip) Error() string { return string(s) }

func skipf(format string, args ...any) error { return skip(fmt.Sprintf(format, args...)) }

// Names are the names of all checks.
func Names() (names []string) {
	for _, c := range all() {
		names = append(names, c.name)
	}
	return names
}

// all is every check, in the order of the table.
func all() []check {
	return slices.Concat(beginChecks, callChecks, streamChecks, fdChecks, endChecks, sessionChecks(), breachChecks())
}

// Run runs the checks, a few at a time, and tells done of each in the order of
// the table. The error is one of the options.
func Run(ctx context.Context, o Options, done func(Result)) error {
	checks, err := chosen(o.Only)
	if err != nil {
		return err
	}
	results := make([]chan Result, len(checks))
	for i := range results {
		results[i] = make(chan Result, 1)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	next := make(chan int)
	for range max(2, runtime.NumCPU()) {
		workers.Go(func() {
			for i := range next {
				results[i] <- runOne(ctx, o, checks[i])
			}
		})
	}
	workers.Go(func() {
		defer close(next)
		for i := range checks {
			next <- i
		}
	})
	for _, r := range results {
		done(<-r)
	}
	return nil
}

func chosen(only []string) ([]check, error) {
	if len(only) == 0 {
		return all(), nil
	}
	var checks []check
	used := make([]bool, len(only))
	for _, c := range all() {
		match := false
		for i, pattern := range only {
			ok, err := path.Match(pattern, c.name)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", pattern, err)
			}
			if ok || strings.HasPrefix(c.name, pattern+"/") {
				match, used[i] = true, true
			}
		}
		if match {
			checks = append(checks, c)
		}
	}
	for i, pattern := range only {
		if !used[i] {
			return nil, fmt.Errorf("no check is called %q; docs/conformance.md lists them, and so does --list", pattern)
		}
	}
	return checks, nil
}

func runOne(ctx context.Context, o Options, c check) Result {
	r := Result{Name: c.name, About: c.about, Outcome: Passed}
	start := time.Now()
	err := ctx.Err()
	if err == nil {
		err = play(ctx, o, c)
	}
	r.MS = time.Since(start).Milliseconds()
	var s skip
	switch {
	case errors.As(err, &s):
		r.Outcome, r.Text = Skipped, s.Error()
	case err != nil:
		r.Outcome, r.Text = Failed, err.Error()
	}
	return r
}

// play starts a worker and runs the check on it. Whatever happens, nothing of
// the worker is left behind.
func play(ctx context.Context, o Options, c check) error {
	s := &subject{ctx: ctx, options: o}
	defer s.end()
	if !c.raw {
		if err := s.start(); err != nil {
			return err
		}
		if err := s.greet(); err != nil {
			return err
		}
		if err := s.need(c.needs); err != nil {
			return err
		}
		if c.fds && s.hello.FDs == 0 {
			return skipf("its HELLO offers no descriptors")
		}
	}
	if err := c.run(s); err != nil {
		return s.withLastWords(err)
	}
	return nil
}
