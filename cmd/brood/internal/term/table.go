package term

import (
	"io"
	"slices"
	"strings"
)

// Column is one of a Table.
type Column struct {
	Title string
	// Rank is how soon it gives way where there is no room: the greatest goes
	// first, 0 never.
	Rank  int
	Right bool // numbers
	// Min is the columns that it can be cut to before another gives way; 0: it is
	// never cut.
	Min   int
	Style func(cell string) Style // nil: plain
}

// gap is between two columns.
const gap = 2

// Table prints rows under titles, two spaces apart. A column in which nothing
// stands in any row, or "-" alone, is left out but those of rank 0.
func (o Out) Table(columns []Column, rows [][]string) error {
	keep := filled(columns, rows)
	widths := make([]int, len(columns))
	for _, i := range keep {
		widths[i] = Width(columns[i].Title)
		for _, row := range rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	if o.Width > 0 {
		keep, widths = fit(columns, widths, keep, o.Width)
	}
	var b strings.Builder
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.Title
	}
	b.WriteString(o.row(columns, widths, keep, titles, true))
	for _, row := range rows {
		b.WriteString(o.row(columns, widths, keep, row, false))
	}
	_, err := io.WriteString(o, b.String())
	return err
}

// filled are the columns that say something.
func filled(columns []Column, rows [][]string) []int {
	var keep []int
	for i, c := range columns {
		says := func(row []string) bool { return row[i] != "" && row[i] != "-" }
		if c.Rank == 0 || slices.ContainsFunc(rows, says) {
			keep = append(keep, i)
		}
	}
	return keep
}

// fit cuts and leaves out until a row fits, the least important first.
func fit(columns []Column, natural, keep []int, room int) (kept, widths []int) {
	for {
		widths = slices.Clone(natural)
		over := -gap - room
		for _, i := range keep {
			over += widths[i] + gap
		}
		for _, i := range keep {
			if c := columns[i]; over > 0 && c.Min > 0 && widths[i] > c.Min {
				cut := min(over, widths[i]-c.Min)
				widths[i] -= cut
				over -= cut
			}
		}
		worst := slices.MaxFunc(keep, func(a, b int) int { return columns[a].Rank - columns[b].Rank })
		if over <= 0 || columns[worst].Rank == 0 {
			return keep, widths
		}
		keep = slices.DeleteFunc(slices.Clone(keep), func(i int) bool { return i == worst })
	}
}

func (o Out) row(columns []Column, widths, keep []int, cells []string, title bool) string {
	var b strings.Builder
	for n, i := range keep {
		cell := Cut(cells[i], widths[i])
		padding := strings.Repeat(" ", max(0, widths[i]-Width(cell)))
		painted := cell
		switch {
		case title:
			painted = o.Paint(Dim, cell)
		case columns[i].Style != nil:
			painted = o.Paint(columns[i].Style(cells[i]), cell)
		}
		if n > 0 {
			b.WriteString(strings.Repeat(" ", gap))
		}
		if columns[i].Right {
			b.WriteString(padding + painted)
		} else {
			b.WriteString(painted + padding)
		}
	}
	return strings.TrimRight(b.String(), " ") + "\n"
}
