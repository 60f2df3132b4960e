package control

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseLine(t *testing.T) {
	say := func(words ...string) lineCommand { return lineCommand{Words: words} }
	for _, tt := range []struct {
		line string
		want []lineCommand
	}{
		{"", nil},
		{"  \t ", nil},
		{"# restart web", nil},
		{" #x;y", nil},
		{";;", nil},
		{"status", []lineCommand{say("status")}},
		{" show \t workers ;", []lineCommand{say("show", "workers")}},
		{"a;b ; c", []lineCommand{say("a"), say("b"), say("c")}},
		{`echo a\ b \; \\ \"`, []lineCommand{say("echo", "a b", ";", `\`, `"`)}},
		{`echo one\ntwo\tthree\r`, []lineCommand{say("echo", "one\ntwo\tthree\r")}},
		{`echo 'a;b \n' "c; \"d\" \\ \n"`, []lineCommand{say("echo", `a;b \n`, "c; \"d\" \\ \n")}},
		{`echo "" '' a''b`, []lineCommand{say("echo", "", "", "ab")}},
		{`echo \é ü`, []lineCommand{say("echo", "é", "ü")}},
		{"echo a#b #c", []lineCommand{say("echo", "a#b", "#c")}},
		{"@web/2#7 flush all", []lineCommand{{Target: "@web/2#7", Words: []string{"flush", "all"}}}},
		{"json @* flush", []lineCommand{{JSON: true, Target: "@*", Words: []string{"flush"}}}},
		{"timeout 5m json @1 json x", []lineCommand{{JSON: true, Timeout: 5 * time.Minute, Target: "@1", Words: []string{"json", "x"}}}},
		{"@web json", []lineCommand{{Target: "@web", Words: []string{"json"}}}},
		{"@web @web", []lineCommand{{Target: "@web", Words: []string{"@web"}}}},
	} {
		got, err := parseLine(tt.line)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: got %+v, %v, want %+v", tt.line, got, err, tt.want)
		}
	}
}

func TestParseLineRefuses(t *testing.T) {
	for line, want := range map[string]string{
		`status; echo \q`:  `no escape \q`,
		`echo \5`:          `no escape \5`,
		`echo \`:           "ends in a backslash",
		`echo don't`:       `the quote ' at byte 9 has no end`,
		`echo "a\`:         "ends in a backslash",
		`echo "a`:          `the quote " at byte 6`,
		"@web/2":           "what is @web/2 to do?",
		"json":             `no command after "json"`,
		"json; status":     `no command after "json"`,
		"timeout x @web y": "write a duration",
		"timeout 2h @w y":  "at most 1h",
		"timeout 0s @w y":  "write a duration",
	} {
		got, err := parseLine(line)
		var f *failure
		if got != nil || !errors.As(err, &f) || f.Code != "bad_request" || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %q", line, got, err, want)
		}
	}
}

// quoteWord is w as one word of a line.
func quoteWord(w string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(w) + `"`
}

// FuzzParseLine: any line is refused or understood; what was understood, quoted
// and read again, is the same.
func FuzzParseLine(f *testing.F) {
	for _, seed := range []string{
		"status", "@web/2 flush all; show workers", `json @1 echo a\ b "c;\n" 'd'`, `\`, `"`, "# x", ";;;", "timeout 5s @* x", "\x00\xff", `a\;b`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		commands, err := parseLine(line)
		if err != nil {
			if len(commands) != 0 {
				t.Fatalf("%q: both %v and %v", line, commands, err)
			}
			return
		}
		for _, c := range commands {
			if len(c.Words) == 0 || c.Target != "" && !strings.HasPrefix(c.Target, "@") {
				t.Fatalf("%q: %+v", line, c)
			}
			if !utf8.ValidString(line) {
				continue
			}
			again := "@x"
			for _, w := range c.Words {
				again += " " + quoteWord(w)
			}
			back, err := parseLine(again)
			if err != nil || len(back) != 1 || !reflect.DeepEqual(back[0].Words, c.Words) {
				t.Fatalf("%q: %q becomes %+v, %v", line, c.Words, back, err)
			}
		}
	})
}

// TestOneLine: whatever a worker says stays on its line, and is read from left to
// right.
func TestOneLine(t *testing.T) {
	for r := range rune(0x10ffff + 1) {
		harms := r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x61c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		want := string(r)
		if harms {
			want = " "
		}
		if got := oneLine(string(r)); got != want {
			t.Errorf("%U becomes %q", r, got)
		}
	}
}
