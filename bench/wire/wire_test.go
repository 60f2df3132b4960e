package main

import (
	"io"
	"os"
	"regexp"
	"testing"
	"time"

	"example.com/brood/bench/internal/report"
)

// TestMain lets this binary be the parents and children that it measures.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && (os.Args[1] == "parent" || os.Args[1] == "child") {
		if err := run(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestEveryPeerIsMeasured runs each for a moment; that they are there at all
// is what counts, not how fast they are.
func TestEveryPeerIsMeasured(t *testing.T) {
	results, err := measure(options{
		rounds: 1, length: 20 * time.Millisecond, log: io.Discard, keep: func(report.Results) error { return nil },
		only:  regexp.MustCompile("^(pinned/(16B/16|64KiB/4|1MiB/1)|unpinned/16B/1|ping/pinned)$"),
		peers: regexp.MustCompile(""),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(results.Wire) != 3 {
		t.Fatalf("%d cells", len(results.Wire))
	}
	for _, c := range results.Wire {
		for _, p := range peers {
			pt, ok := c.Peers[p.key]
			if p.pingOnly {
				continue
			}
			if note := results.Peers[p.name]; note == "left out: "+p.needs+": "+errMissing.Error() {
				continue
			}
			if !ok || pt.Rate.Median <= 0 || pt.CPU.Median <= 0 {
				t.Errorf("%s, %s: %+v", c.Name(), p.name, pt)
			}
			if (pt.Allocs == nil) != p.foreign() {
				t.Errorf("%s, %s: allocations %v", c.Name(), p.name, pt.Allocs)
			}
		}
	}
	if len(results.Pings) != 1 || results.Pings[0].Peers["brood"].FullP99.Median <= 0 {
		t.Errorf("pings: %+v", results.Pings)
	}
}

// TestTablesKnowEveryPeer: a peer that the tables don't know would be missing
// from them.
func TestTablesKnowEveryPeer(t *testing.T) {
	known := map[string]string{}
	for _, p := range report.Peers {
		known[p.Key] = p.Name
	}
	for _, p := range peers {
		if known[p.key] != p.name {
			t.Errorf("%s is %q here and %q in the tables", p.key, p.name, known[p.key])
		}
	}
}
