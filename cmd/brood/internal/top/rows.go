package top

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"example.com/brood/cmd/brood/internal/show"
	"example.com/brood/supervisor/control/api"
)

// history is what a worker's lines of blocks are drawn from.
type history struct {
	rss  []float64 // bytes
	rate []float64 // commands a second

	at     time.Time
	served uint64
}

// keptSamples is as wide as a line of blocks gets.
const keptSamples = 40

func (h *history) add(at time.Time, w api.Worker) {
	if passed := at.Sub(h.at).Seconds(); !h.at.IsZero() && passed > 0 && w.Served >= h.served {
		h.rate = keep(h.rate, float64(w.Served-h.served)/passed)
	}
	h.at, h.served = at, w.Served
	h.rss = keep(h.rss, float64(w.RSSBytes))
}

func keep(samples []float64, x float64) []float64 {
	if len(samples) == keptSamples {
		samples = append(samples[:0], samples[1:]...)
	}
	return append(samples, x)
}

// perSecond is the rate now.
func (h *history) perSecond() float64 {
	if h == nil || len(h.rate) == 0 {
		return 0
	}
	return h.rate[len(h.rate)-1]
}

// blocks draws the last samples in width columns, from low to the greatest.
func blocks(samples []float64, width int, fromZero bool) string {
	if len(samples) > width {
		samples = samples[len(samples)-width:]
	}
	if len(samples) == 0 {
		return strings.Repeat(" ", width)
	}
	low, high := slices.Min(samples), slices.Max(samples)
	if fromZero {
		low = 0
	} else { // what hardly changes is to look so
		low = min(low, high*0.9)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", width-len(samples)))
	for _, x := range samples {
		level := 0
		if high > low {
			level = int((x - low) / (high - low) * 7.99)
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[level])
	}
	return b.String()
}

// order is a way to sort; what comes first by it is at the top.
type order struct {
	name string
	by   func(m *model, a, b api.Worker) int
}

var orders = []order{
	{"name", func(_ *model, a, b api.Worker) int { return 0 }},
	{"state", func(_ *model, a, b api.Worker) int { return cmp.Compare(worry(b), worry(a)) }},
	{"uptime", func(_ *model, a, b api.Worker) int { return cmp.Compare(a.UptimeMS, b.UptimeMS) }},
	{"restarts", func(_ *model, a, b api.Worker) int { return cmp.Compare(b.Restarts, a.Restarts) }},
	{"rss", func(_ *model, a, b api.Worker) int { return cmp.Compare(b.RSSBytes, a.RSSBytes) }},
	{"busy", func(_ *model, a, b api.Worker) int { return cmp.Compare(b.Inflight, a.Inflight) }},
	{"rate", func(m *model, a, b api.Worker) int {
		return cmp.Compare(m.history[b.Target].perSecond(), m.history[a.Target].perSecond())
	}},
}

// worry is how much a state asks to be looked at.
func worry(w api.Worker) int {
	return slices.Index([]string{"done", "ready", "stopped", "stopping", "starting", "backoff", "failed", "hung"}, show.State(w))
}

// rows are the workers that are shown, in their order.
func (m *model) rows() []api.Worker {
	var all []api.Worker
	filter := strings.ToLower(m.filter)
	for _, p := range m.st.Pools {
		for _, w := range p.Slots {
			if filter == "" || strings.Contains(strings.ToLower(w.Target+" "+show.State(w)+" "+w.Reason+" "+w.Status), filter) {
				all = append(all, w)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b api.Worker) int { return orders[m.sort].by(m, a, b) })
	if m.reverse {
		slices.Reverse(all)
	}
	return all
}

// index is where the chosen worker stands; the first if it is not shown.
func (m *model) index(rows []api.Worker) int {
	return max(0, slices.IndexFunc(rows, func(w api.Worker) bool { return w.Target == m.selected }))
}

// current is the chosen worker.
func (m *model) current() (api.Worker, bool) {
	rows := m.rows()
	if len(rows) == 0 {
		return api.Worker{}, false
	}
	return rows[m.index(rows)], true
}
