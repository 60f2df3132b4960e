package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"example.com/brood/bench/internal/report"
)

// options are what the flags say.
type options struct {
	rounds int
	length time.Duration
	only   *regexp.Regexp
	peers  *regexp.Regexp
	log    io.Writer
	keep   func(report.Results) error // what has been measured so far; called after each cell
}

// grid is every cell that is measured: sizes with the callers that make sense
// for them. More would need gigabytes under way.
var grid = []struct {
	size    int
	callers []int
}{
	{16, []int{1, 16, 64, 256}},
	{1 << 10, []int{1, 16, 64, 256}},
	{64 << 10, []int{1, 16, 64, 256}},
	{1 << 20, []int{1, 16, 64}},
	{16 << 20, []int{1, 4}},
}

func cells(pinned bool, only *regexp.Regexp) (all []report.WireCell) {
	for _, g := range grid {
		for _, n := range g.callers {
			c := report.WireCell{Pinned: pinned, Size: g.size, Callers: n}
			if only.MatchString(c.Name()) {
				all = append(all, c)
			}
		}
	}
	return all
}

// bench is the processes that are being measured.
type bench struct {
	options
	dir      string
	meters   *meters
	programs *programs
	results  report.Results
}

func newBench(o options) (*bench, error) {
	dir, err := os.MkdirTemp("", "brood-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir, results: report.Results{Machine: report.ThisMachine(), Peers: map[string]string{}}}
	if b.programs, err = newPrograms(dir); err == nil {
		b.meters, err = newMeters(b.meterPath())
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return b, nil
}

func (b *bench) meterPath() string { return filepath.Join(b.dir, "meter") }

func (b *bench) close() {
	b.meters.close()
	os.RemoveAll(b.dir)
}

// start starts the pairs of the peers that are asked for and can be had.
func (b *bench) start(pinned bool, wanted func(peer) bool) (pairs []*pair, err error) {
	for _, p := range peers {
		if !b.peers.MatchString(p.key) || !wanted(p) {
			continue
		}
		pr, err := startPair(p, pinned, b.meters, b.meterPath(), b.programs)
		switch {
		case errors.Is(err, errMissing):
			fmt.Fprintf(b.log, "%s is left out: %v\n", p.name, err)
			b.results.Peers[p.name] = "left out: " + err.Error()
		case err != nil:
			endAll(pairs)
			return nil, fmt.Errorf("%s: %w", p.name, err)
		default:
			pairs = append(pairs, pr)
			b.results.Peers[p.name] = version(p)
		}
	}
	return pairs, nil
}

func endAll(pairs []*pair) {
	for _, p := range pairs {
		p.end()
	}
}

// wire measures the cells, one after the other. All peers of a cell are
// measured in turn, round by round, so that what else the machine does meets
// them alike.
func (b *bench) wire(pinned bool) error {
	todo := cells(pinned, b.only)
	if len(todo) == 0 {
		return nil
	}
	pairs, err := b.start(pinned, func(p peer) bool { return !p.pingOnly })
	if err != nil {
		return err
	}
	defer func() { endAll(pairs) }()
	for _, p := range pairs { // until all have started nobody is measured
		if _, err := p.measure(16, 1, time.Millisecond, time.Millisecond); err != nil {
			return fmt.Errorf("%s: %w", p.peer.name, err)
		}
	}
	for _, cell := range todo {
		samples := map[string][]sample{}
		for round := range b.rounds {
			var left []*pair
			for _, p := range pairs {
				if p.peer.max > 0 && cell.Size > p.peer.max {
					left = append(left, p)
					continue
				}
				s, err := p.measure(cell.Size, cell.Callers, b.warm(round), b.length)
				if err != nil {
					fmt.Fprintf(b.log, "%s fails at %s and is left out from here on: %v\n", p.peer.name, cell.Name(), err)
					b.results.Peers[p.peer.name] += fmt.Sprintf("; failed at %s: %v", cell.Name(), err)
					p.end()
					delete(samples, p.peer.key)
					continue
				}
				samples[p.peer.key] = append(samples[p.peer.key], s)
				left = append(left, p)
			}
			pairs = left
		}
		cell.Rounds = b.rounds
		cell.Peers = map[string]report.WirePoint{}
		for _, p := range pairs {
			if all := samples[p.peer.key]; len(all) > 0 {
				cell.Peers[p.peer.key] = point(p.peer, all)
			}
		}
		b.results.Wire = append(b.results.Wire, cell)
		b.show(cell)
		if err := b.keep(b.results); err != nil {
			return err
		}
	}
	return nil
}

// warm is how long a pair warms up: its first time with a size it grows its
// buffers.
func (b *bench) warm(round int) time.Duration {
	if round == 0 {
		return b.length / 2
	}
	return b.length / 8
}

func point(p peer, all []sample) report.WirePoint {
	var rate, cpu, allocs []float64
	for _, s := range all {
		rate, cpu, allocs = append(rate, s.rate), append(cpu, s.cpu), append(allocs, s.allocs)
	}
	out := report.WirePoint{Rate: report.NewStat(rate), CPU: report.NewStat(cpu)}
	if !p.foreign() {
		a := report.NewStat(allocs)
		out.Allocs = &a
	}
	return out
}

// show prints a cell as it is done.
func (b *bench) show(c report.WireCell) {
	base := c.Peers["brood"].Rate.Median
	fmt.Fprintf(b.log, "\n%s, %d rounds\n%-28s %12s %10s %10s %10s\n", c.Name(), c.Rounds, "", "calls/s", "brood is", "CPU µs", "allocs")
	for _, p := range peers {
		pt, ok := c.Peers[p.key]
		if !ok {
			continue
		}
		times, allocs := "", ""
		if base > 0 {
			times = fmt.Sprintf("%.2f ×", base/pt.Rate.Median)
		}
		if pt.Allocs != nil {
			allocs = fmt.Sprintf("%.2f", pt.Allocs.Median)
		}
		fmt.Fprintf(b.log, "%-28s %12.0f %10s %10.2f %10s\n", p.name, pt.Rate.Median, times, pt.CPU.Median, allocs)
	}
}
