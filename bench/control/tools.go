package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"example.com/brood/bench/internal/report"
)

// tool is a whole process: started, its answer printed to nobody, ended.
type tool struct {
	name string
	argv []string
	runs int // in a round
}

// tools measures the processes in turn, round by round.
func (h *house) tools() ([]report.ToolCell, error) {
	socket := filepath.Join(h.dir, "brood.sock")
	all := []tool{
		{"/bin/true", []string{"/bin/true"}, 40},
		{"brood status web/1", []string{h.brood, "--socket", socket, "status", "web/1"}, 40},
		{fmt.Sprintf("brood status, of %d workers", workers), []string{h.brood, "--socket", socket, "status"}, 40},
		{"brood health", []string{h.brood, "--socket", socket, "health"}, 40},
		{"brood send web/1 echo hi", []string{h.brood, "--socket", socket, "send", "web/1", "echo", "hi"}, 40},
	}
	if h.s6 != "" {
		all = append(all, tool{"s6-svstat", []string{"s6-svstat", h.s6}, 40})
	}
	if h.sup != "" {
		all = append(all, tool{fmt.Sprintf("supervisorctl status, of %d programs", workers), []string{"supervisorctl", "-c", h.sup, "status"}, 3})
	}
	times := map[string][]float64{}
	for range h.rounds {
		for _, t := range all {
			var round []float64
			for range t.runs {
				begin := time.Now()
				if err := exec.Command(t.argv[0], t.argv[1:]...).Run(); err != nil {
					return nil, fmt.Errorf("%s: %w", t.name, err)
				}
				round = append(round, float64(time.Since(begin).Microseconds())/1e3)
			}
			times[t.name] = append(times[t.name], report.NewStat(round).Median)
		}
	}
	fmt.Fprintf(h.log, "\nwhole processes, %d rounds\n", h.rounds)
	var cells []report.ToolCell
	for _, t := range all {
		c := report.ToolCell{Command: t.name, MS: report.NewStat(times[t.name])}
		fmt.Fprintf(h.log, "%-60s %10.2f ms\n", t.name, c.MS.Median)
		cells = append(cells, c)
	}
	return cells, nil
}
