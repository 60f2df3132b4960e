package report

import (
	"fmt"
	"strings"
)

// plots are the pictures of the page, by name.
func (r Results) plots() map[string]string {
	all := map[string]string{}
	if len(r.Wire) > 0 {
		all["callers"] = lines("Calls per second by callers", r.byCallers(true), r.byCallers(false))
		all["sizes"] = lines("Echo throughput by size", r.bySize(true), r.bySize(false))
	}
	if len(r.Pings) > 0 {
		all["ping"] = r.pingBars()
	}
	if len(r.Control) > 0 {
		all["control"] = r.controlBars()
	}
	return all
}

func sideTitle(what string, pinned bool) string {
	if pinned {
		return what + ", one CPU"
	}
	return what + ", all CPUs"
}

// lineOf is a peer's series, made of those cells that keep picks.
func (r Results) lineOf(p Peer, keep func(WireCell) (xy, bool)) series {
	s := series{name: p.Name, colour: p.colour, strong: p.Key == "brood"}
	for _, c := range r.Wire {
		if _, ok := c.Peers[p.Key]; !ok {
			continue
		}
		if at, ok := keep(c); ok {
			at.y *= c.Peers[p.Key].Rate.Median
			s.points = append(s.points, at)
		}
	}
	return s
}

// drawn are the peers in the plots; brood's other way and Node's slower one
// are in the tables.
func drawn(p Peer) bool { return p.Key != "broodgo" && p.Key != "nodeadv" }

func (r Results) byCallers(pinned bool) panel {
	pl := panel{
		title: sideTitle("16 B there and back", pinned), xLabel: "callers at once", yLabel: "calls per second",
		xTicks: []tick{{1, "1"}, {16, "16"}, {64, "64"}, {256, "256"}}, yFormat: count,
	}
	for _, p := range Peers {
		if !drawn(p) {
			continue
		}
		s := r.lineOf(p, func(c WireCell) (xy, bool) {
			return xy{float64(c.Callers), 1}, c.Pinned == pinned && c.Size == 16
		})
		if len(s.points) > 0 {
			pl.series = append(pl.series, s)
		}
	}
	return pl
}

func (r Results) bySize(pinned bool) panel {
	pl := panel{
		title: sideTitle("One caller's echo", pinned), xLabel: "size of the message", yLabel: "MiB per second",
		xTicks:  []tick{{16, "16 B"}, {1 << 10, "1 KiB"}, {64 << 10, "64 KiB"}, {1 << 20, "1 MiB"}, {16 << 20, "16 MiB"}},
		yFormat: count,
	}
	for _, p := range Peers {
		if !drawn(p) {
			continue
		}
		s := r.lineOf(p, func(c WireCell) (xy, bool) {
			return xy{float64(c.Size), float64(c.Size) / (1 << 20)}, c.Pinned == pinned && c.Callers == 1
		})
		if len(s.points) > 0 {
			pl.series = append(pl.series, s)
		}
	}
	return pl
}

func (r Results) pingBars() string {
	var groups []barGroup
	for _, c := range r.Pings {
		g := barGroup{title: sideTitle("p99 of a small request", c.Pinned)}
		for _, p := range Peers {
			pt, ok := c.Peers[p.Key]
			if !ok || !drawn(p) {
				continue
			}
			strong := p.Key == "brood"
			g.bars = append(g.bars,
				bar{p.Name + ", idle", pt.IdleP99.Median, p.colour, strong, micro(pt.IdleP99.Median)},
				bar{p.Name + ", beside 16 MiB both ways", pt.FullP99.Median, p.colour, strong, micro(pt.FullP99.Median)})
		}
		groups = append(groups, g)
	}
	return bars("Latency of a small request beside big ones", "microseconds", count, groups)
}

func (r Results) controlBars() string {
	titles := map[string]string{"list": "A list of 100", "command": "A command to one worker", "health": "Health"}
	var groups []barGroup
	for _, c := range r.Control {
		clients := fmt.Sprintf("%d clients", c.Clients)
		if c.Clients == 1 {
			clients = "one client"
		}
		g := barGroup{title: titles[c.Request] + ", " + clients}
		var names []string
		for n := range c.Rate {
			names = append(names, n)
		}
		for _, n := range ordered(names) {
			colour := "c2"
			if ours(n) {
				colour = "c0"
			}
			g.bars = append(g.bars, bar{strings.ReplaceAll(n, "`", ""), c.Rate[n].Median, colour, ours(n), count(c.Rate[n].Median) + "/s"})
		}
		groups = append(groups, g)
	}
	return bars("Requests per second on the control socket", "requests per second", count, groups)
}
