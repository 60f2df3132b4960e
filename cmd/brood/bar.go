package main

import (
	"fmt"
	"strings"
	"time"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
)

// bar shows how far a command is: as one line that is drawn again and again on
// a terminal, as a line for each step elsewhere. A nil bar shows nothing.
type bar struct {
	out    term.Out
	shared bool // the answer is printed on the same terminal
	drawn  bool // there is a line to clear
	at     time.Time
	turn   int
}

func newBar(out term.Out) *bar { return &bar{out: out} }

// barPause is the least time between two drawings.
const barPause = 50 * time.Millisecond

// show draws a step. In the middle of a line of the answer there is no room.
func (b *bar) show(lead string, p api.Progress, midline bool) {
	if b == nil {
		return
	}
	if !b.out.Terminal {
		fmt.Fprintln(b.out, lead+progressText(p))
		return
	}
	finished := p.Total > 0 && p.Done >= p.Total
	if b.shared && midline || !finished && time.Since(b.at) < barPause {
		return
	}
	b.at = time.Now()
	b.turn++
	b.draw(lead + b.text(p, b.out.Width-1-term.Width(lead)))
}

// note draws a line that is no bar; elsewhere than on a terminal it is not said.
func (b *bar) note(text string) {
	if b != nil && b.out.Terminal && time.Since(b.at) >= barPause {
		b.at = time.Now()
		b.draw(term.Cut(text, b.out.Width-1))
	}
}

// say prints a line that stays.
func (b *bar) say(text string) {
	if b != nil {
		b.clear()
		fmt.Fprintln(b.out, text)
	}
}

func (b *bar) draw(text string) {
	fmt.Fprint(b.out, "\r\x1b[K"+text)
	b.drawn = true
}

// clear takes the line away.
func (b *bar) clear() {
	if b != nil && b.drawn {
		b.drawn = false
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}

// barWidth is of the bar itself, in columns, where there is room.
const barWidth = 30

// text is one step in at most width columns.
func (b *bar) text(p api.Progress, width int) string {
	if p.Total <= 0 {
		spin := string([]rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[b.turn%10])
		return b.out.Paint(term.Cyan, spin) + " " + term.Cut(progressText(p), width-2)
	}
	done := min(max(p.Done, 0), p.Total)
	of := func(n float64) int { return int(float64(done) * n / float64(p.Total)) } // in integers it may overflow: they are the worker's
	n := of(barWidth)
	line := fmt.Sprintf(" %3d%% %d/%d", of(100), p.Done, p.Total)
	if p.Text != "" {
		line += " " + term.Printable(p.Text)
	}
	return b.out.Paint(term.Cyan, strings.Repeat("█", n)) + b.out.Paint(term.Dim, strings.Repeat("░", barWidth-n)) +
		term.Cut(line, max(0, width-barWidth))
}

// progressText is a step in words.
func progressText(p api.Progress) string {
	text := fmt.Sprintf("%d done", p.Done)
	if p.Total > 0 {
		text = fmt.Sprintf("%d of %d", p.Done, p.Total)
	}
	if p.Text != "" {
		text += ": " + term.Printable(p.Text)
	}
	return text
}
