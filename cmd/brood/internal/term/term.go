// Package term knows what stands at the other end of an output: a person's
// terminal, which gets colours, tables that fit and bars, or a pipe or file,
// which gets plain text with nothing cut off.
package term

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Out is an output. The zero value is a pipe to nowhere; see Of.
type Out struct {
	io.Writer
	Terminal bool
	Color    bool
	Width    int // columns; 0: no end
	Height   int // lines; 0: not known
}

// Of finds out what f is. color is auto, always or never; auto is never where
// NO_COLOR is set to anything (no-color.org) or TERM is dumb.
func Of(f *os.File, color string) Out {
	o := Out{Writer: f}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
		o.Terminal, o.Width, o.Height = true, int(size.Col), int(size.Row)
		if o.Width == 0 {
			o.Width = 80 // a terminal that does not know its size
		}
	}
	switch color {
	case "always":
		o.Color = true
	case "never":
	default:
		o.Color = o.Terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return o
}

// Style is how text looks where there is colour: an SGR sequence's parameters.
type Style string

// The styles there are: the 16 colours that every terminal's user has chosen.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Blue   Style = "34"
	Purple Style = "35"
	Cyan   Style = "36"
	Alarm  Style = "1;31"
)

// Paint is text in style, or as it is where there is no colour.
func (o Out) Paint(style Style, text string) string {
	if !o.Color || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// crowd is what names are told apart by.
var crowd = []Style{Cyan, Green, Yellow, Blue, Purple, "96", "92", "93", "94", "95"}

// StyleOf is always the same for the same name, and mostly another for another.
func StyleOf(name string) Style {
	sum := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		sum = (sum ^ uint32(name[i])) * 16777619
	}
	return crowd[(sum>>4)%uint32(len(crowd))]
}

// Printable escapes what could move a terminal's cursor or forge a line: text
// that comes from workers passes through it.
func Printable(s string) string {
	if !strings.ContainsFunc(s, unsafe) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n', r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r):
			fmt.Fprintf(&b, "\\x%02x", r)
		case unsafe(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// PrintableLines is Printable for text that may have lines of its own, and tabs in
// them. What is no UTF-8 becomes U+FFFD.
func PrintableLines(s string) string {
	if s = strings.ToValidUTF8(s, "\uFFFD"); !strings.ContainsFunc(s, unsafe) {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		text := strings.TrimRight(line, "\r\n")
		end := line[len(text):]
		if i := strings.LastIndexByte(end, '\n'); i < 0 { // of a piece, whose line goes on
			text, end = line, ""
		}
		for i, cell := range strings.Split(text, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(Printable(cell))
		}
		b.WriteString(end)
	}
	return b.String()
}

// unsafe: a control character, or one that turns the direction of writing or
// ends a line all the same.
func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// Width is how many columns text without colours takes. Wide characters of the
// East Asian scripts and emoji take two, combining marks none.
func Width(text string) int {
	n := 0
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			n++
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		n += runeWidth(r)
		i += size
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf && r != 0x303f || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 ||
		r >= 0x1f300 && r <= 0x1f64f || r >= 0x1f900 && r <= 0x1f9ff || r >= 0x20000 && r <= 0x3fffd):
		return 2
	}
	return 1
}

// Cut is text in at most width columns; what does not fit ends in "…".
func Cut(text string, width int) string {
	if Width(text) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	n := 0
	for i, r := range text {
		w := runeWidth(r)
		if n+w > width-1 {
			return text[:i] + "…"
		}
		n += w
	}
	return text
}

// Pad is text followed by as many spaces as make it width columns.
func Pad(text string, width int) string {
	if n := width - Width(text); n > 0 {
		return text + strings.Repeat(" ", n)
	}
	return text
}
