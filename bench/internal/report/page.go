package report

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// page is the text of docs/performance.md, with places for the figures.
//
//go:embed performance.md.tmpl
var page string

// WritePage writes the page, and its plots into a directory beside it that has
// its name.
func (r Results) WritePage(path string) error {
	text, err := r.Page()
	if err != nil {
		return err
	}
	dir := strings.TrimSuffix(path, filepath.Ext(path))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, svg := range r.plots() {
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// Page is the page's text.
func (r Results) Page() (string, error) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"goals": r.goalTable, "missed": r.missed, "wire": r.wireTables, "cost": r.costTable, "pings": r.pingTable,
		"control": r.controlTable, "tools": r.toolTable, "engine": r.engineTable, "peers": r.peerList,
		"calls": func(pinned bool, size, callers int, peer string) string {
			if c, ok := r.cell(pinned, size, callers); ok && c.Peers[peer].Rate.Median > 0 {
				return count(c.Peers[peer].Rate.Median)
			}
			return "–"
		},
		"ratio": func(pinned bool, size, callers int, peer string) string {
			c, _ := r.cell(pinned, size, callers)
			return times(c.ratio(peer))
		},
	}).Parse(page)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, r)
	return b.String(), err
}

// table is a Markdown table.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(head)
	b.WriteString("|---|" + strings.Repeat("--:|", len(head)-1) + "\n")
	for _, row := range rows {
		line(row)
	}
	return b.String()
}

func (r Results) goalTable() string {
	var rows [][]string
	for _, g := range r.goals() {
		holds := "yes"
		if !g.Holds {
			holds = "**no**"
		}
		rows = append(rows, []string{g.What, g.Want, g.Is, holds})
	}
	return table([]string{"brood", "is to be", "is", "holds"}, rows)
}

// missed is how many goals do not hold, of how many.
func (r Results) missed() string {
	all := r.goals()
	n := 0
	for _, g := range all {
		if !g.Holds {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(all))
}

// present is the peers that a cell of these has.
func present(cells []WireCell) (all []Peer) {
	for _, p := range Peers {
		if slices.ContainsFunc(cells, func(c WireCell) bool { _, ok := c.Peers[p.Key]; return ok }) {
			all = append(all, p)
		}
	}
	return all
}

// wireTables is two tables for each size: brood's rate over each peer's, and
// what each did itself, with its range.
func (r Results) wireTables(pinned bool) string {
	var b strings.Builder
	for rest := r.Wire; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Size == rest[0].Size && rest[n].Pinned == rest[0].Pinned {
			n++
		}
		if rest[0].Pinned == pinned {
			b.WriteString(sizeTables(rest[:n]))
		}
		rest = rest[n:]
	}
	return strings.TrimSpace(b.String())
}

func sizeTables(cells []WireCell) string {
	head := []string{words(cells[0].Size) + ", brood is"}
	for _, c := range cells {
		callers := fmt.Sprintf("%d callers", c.Callers)
		if c.Callers == 1 {
			callers = "1 caller"
		}
		head = append(head, callers)
	}
	var ratios, rates [][]string
	for _, p := range present(cells) {
		ratio, rate := []string{"× " + p.Name}, []string{p.Name}
		for _, c := range cells {
			pt, ok := c.Peers[p.Key]
			if !ok {
				ratio, rate = append(ratio, "–"), append(rate, "–")
				continue
			}
			ratio = append(ratio, digits(c.ratio(p.Key)))
			rate = append(rate, c.absolute(pt))
		}
		if p.Key != "brood" {
			ratios = append(ratios, ratio)
		}
		rates = append(rates, rate)
	}
	out := table(head, ratios)
	head[0] = words(cells[0].Size) + ", calls per second"
	return out + "\n<details><summary>" + head[0] + "</summary>\n\n" + table(head, rates) + "\n</details>\n\n"
}

// absolute is a peer's rate and its range, and what that carries of big
// messages in each direction.
func (c WireCell) absolute(pt WirePoint) string {
	rate := fmt.Sprintf("%s (%s–%s)", count(pt.Rate.Median), count(pt.Rate.Min), count(pt.Rate.Max))
	if c.Size >= 64<<10 {
		rate += ", " + mib(pt.Rate.Median*float64(c.Size)/(1<<20))
	}
	return rate
}

// costTable is what a call costs beside time.
func (r Results) costTable() string {
	places := []struct{ size, callers int }{{16, 1}, {16, 64}, {1 << 10, 64}, {64 << 10, 1}, {1 << 20, 1}}
	head := []string{"pinned"}
	var cells []WireCell
	for _, p := range places {
		if c, ok := r.cell(true, p.size, p.callers); ok {
			cells = append(cells, c)
			head = append(head, fmt.Sprintf("%s, %d", words(p.size), p.callers))
		}
	}
	var rows [][]string
	for _, p := range present(cells) {
		row := []string{p.Name}
		for _, c := range cells {
			pt, ok := c.Peers[p.Key]
			if !ok {
				row = append(row, "–")
				continue
			}
			allocs := "–"
			if pt.Allocs != nil {
				allocs = fmt.Sprintf("%.1f", pt.Allocs.Median)
			}
			row = append(row, fmt.Sprintf("%s · %s", micro(pt.CPU.Median), allocs))
		}
		rows = append(rows, row)
	}
	return table(head, rows)
}

func (r Results) pingTable() string {
	var rows [][]string
	for _, c := range r.Pings {
		for _, p := range Peers {
			pt, ok := c.Peers[p.Key]
			if !ok || p.Key == "broodgo" {
				continue
			}
			rows = append(rows, []string{
				p.Name + ", " + where(c.Pinned), times(pt.FullP99.Median / pt.IdleP99.Median),
				micro(pt.IdleP50.Median), micro(pt.IdleP99.Median), micro(pt.FullP50.Median), micro(pt.FullP99.Median),
				fmt.Sprintf("%s–%s", micro(pt.FullP99.Min), micro(pt.FullP99.Max)), mib(pt.Flow.Median),
			})
		}
	}
	return table([]string{"", "p99 full / idle", "idle p50", "idle p99", "full p50", "full p99", "its range", "flow each way"}, rows)
}

func (r Results) controlTable() string {
	var rows [][]string
	titles := map[string]string{"list": "a list of 100", "command": "a command to one worker", "health": "health"}
	for _, request := range []string{"list", "command", "health"} {
		var cells []ControlCell
		names := map[string]bool{}
		for _, c := range r.Control {
			if c.Request == request {
				cells = append(cells, c)
				for n := range c.Rate {
					names[n] = true
				}
			}
		}
		for _, name := range ordered(slices.Collect(maps.Keys(names))) {
			row := []string{titles[request] + ": " + name}
			for _, clients := range []int{1, 16} {
				row = append(row, controlPlace(cells, clients, name))
			}
			rows = append(rows, row)
		}
	}
	return table([]string{"", "1 client", "16 clients"}, rows)
}

func controlPlace(cells []ControlCell, clients int, name string) string {
	for _, c := range cells {
		s, ok := c.Rate[name]
		if c.Clients != clients || !ok {
			continue
		}
		rate := fmt.Sprintf("%s/s (%s–%s)", count(s.Median), count(s.Min), count(s.Max))
		if ours(name) {
			return "**" + rate + "**"
		}
		return times(c.rate(ownRequest[c.Request])/s.Median) + " · " + rate
	}
	return "–"
}

// ownRequest is the one of brood's that the others are compared with.
var ownRequest = map[string]string{"list": "brood `GET", "command": "brood, HTTP"}

// ordered puts brood first.
func ordered(names []string) []string {
	slices.SortFunc(names, func(a, b string) int {
		if ours(a) != ours(b) {
			if ours(a) {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}

func (r Results) toolTable() string {
	var rows [][]string
	for _, t := range r.Tools {
		rows = append(rows, []string{"`" + t.Command + "`", digits(t.MS.Median) + " ms", digits(t.MS.Min) + "–" + digits(t.MS.Max)})
	}
	return table([]string{"a whole process", "median", "range"}, rows)
}

func (r Results) engineTable() string {
	var rows [][]string
	for _, f := range r.Engine {
		name, unit := f.Unit, ""
		for _, u := range []string{"-ms", "-KiB", "-%", "/c", "-KiB/worker"} {
			if n, ok := strings.CutSuffix(f.Unit, u); ok {
				name, unit = n, strings.Trim(u, "-/")
			}
		}
		value := digits(f.Value)
		switch unit {
		case "c":
			value, name = digits(f.Value)+" ×", name+" beside bare C"
		case "KiB/worker":
			value, name = value+" KiB", name+" per worker"
		case "%":
			value += " %"
		case "":
		default:
			value += " " + unit
		}
		rows = append(rows, []string{f.Benchmark, name, value})
	}
	return table([]string{"benchmark", "figure", "value"}, rows)
}

// peerList is what the peers are versions of, and which were left out.
func (r Results) peerList() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Peers)) {
		if v := r.Peers[name]; !ours(name) {
			fmt.Fprintf(&b, "- %s: %s\n", name, v)
		}
	}
	return strings.TrimSpace(b.String())
}
