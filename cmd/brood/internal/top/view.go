package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"example.com/brood/cmd/brood/internal/show"
	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
)

// The screen, from above: a line on the supervisor, one on the pools, the table,
// the chosen worker's note, the log pane if there is one, and the line of keys,
// which is also where is asked and answered.

// headLines and footLines stand above and below table and log.
const headLines, footLines = 4, 2

// tableHeight is how many workers have room.
func (m *model) tableHeight() int {
	room := m.height - headLines - footLines
	if m.tail != nil {
		room -= m.logHeight() + 1
	}
	return max(1, room)
}

// logHeight is of the log pane without its title.
func (m *model) logHeight() int { return max(1, (m.height-headLines-footLines)/2) }

func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "brood top"
	return v
}

// lines are exactly as many as the screen has, none wider than it.
func (m *model) lines() []string {
	lines := append(m.head(), "")
	if m.help {
		lines = append(lines, m.helpLines()...)
	} else {
		lines = append(lines, m.table()...)
	}
	foot := []string{m.note(), m.foot()}
	if m.tail != nil && !m.help {
		foot = append(m.log(), foot...)
	}
	for len(lines) < m.height-len(foot) {
		lines = append(lines, "")
	}
	return append(lines[:m.height-len(foot)], foot...)
}

// paint is text in style, cut to what the line has left.
func (m *model) paint(style term.Style, text string) string {
	return term.Out{Color: m.cfg.Color}.Paint(style, text)
}

func (m *model) head() []string {
	switch {
	case !m.looked:
		return []string{m.paint(term.Bold, "brood top"), "asking the supervisor …"}
	case m.lookErr != nil && m.st.PID == 0:
		return []string{m.paint(term.Bold, "brood top"), m.paint(term.Alarm, term.Cut(term.Printable(m.lookErr.Error()), m.width))}
	}
	up := ""
	if t, err := time.Parse(time.RFC3339Nano, m.st.Started); err == nil {
		up = ", up " + term.Ago(time.Since(t))
	}
	left := fmt.Sprintf("brood %s, pid %d%s", m.st.Version, m.st.PID, up)
	right := "every " + m.cfg.Interval.String() + "  by " + orders[m.sort].name + "  " + time.Now().Format("15:04:05")
	if m.width < 60 {
		right = time.Now().Format("15:04:05")
	}
	if m.paused {
		right = "held: p goes on"
	}
	left = term.Cut(left, max(0, m.width-term.Width(right)-2))
	first := m.paint(term.Bold, term.Pad(left, m.width-term.Width(right))) + m.paint(term.Dim, right)
	if m.lookErr != nil {
		return []string{first, m.paint(term.Alarm, term.Cut("the supervisor does not answer, trying again: "+term.Printable(m.lookErr.Error()), m.width))}
	}
	var pools []string
	width := 0
	for i, p := range m.st.Pools {
		text := fmt.Sprintf("%s %d/%d %s", p.Name, p.Ready, p.Workers, p.Health)
		if p.Queued > 0 {
			text += fmt.Sprintf(", %d wait", p.Queued)
		}
		if width += term.Width(text) + 3; width > m.width && i > 0 {
			pools = append(pools, "…")
			break
		}
		pools = append(pools, m.paint(show.HealthStyle(p.Health), term.Cut(text, m.width)))
	}
	return []string{first, strings.Join(pools, " │ ")}
}

// column is one of the table's. least is the width of the screen from which on
// it is shown.
type column struct {
	title string
	width int
	right bool
	least int
	text  func(m *model, w api.Worker, width int) string
	style func(w api.Worker) term.Style
}

var columns = []column{
	{title: "WORKER", width: 12, text: func(_ *model, w api.Worker, _ int) string { return fmt.Sprintf("%s#%d", w.Target, w.Generation) }},
	{title: "STATE", width: 8, text: func(_ *model, w api.Worker, _ int) string { return show.State(w) },
		style: func(w api.Worker) term.Style { return show.StateStyle(show.State(w)) }},
	{title: "UPTIME", width: 6, right: true, least: 40, text: func(_ *model, w api.Worker, _ int) string {
		return show.OrDash(w.PID != 0, term.Ago(time.Duration(w.UptimeMS)*time.Millisecond))
	}},
	{title: "RST", width: 3, right: true, least: 48, text: func(_ *model, w api.Worker, _ int) string { return fmt.Sprint(w.Restarts) }},
	{title: "PID", width: 7, right: true, least: 96, text: func(_ *model, w api.Worker, _ int) string { return show.OrDash(w.PID != 0, w.PID) }},
	{title: "RSS", width: 6, right: true, least: 56, text: func(_ *model, w api.Worker, _ int) string { return show.OrDash(w.RSSBytes > 0, term.Size(w.RSSBytes)) }},
	{title: "", width: 10, least: 68, text: func(m *model, w api.Worker, width int) string {
		if w.RSSBytes == 0 {
			return ""
		}
		return blocks(m.history[w.Target].rss, width, false)
	}, style: func(api.Worker) term.Style { return term.Cyan }},
	{title: "BUSY", width: 4, right: true, least: 62, text: func(_ *model, w api.Worker, _ int) string { return show.OrDash(w.SDK != "", w.Inflight) }},
	{title: "CMD/S", width: 6, right: true, least: 70, text: func(m *model, w api.Worker, _ int) string {
		return show.OrDash(w.SDK != "" || w.Served > 0, rate(m.history[w.Target].perSecond()))
	}},
	{title: "", width: 10, least: 80, text: func(m *model, w api.Worker, width int) string {
		if h := m.history[w.Target]; w.SDK != "" || w.Served > 0 {
			return blocks(h.rate, width, true)
		}
		return ""
	}, style: func(api.Worker) term.Style { return term.Purple }},
	{title: "SERVED", width: 9, right: true, least: 110, text: func(_ *model, w api.Worker, _ int) string { return fmt.Sprint(w.Served) }},
	{title: "PING", width: 8, right: true, least: 122, text: func(_ *model, w api.Worker, _ int) string {
		return show.OrDash(w.PingUS > 0, time.Duration(w.PingUS)*time.Microsecond)
	}},
}

func (m *model) table() []string {
	rows := m.rows()
	at, page := m.index(rows), m.tableHeight()
	m.offset = min(max(m.offset, at-page+1), at)
	m.offset = max(0, min(m.offset, len(rows)-page))
	lines := []string{m.title()}
	for i := m.offset; i < min(len(rows), m.offset+page); i++ {
		lines = append(lines, m.row(rows[i], i == at))
	}
	if len(rows) == 0 && m.looked && m.lookErr == nil {
		lines = append(lines, m.paint(term.Dim, "  no worker has that in its line; Esc shows all"))
	}
	return lines
}

func (m *model) title() string {
	var b strings.Builder
	b.WriteString(" ")
	for _, c := range columns {
		if m.width >= c.least {
			b.WriteString(" " + align(c.title, c.width, c.right))
		}
	}
	return m.paint(term.Dim, term.Cut(b.String(), m.width))
}

func (m *model) row(w api.Worker, chosen bool) string {
	mark := " "
	if chosen {
		mark = ">"
	}
	var b strings.Builder
	b.WriteString(mark)
	for _, c := range columns {
		if m.width < c.least {
			continue
		}
		cell := align(term.Cut(c.text(m, w, c.width), c.width), c.width, c.right)
		if c.style != nil && !chosen && m.lookErr == nil {
			cell = m.paint(c.style(w), cell)
		}
		b.WriteString(" " + cell)
	}
	switch line := b.String(); {
	case chosen:
		return m.paint("7", term.Pad(line, m.width)) // in reverse
	case m.lookErr != nil:
		return m.paint(term.Dim, line) // it was so
	default:
		return line
	}
}

func align(text string, width int, right bool) string {
	if right {
		return strings.Repeat(" ", max(0, width-term.Width(text))) + text
	}
	return term.Pad(text, width)
}

// note is what there is to know of the chosen worker beside its numbers.
func (m *model) note() string {
	w, ok := m.current()
	if !ok {
		return ""
	}
	parts := []string{w.Target}
	if w.Reason != "" {
		parts = append(parts, w.Reason)
	}
	if w.State == "backoff" {
		parts = append(parts, "next try in "+(time.Duration(w.RetryInMS)*time.Millisecond).Round(100*time.Millisecond).String())
	}
	if w.Status != "" {
		parts = append(parts, w.Status)
	}
	if e := w.LastExit; e != nil {
		text := fmt.Sprintf("#%d %s", e.Generation, e.Text)
		if t, err := time.Parse(time.RFC3339Nano, e.At); err == nil {
			text += " " + term.Ago(time.Since(t)) + " ago"
		}
		parts = append(parts, text)
	}
	if len(parts) == 1 {
		parts = append(parts, fmt.Sprintf("pid %d, %s", w.PID, show.OrDash(w.SDK != "", w.SDK)))
	}
	return m.paint(term.Dim, term.Cut(term.Printable(strings.Join(parts, ": ")), m.width))
}

// foot is the question, what is typed, what was said, or the keys.
func (m *model) foot() string {
	switch {
	case m.ask != nil:
		return m.paint(term.Bold, term.Cut(m.ask.text+"  y yes, any other key no", m.width))
	case m.typing:
		return m.paint(term.Bold, term.Cut("/"+term.Printable(m.filter)+"▏  Enter keeps it, Esc shows all", m.width))
	}
	text := "r restart  s stop/start  + - scale  l logs  / filter  o sort  ? help  q quit"
	if m.filter != "" {
		text = "only " + term.Printable(m.filter) + "  Esc all  " + text
	}
	if m.saying() {
		style := term.Green
		if m.saidBad {
			style = term.Alarm
		}
		said := term.Cut(term.Printable(m.said), m.width)
		return m.paint(style, said) + m.paint(term.Dim, term.Cut("  "+text, max(0, m.width-term.Width(said))))
	}
	return m.paint(term.Dim, term.Cut(text, m.width))
}

func (m *model) log() []string {
	t, room := m.tail, m.logHeight()
	title := "── " + t.target + " prints ──  l hides it "
	lines := []string{m.paint(term.Dim, term.Cut(title+strings.Repeat("─", max(0, m.width-term.Width(title))), m.width))}
	show := t.lines
	if len(show) > room {
		show = show[len(show)-room:]
	}
	for _, l := range show {
		text := term.Cut(term.Printable(l.Text), m.width)
		switch {
		case l.Dropped > 0:
			text = m.paint(term.Alarm, fmt.Sprintf("… %d lines were dropped here", l.Dropped))
		case l.Stream == "stderr":
			text = m.paint(term.Red, text)
		}
		lines = append(lines, text)
	}
	if t.err != nil && len(lines) <= room {
		lines = append(lines, m.paint(term.Alarm, term.Cut(term.Printable(t.err.Error()), m.width)))
	}
	for len(lines) <= room {
		lines = append(lines, "")
	}
	return lines
}

func (m *model) helpLines() []string {
	var lines []string
	for _, k := range keys {
		lines = append(lines, term.Cut("  "+m.paint(term.Bold, term.Pad(k[0], 10))+k[1], m.width+8))
	}
	return append(lines, "", "  RST is restarts, BUSY commands at work, CMD/S how many end in a second.", "",
		m.paint(term.Dim, "  any key goes back"))
}

// rate is a number a second in 6 columns.
func rate(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x < 10:
		return fmt.Sprintf("%.1f", x)
	case x < 1e6:
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.1fM", x/1e6)
}
