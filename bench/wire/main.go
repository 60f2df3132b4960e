// Command wire measures how fast a parent and its child process can call each
// other: bare C and bare Go as floors, brood, and what others use.
//
//	cd bench
//	go run ./wire -quick              a minute's look, nothing is written
//	go run ./wire                     everything, into ../docs/performance.md
//	go run ./wire -only '^pinned/16B' a part of it; the rest stays as it was
//
// It starts itself as the parent and the child of each peer, so that what is
// measured are two processes with nothing else in them.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"example.com/brood/bench/internal/report"
)

func main() {
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 2 && (os.Args[1] == "parent" || os.Args[1] == "child") {
		return act(os.Args[1], os.Args[2], os.Args[3:])
	}
	var (
		o           options
		quick       = flag.Bool("quick", false, "a minute's look: few cells, short rounds, nothing is written")
		only        = flag.String("only", "", "measure only the cells whose name matches this regular expression: pinned/16B/64, ping/pinned")
		which       = flag.String("peers", "", "measure only the peers whose key matches this regular expression; ratios want at least two")
		resultsFile = flag.String("json", "../docs/performance/results.json", "where results are kept, merged with what is there; \"\" for none")
		doc         = flag.String("doc", "../docs/performance.md", "the page to write from the results; \"\" for none")
		list        = flag.Bool("list", false, "name cells and peers")
	)
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each cell; the median counts")
	flag.DurationVar(&o.length, "length", 150*time.Millisecond, "how long a peer is measured in a round")
	flag.Parse()
	if *quick {
		*resultsFile, *doc = "", ""
		o.length, o.rounds = 80*time.Millisecond, 3
		if *only == "" {
			*only = "^(pinned/(16B/(1|64)|1KiB/64|64KiB/1|1MiB/1)|unpinned/16B/256|ping/pinned)$"
		}
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if o.peers, err = regexp.Compile(*which); err != nil {
		return fmt.Errorf("-peers: %w", err)
	}
	if *list {
		return names(os.Stdout, o)
	}
	o.log = os.Stderr
	o.keep = func(r report.Results) error { return report.Keep(*resultsFile, "", r) }
	results, err := measure(o)
	if err != nil {
		return err
	}
	return report.Keep(*resultsFile, *doc, results)
}

// act is this program as a parent or a child.
func act(role, key string, args []string) error {
	for _, p := range peers {
		if p.key != key || p.foreign() {
			continue
		}
		if err := serveMeter(); err != nil {
			return err
		}
		return profiled(role, key, func() error {
			if role == "parent" {
				return runParent(p.open)
			}
			return p.serve(args)
		})
	}
	return fmt.Errorf("%s %q: no such peer", role, key)
}

func names(w io.Writer, o options) error {
	for _, pinned := range []bool{true, false} {
		for _, c := range cells(pinned, o.only) {
			fmt.Fprintln(w, c.Name())
		}
		if o.only.MatchString(pingName(pinned)) {
			fmt.Fprintln(w, pingName(pinned))
		}
	}
	fmt.Fprintln(w)
	for _, p := range peers {
		fmt.Fprintf(w, "%-8s %s\n", p.key, p.name)
	}
	return nil
}

func measure(o options) (report.Results, error) {
	b, err := newBench(o)
	if err != nil {
		return report.Results{}, err
	}
	defer b.close()
	for _, pinned := range []bool{true, false} {
		if err := b.wire(pinned); err != nil {
			return b.results, err
		}
		if err := b.ping(pinned); err != nil {
			return b.results, err
		}
	}
	return b.results, nil
}
