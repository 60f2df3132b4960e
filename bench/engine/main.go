// Command engine runs the supervisor's benchmarks and keeps their figures with
// the others, in ../docs/performance.md.
//
//	cd bench
//	go run ./engine
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"example.com/brood/bench/internal/report"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		which       = flag.String("bench", ".", "the benchmarks to run, as go test -bench takes it")
		resultsFile = flag.String("json", "../docs/performance/results.json", "where results are kept, merged with what is there; \"\" for none")
		doc         = flag.String("doc", "../docs/performance.md", "the page to write from the results; \"\" for none")
	)
	flag.Parse()
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", *which, "-benchtime", "1x", "-timeout", "10m", ".")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	os.Stdout.Write(out)
	if err != nil {
		return err
	}
	figures, err := parse(out)
	if err != nil {
		return err
	}
	return report.Keep(*resultsFile, *doc, report.Results{Machine: report.ThisMachine(), Engine: figures})
}

var benchmark = regexp.MustCompile(`^Benchmark(\S+?)(-\d+)?\s+\d+\s+(.*)$`)

// parse reads what go test -bench prints.
func parse(out []byte) (all []report.EngineFigure, err error) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		m := benchmark.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		fields := strings.Fields(m[3])
		for i := 0; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			if fields[i+1] != "ns/op" {
				all = append(all, report.EngineFigure{Benchmark: m[1], Unit: fields[i+1], Value: v})
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no figures in what go test has printed")
	}
	return all, lines.Err()
}
