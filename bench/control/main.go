// Command control measures the control socket beside what others have: a page
// of 100 workers and a command to one of them, by one client and by 16, and the
// tools that ask for it as whole processes.
//
//	cd bench
//	go run ./control -quick     a minute's look, nothing is written
//	go run ./control            everything, into ../docs/performance.md
//
// Peers that are not installed are named and left out: haproxy, supervisor, s6.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"example.com/brood/bench/internal/report"
)

// options are what the flags say.
type options struct {
	rounds int
	length time.Duration
	only   *regexp.Regexp
	log    io.Writer
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "control:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) == 4 && os.Args[1] == "ready-made" {
		return serveReadyMade(os.Args[2], os.Args[3])
	}
	var (
		o           options
		quick       = flag.Bool("quick", false, "a minute's look: short rounds, nothing is written")
		only        = flag.String("only", "", "measure only what matches this regular expression: list/16, command/1, tools")
		resultsFile = flag.String("json", "../docs/performance/results.json", "where results are kept, merged with what is there; \"\" for none")
		doc         = flag.String("doc", "../docs/performance.md", "the page to write from the results; \"\" for none")
	)
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each figure; the median counts")
	flag.DurationVar(&o.length, "length", 400*time.Millisecond, "how long a server is measured in a round")
	flag.Parse()
	if *quick {
		*resultsFile, *doc = "", ""
		o.length, o.rounds = 150*time.Millisecond, 3
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	o.log = os.Stderr
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	results, err := measure(ctx, o)
	if err != nil {
		return err
	}
	return report.Keep(*resultsFile, *doc, results)
}

// The requests that are measured.
const (
	listRequest    = "list"
	commandRequest = "command"
	healthRequest  = "health"
)

func measure(ctx context.Context, o options) (report.Results, error) {
	results := report.Results{Machine: report.ThisMachine(), Peers: map[string]string{}}
	h, err := newHouse(ctx, o)
	if err != nil {
		return results, err
	}
	defer h.close()
	results.Peers = h.notes
	for _, request := range []string{listRequest, commandRequest, healthRequest} {
		for _, clients := range []int{1, 16} {
			if !o.only.MatchString(fmt.Sprintf("%s/%d", request, clients)) {
				continue
			}
			cell, err := h.cell(request, clients)
			if err != nil {
				return results, err
			}
			results.Control = append(results.Control, cell)
		}
	}
	if o.only.MatchString("tools") {
		if results.Tools, err = h.tools(); err != nil {
			return results, err
		}
	}
	return results, nil
}

// cell measures a request of every server that has it, in turn, round by round.
func (h *house) cell(request string, clients int) (report.ControlCell, error) {
	cell := report.ControlCell{Request: request, Clients: clients, Rounds: h.rounds, Rate: map[string]report.Stat{}}
	rates := map[string][]float64{}
	for range h.rounds {
		for _, s := range h.served[request] {
			n := clients
			if s.most > 0 {
				n = min(n, s.most)
			}
			rate, err := load(s.dial, n, h.length)
			if err != nil {
				return cell, fmt.Errorf("%s, %s: %w", s.name, request, err)
			}
			rates[s.name] = append(rates[s.name], rate)
		}
	}
	fmt.Fprintf(h.log, "\n%s, %d clients, %d rounds\n", request, clients, h.rounds)
	for _, s := range h.served[request] {
		cell.Rate[s.name] = report.NewStat(rates[s.name])
		fmt.Fprintf(h.log, "%-60s %10.0f/s\n", s.name, cell.Rate[s.name].Median)
	}
	return cell, nil
}
