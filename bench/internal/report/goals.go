package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// goal is something brood is meant to do, and what was measured of it.
type goal struct {
	What, Want, Is string
	Holds          bool
}

// cell finds a cell of the wire; false if it was not measured.
func (r Results) cell(pinned bool, size, callers int) (WireCell, bool) {
	want := WireCell{Pinned: pinned, Size: size, Callers: callers}.key()
	i := slices.IndexFunc(r.Wire, func(c WireCell) bool { return c.key() == want })
	if i < 0 {
		return WireCell{}, false
	}
	return r.Wire[i], true
}

// ratio is brood's rate over a peer's.
func (c WireCell) ratio(peer string) float64 {
	p, ok := c.Peers[peer]
	if !ok {
		return math.NaN()
	}
	return c.Peers["brood"].Rate.Median / p.Rate.Median
}

// bestPeer is the fastest that is neither a floor nor brood.
func (c WireCell) bestPeer() (best Peer) {
	for _, p := range Peers {
		if !p.Floor && !ours(p.Key) && c.Peers[p.Key].Rate.Median > c.Peers[best.Key].Rate.Median {
			best = p
		}
	}
	return best
}

// goals are those of which there are figures.
func (r Results) goals() (all []goal) {
	all = append(all, r.oneCaller()...)
	all = append(all, r.manyCallers()...)
	all = append(all, r.allocsAndEcho()...)
	all = append(all, r.pingGoals()...)
	return append(all, r.controlGoals()...)
}

func (r Results) oneCaller() (all []goal) {
	c, ok := r.cell(true, 16, 1)
	if !ok {
		return nil
	}
	against := func(key, name string, want float64) {
		if v := c.ratio(key); !math.IsNaN(v) {
			all = append(all, goal{"one caller, 16 B, pinned, calls per second beside " + name, "≥ " + times(want), times(v), v >= want})
		}
	}
	against("bare", "bare Go", 1)
	for _, p := range Peers {
		if !p.Floor && !ours(p.Key) && p.Key != "python" {
			against(p.Key, p.Name, 1)
		}
	}
	return all
}

func (r Results) manyCallers() (all []goal) {
	if c, ok := r.cell(true, 16, 64); ok {
		for _, g := range []struct {
			key, name string
			want      float64
		}{{"c", "C floor, a read and a write per message", 2}, {"netrpc", "net/rpc", 8}, {"grpc", "gRPC", 25}} {
			if v := c.ratio(g.key); !math.IsNaN(v) {
				all = append(all, goal{"64 callers, 16 B, pinned, beside " + g.name, "≥ " + times(g.want), times(v), v >= g.want})
			}
		}
	}
	if c, ok := r.cell(false, 16, 256); ok {
		rate, best := c.Peers["brood"].Rate.Median, c.bestPeer()
		v := c.ratio(best.Key)
		all = append(all, goal{"256 callers, 16 B, unpinned", "≥ 1.5M/s or ≥ 3 × the best peer",
			fmt.Sprintf("%s/s, %s %s", count(rate), times(v), best.Name), rate >= 1.5e6 || v >= 3})
	}
	return all
}

func (r Results) allocsAndEcho() (all []goal) {
	for _, size := range []int{16, 1 << 10} {
		if c, ok := r.cell(true, size, 64); ok && c.Peers["brood"].Allocs != nil {
			v := c.Peers["brood"].Allocs.Median
			all = append(all, goal{"64 callers, " + words(size) + ", allocations a call, inline, both sides", "0", fmt.Sprintf("%.2f", v), v < 0.05})
		}
	}
	for _, size := range []int{64 << 10, 1 << 20, 16 << 20} {
		if c, ok := r.cell(true, size, 1); ok {
			if v := c.ratio("bare"); !math.IsNaN(v) {
				all = append(all, goal{"echo of " + words(size) + ", one caller, pinned, beside bare Go", "≥ 0.80 ×", times(v), v >= 0.8})
			}
		}
	}
	return all
}

func (r Results) pingGoals() (all []goal) {
	for _, c := range r.Pings {
		p, ok := c.Peers["brood"]
		if !ok {
			continue
		}
		most := 5*p.IdleP99.Median + p.Chunks.Median
		all = append(all, goal{
			"p99 of a ping while 16 MiB messages flow both ways, " + where(c.Pinned),
			"≤ " + micro(most) + ": 5 × its p99 when idle and two chunks", micro(p.FullP99.Median), p.FullP99.Median <= most,
		})
	}
	return all
}

func (r Results) controlGoals() (all []goal) {
	for _, c := range r.Control {
		n := fmt.Sprintf("%d clients", c.Clients)
		if c.Clients == 1 {
			n = "one client"
		}
		beside := func(what, own, other string, want float64) {
			a, b := c.rate(own), c.rate(other)
			if a > 0 && b > 0 {
				all = append(all, goal{what + ", " + n + ", beside " + strings.ReplaceAll(other, "`", ""), "≥ " + times(want), times(a / b), a/b >= want})
			}
		}
		switch c.Request {
		case "list":
			beside("GET /v1/workers of 100", "brood `GET", "bare net/http", 0.8)
			beside("GET /v1/workers of 100", "brood `GET", "supervisord", 30)
		case "command":
			beside("a command by HTTP", "brood, HTTP", "HAProxy `@1 show info`, `prompt`", 1)
			beside("a command by a kept line connection", "brood, line protocol with", "HAProxy `@1 show info`, `prompt`", 1)
			beside("a command by a line connection of its own", "brood, line protocol, a connection", "HAProxy `@1 show info`, a connection", 1)
		}
	}
	for _, t := range r.Tools {
		if strings.HasPrefix(t.Command, "brood ") {
			all = append(all, goal{"`" + t.Command + "` as a whole process", "≤ 5 ms", digits(t.MS.Median) + " ms", t.MS.Median <= 5})
		}
	}
	return all
}

// rate is that of the server whose name begins so; 0: it was not measured.
func (c ControlCell) rate(prefix string) float64 {
	for name, s := range c.Rate {
		if strings.HasPrefix(name, prefix) {
			return s.Median
		}
	}
	return 0
}

func where(pinned bool) string {
	if pinned {
		return "pinned"
	}
	return "unpinned"
}

// words is a size with a space.
func words(n int) string {
	s := Size(n)
	i := strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' })
	return s[:i] + " " + s[i:]
}
