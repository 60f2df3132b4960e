package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Plots, as SVG that needs nothing: lines over a logarithmic axis, and bars.
// They follow the reader's preference for dark or light.

// series is one line of a plot, or one bar of a group.
type series struct {
	name   string
	colour string // a class of style
	strong bool
	points []xy
}

type xy struct{ x, y float64 }

// panel is one plot; a picture has one or two of them side by side.
type panel struct {
	title   string
	xLabel  string
	yLabel  string
	xTicks  []tick // the x axis is logarithmic and has these marks
	series  []series
	yFormat func(float64) string
}

type tick struct {
	at   float64
	name string
}

const style = `<style>
.bg{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d1d9e0;stroke-width:1}.axis{stroke:#818b98;stroke-width:1}
.c0{--c:#cf222e}.c1{--c:#59636e}.c2{--c:#818b98}.c3{--c:#0969da}.c4{--c:#8250df}.c5{--c:#1a7f37}.c6{--c:#0a7ea4}.c7{--c:#9a6700}.c8{--c:#bf5700}.c9{--c:#bf3989}
.l{fill:none;stroke:var(--c);stroke-width:1.6}.s{stroke-width:3.6}.d{fill:var(--c)}.t{fill:var(--c)}
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}.h{font-weight:600;font-size:14px}.b{font-weight:700}
@media (prefers-color-scheme:dark){
.bg{fill:#0d1117}.ink{fill:#f0f6fc}.soft{fill:#9198a1}.grid{stroke:#2a313c}.axis{stroke:#656c76}
.c0{--c:#ff7b72}.c1{--c:#b1bac4}.c2{--c:#848d97}.c3{--c:#58a6ff}.c4{--c:#bc8cff}.c5{--c:#3fb950}.c6{--c:#39c5cf}.c7{--c:#d29922}.c8{--c:#f0883e}.c9{--c:#f778ba}}
</style>
`

type picture struct{ strings.Builder }

func (p *picture) add(format string, args ...any) { fmt.Fprintf(&p.Builder, format+"\n", args...) }

func newPicture(width, height int, title string) *picture {
	p := &picture{}
	p.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`,
		width, height, width, height, html.EscapeString(title))
	p.WriteString(style)
	p.add(`<rect class="bg" width="%d" height="%d" rx="6"/>`, width, height)
	return p
}

func (p *picture) text(x, y float64, class, anchor, text string) {
	p.add(`<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, x, y, anchor, html.EscapeString(text))
}

func (p *picture) done() string {
	p.add("</svg>")
	return p.String()
}

// The measures of a panel with lines, in pixels.
const (
	panelWidth  = 600
	panelHeight = 420
	left        = 64
	top         = 46
	plotWidth   = 350
	plotHeight  = 310
)

// lines draws panels side by side.
func lines(title string, panels ...panel) string {
	p := newPicture(panelWidth*len(panels), panelHeight, title)
	for i, pl := range panels {
		p.lines(float64(i*panelWidth), pl)
	}
	return p.done()
}

// logScale maps [lo, hi] to pixels.
type logScale struct{ lo, hi, from, to float64 }

func (s logScale) at(v float64) float64 {
	return s.from + (math.Log(v)-math.Log(s.lo))/(math.Log(s.hi)-math.Log(s.lo))*(s.to-s.from)
}

// around is a range with a little air, in whole parts of decades.
func around(values []float64) (lo, hi float64) {
	lo, hi = slices.Min(values), slices.Max(values)
	return lo / 1.25, hi * 1.25
}

// marks are round numbers between lo and hi.
func marks(lo, hi float64) (all []float64) {
	steps := []float64{1, 2, 5}
	if hi/lo > 300 {
		steps = []float64{1}
	}
	for decade := math.Pow(10, math.Floor(math.Log10(lo))); decade <= hi; decade *= 10 {
		for _, s := range steps {
			if v := decade * s; v >= lo && v <= hi {
				all = append(all, v)
			}
		}
	}
	return all
}

func (p *picture) lines(x0 float64, pl panel) {
	var xs, ys []float64
	for _, s := range pl.series {
		for _, pt := range s.points {
			xs, ys = append(xs, pt.x), append(ys, pt.y)
		}
	}
	if len(ys) == 0 {
		return
	}
	lo, hi := around(ys)
	y := logScale{lo, hi, top + plotHeight, top}
	x := logScale{slices.Min(xs), slices.Max(xs), x0 + left, x0 + left + plotWidth}
	p.text(x0+left, 26, "ink h", "start", pl.title)
	for _, v := range marks(lo, hi) {
		p.add(`<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1[3]f"/>`, x.from, x.to, y.at(v))
		p.text(x.from-8, y.at(v)+4, "soft", "end", pl.yFormat(v))
	}
	for _, t := range pl.xTicks {
		p.add(`<line class="grid" x1="%.1f" x2="%.1[1]f" y1="%.1f" y2="%.1f"/>`, x.at(t.at), y.to, y.from)
		p.text(x.at(t.at), y.from+18, "soft", "middle", t.name)
	}
	p.add(`<path class="axis" fill="none" d="M%.1f %.1fV%.1fH%.1f"/>`, x.from, y.to, y.from, x.to)
	p.text((x.from+x.to)/2, y.from+40, "ink", "middle", pl.xLabel)
	p.add(`<text class="ink" text-anchor="middle" transform="translate(%.1f %.1f) rotate(-90)">%s</text>`,
		x0+14, (y.from+y.to)/2, html.EscapeString(pl.yLabel))
	for _, s := range pl.series {
		p.line(s, x, y)
	}
	p.names(pl.series, x, y)
}

func (p *picture) line(s series, x, y logScale) {
	var d strings.Builder
	for i, pt := range s.points {
		c := 'L'
		if i == 0 {
			c = 'M'
		}
		fmt.Fprintf(&d, "%c%.1f %.1f", c, x.at(pt.x), y.at(pt.y))
	}
	strong, r := "", 2.6
	if s.strong {
		strong, r = " s", 4
	}
	p.add(`<g class="%s"><path class="l%s" d="%s"/>`, s.colour, strong, d.String())
	for _, pt := range s.points {
		p.add(`<circle class="d" cx="%.1f" cy="%.1f" r="%.1f"/>`, x.at(pt.x), y.at(pt.y), r)
	}
	p.add("</g>")
}

// names writes each line's name beside its last point, moved apart where two
// would touch.
func (p *picture) names(all []series, x, y logScale) {
	const apart = 15
	type label struct{ want, at, from float64 }
	order := make([]int, 0, len(all))
	labels := make([]label, len(all))
	for i, s := range all {
		if len(s.points) == 0 {
			continue
		}
		last := s.points[len(s.points)-1]
		labels[i] = label{y.at(last.y), y.at(last.y), x.at(last.x)}
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int {
		if labels[a].want < labels[b].want {
			return -1
		}
		return 1
	})
	for k, i := range order { // from the top down
		if k > 0 {
			labels[i].at = max(labels[i].at, labels[order[k-1]].at+apart)
		}
	}
	if n := len(order); n > 0 && labels[order[n-1]].at > y.from+6 { // they have run over the bottom
		labels[order[n-1]].at = y.from + 6
		for k := n - 2; k >= 0; k-- {
			labels[order[k]].at = min(labels[order[k]].at, labels[order[k+1]].at-apart)
		}
	}
	for _, i := range order {
		l, weight := labels[i], ""
		if all[i].strong {
			weight = " b"
		}
		p.add(`<g class="%s"><path class="l" stroke-dasharray="1 3" d="M%.1f %.1fL%.1f %.1f"/><text class="t%s" x="%.1f" y="%.1f">%s</text></g>`,
			all[i].colour, l.from+5, l.want, x.to+14, l.at, weight, x.to+18, l.at+4, html.EscapeString(all[i].name))
	}
}

// bar is one of a picture of bars.
type bar struct {
	name   string
	value  float64
	colour string
	strong bool
	label  string // the value in words
}

// barGroup is bars under one heading, drawn to one scale.
type barGroup struct {
	title string
	bars  []bar
}

// bars draws groups under each other, over a logarithmic axis.
func bars(title, xLabel string, format func(float64) string, groups []barGroup) string {
	const (
		width  = 900
		names  = 390
		barRow = 22
		length = 400
	)
	var values []float64
	rows := 0.0
	for _, g := range groups {
		rows += 1.6
		for _, b := range g.bars {
			values = append(values, b.value)
			rows++
		}
	}
	if len(values) == 0 {
		return newPicture(width, 40, title).done()
	}
	lo, hi := around(values)
	lo /= 1.6 // so that the shortest bar can be seen
	height := int(rows*barRow) + 74
	p := newPicture(width, height, title)
	x := logScale{lo, hi, names, names + length}
	bottom := float64(height) - 48
	for _, v := range marks(lo, hi) {
		p.add(`<line class="grid" x1="%.1f" x2="%.1[1]f" y1="16" y2="%.1f"/>`, x.at(v), bottom)
		p.text(x.at(v), bottom+16, "soft", "middle", format(v))
	}
	p.text(names+length/2, bottom+36, "ink", "middle", xLabel)
	y := 14.0
	for _, g := range groups {
		y += barRow * 0.6
		p.text(14, y+14, "ink h", "start", g.title)
		y += barRow
		for _, b := range g.bars {
			weight := ""
			if b.strong {
				weight = " b"
			}
			p.text(names-10, y+15, "ink"+weight, "end", b.name)
			p.add(`<g class="%s"><rect class="d" x="%d" y="%.1f" width="%.1f" height="%d" rx="2"/></g>`, b.colour, names, y+3, x.at(b.value)-names, barRow-6)
			p.text(x.at(b.value)+6, y+15, "ink"+weight, "start", b.label)
			y += barRow
		}
	}
	return p.done()
}
