package report

import (
	"encoding/xml"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// sample has a figure of everything.
func sample() Results {
	one := Stat{1, 1, 1}
	point := func(rate float64) WirePoint {
		return WirePoint{Rate: Stat{rate, rate / 2, rate * 2}, CPU: one, Allocs: &one}
	}
	r := Results{Machine: Machine{2, "Linux", "go"}, Peers: map[string]string{"gRPC": "v1"}}
	for _, pinned := range []bool{true, false} {
		for _, size := range []int{16, 1 << 10, 64 << 10, 1 << 20, 16 << 20} {
			for _, callers := range []int{1, 64, 256} {
				r.Wire = append(r.Wire, WireCell{pinned, size, callers, 5, map[string]WirePoint{
					"c": point(700e3), "bare": point(100e3), "brood": point(1.5e6), "grpc": point(50e3), "netrpc": point(180e3),
				}})
			}
		}
		r.Pings = append(r.Pings, PingCell{pinned, map[string]PingPoint{"brood": {one, one, one, Stat{99, 99, 99}, one, one}, "grpc": {one, one, one, one, one, one}}})
	}
	for _, clients := range []int{1, 16} {
		r.Control = append(r.Control, ControlCell{"list", clients, 5, map[string]Stat{"brood `GET /v1/workers`": {9e3, 1, 1e4}, "supervisord `getAllProcessInfo`": {200, 1, 300}}})
	}
	r.Tools = []ToolCell{{"brood status", Stat{4, 3, 5}}}
	r.Engine = []EngineFigure{{"Restart", "with-1-ms", 3}, {"Restart", "with-1/c", 1.5}, {"ThousandWorkers", "fds", 12}}
	return r
}

func TestPageHasEveryFigure(t *testing.T) {
	text, err := sample().Page()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| one caller, 16 B, pinned, calls per second beside bare Go | ≥ 1.00 × | 15.0 × | yes |",
		"| 64 callers, 16 B, allocations a call, inline, both sides | 0 | 1.00 | **no** |",
		"| 256 callers, 16 B, unpinned | ≥ 1.5M/s or ≥ 3 × the best peer | 1.50M/s, 8.33 × net/rpc | yes |",
		"| p99 of a ping while 16 MiB messages flow both ways, pinned | ≤ 6.00 µs: 5 × its p99 when idle and two chunks | 99.0 µs | **no** |",
		"| × gRPC | 30.0 | 30.0 | 30.0 |",
		"a list of 100: supervisord `getAllProcessInfo` | 45.0 × · 200/s (1.00–300) |",
		"| Restart | with-1 beside bare C | 1.50 × |", "- gRPC: v1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(text, "<no value>") || strings.Contains(text, "NaN") {
		t.Error("the page has a place without a figure")
	}
}

func TestPlotsAreXML(t *testing.T) {
	plots := sample().plots()
	if len(plots) != 4 {
		t.Errorf("%d plots", len(plots))
	}
	for name, svg := range plots {
		if strings.Contains(svg, "%!") || strings.Contains(svg, "NaN") {
			t.Errorf("%s has a number that is none", name)
		}
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
}

func TestMergeReplacesWhatWasMeasuredAgain(t *testing.T) {
	dir := t.TempDir()
	file, doc := filepath.Join(dir, "results.json"), filepath.Join(dir, "performance.md")
	if err := Keep(file, doc, sample()); err != nil {
		t.Fatal(err)
	}
	again := Results{Wire: []WireCell{{true, 16, 64, 5, map[string]WirePoint{"brood": {Rate: Stat{7, 7, 7}}}}}}
	if err := Keep(file, doc, again); err != nil {
		t.Fatal(err)
	}
	all, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := all.cell(true, 16, 64); c.Peers["brood"].Rate.Median != 7 || len(all.Wire) != len(sample().Wire) || len(all.Engine) != 3 {
		t.Errorf("%+v, %d cells", c, len(all.Wire))
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[float64]string{1.86e6: "1.86M", 145_300: "145k", 9_400: "9.40k", 12_340: "12.3k", 930: "930", 18.2: "18.2", 1.5: "1.50"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) = %q, want %q", v, got, want)
		}
	}
}
