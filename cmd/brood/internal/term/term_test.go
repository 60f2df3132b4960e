package term

import (
	"bytes"
	"strings"
	"testing"
)

func TestWidth(t *testing.T) {
	for text, want := range map[string]int{"": 0, "web/1": 5, "größe": 5, "日本": 4, "e\u0301": 1, "👍": 2, "…": 1} {
		if got := Width(text); got != want {
			t.Errorf("%q: %d columns, want %d", text, got, want)
		}
	}
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"日本語", 4, "日…"}, {"abc", 1, "…"}, {"abc", 0, ""}} {
		if got := Cut(tt.text, tt.width); got != tt.want || Width(got) > tt.width {
			t.Errorf("%q in %d: %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain ä 日": "plain ä 日", "two\nlines\tand": "two lines and", "\x1b[2Jgone": `\x1b[2Jgone`, "\u202Etxt": `\u202etxt`,
		"a\u200eb\u200fc\u061cd\u2069e": `a\u200eb\u200fc\u061cd\u2069e`, "a\u2028b\u2029c": `a\u2028b\u2029c`, "👩\u200d🔧": "👩\u200d🔧",
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestPrintableLines: lines, tabs and what ends lines stay, all else that moves the
// cursor does not.
func TestPrintableLines(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain ä 日": "plain ä 日", "two\nlines\n": "two\nlines\n", "a\tb\r\n\r\nc": "a\tb\r\n\r\nc", "\x1b[31mRED\n\tx": "\\x1b[31mRED\n\tx",
		"seen\rhidden\n": "seen\\x0dhidden\n", "half\r": "half\\x0d", "\xff\x9b31m": "\uFFFD31m", "\u009b31m": "\\x9b31m", "a\u202eb\nc": "a\\u202eb\nc", "\a\b\x7f": "\\x07\\x08\\x7f",
	} {
		if got := PrintableLines(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestTableFits: at every width no line is longer, and what is important is
// there for longest.
func TestTableFits(t *testing.T) {
	columns := []Column{{Title: "WORKER"}, {Title: "STATE"}, {Title: "PID", Rank: 3, Right: true}, {Title: "NEVER", Rank: 1}, {Title: "NOTE", Rank: 2, Min: 6}}
	rows := [][]string{{"web/1#1", "ready", "4711", "-", ""}, {"web/2#13", "backoff", "-", "", "it exited with code 78, next try in 3s"}}
	for width := 17; width < 90; width++ {
		var b bytes.Buffer
		if err := (Out{Writer: &b, Width: width}).Table(columns, rows); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if line = strings.TrimSuffix(line, "\n"); Width(line) > width || strings.HasSuffix(line, " ") {
				t.Errorf("%d columns: %q", width, line)
			}
		}
		if strings.Contains(b.String(), "NEVER") || !strings.Contains(b.String(), "backoff") {
			t.Errorf("%d columns:\n%s", width, b.String())
		}
		if pid, note := strings.Contains(b.String(), "PID"), strings.Contains(b.String(), "NOTE"); pid && !note {
			t.Errorf("%d columns: the note went before the pid:\n%s", width, b.String())
		}
	}
	var b bytes.Buffer
	if err := (Out{Writer: &b}).Table(columns, rows); err != nil || !strings.Contains(b.String(), "next try in 3s\n") {
		t.Errorf("a pipe has room for all of it: %v\n%s", err, b.String())
	}
}
