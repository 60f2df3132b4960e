package ipc

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/protocol.md is the specification. These tests hold it against the code.

func readDoc(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section is what stands between a heading of the second level and the next.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(doc, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/protocol.md has no section %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// documented is one frame of the example session.
type documented struct {
	line   int // within the session
	sender string
	typ    string
	bytes  []byte
}

var (
	sessionBlock = regexp.MustCompile("(?s)```frames\n(.*?)```")
	frameTitle   = regexp.MustCompile(`^(supervisor|worker) ([A-Z]+)\b`)
	frameBytes   = regexp.MustCompile(`^([0-9a-f]{4})  ([0-9a-f]{2}(?: [0-9a-f]{2})*) +\|(.*)\|$`)
)

func session(t *testing.T) []documented {
	t.Helper()
	block := sessionBlock.FindStringSubmatch(readDoc(t))
	if block == nil {
		t.Fatal("docs/protocol.md has no block of frames")
	}
	var frames []documented
	for i, line := range strings.Split(block[1], "\n") {
		if m := frameTitle.FindStringSubmatch(line); m != nil {
			frames = append(frames, documented{line: i + 1, sender: m[1], typ: m[2]})
			continue
		}
		if line == "" {
			continue
		}
		m := frameBytes.FindStringSubmatch(line)
		if m == nil || len(frames) == 0 {
			t.Fatalf("line %d of the session is neither a title nor bytes: %q", i+1, line)
		}
		f := &frames[len(frames)-1]
		if at, _ := strconv.ParseInt(m[1], 16, 32); int(at) != len(f.bytes) {
			t.Errorf("line %d of the session: offset %s, want %04x", i+1, m[1], len(f.bytes))
		}
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := printable(b); m[3] != got {
			t.Errorf("line %d of the session: the text beside the bytes is %q, want %q", i+1, m[3], got)
		}
		f.bytes = append(f.bytes, b...)
	}
	return frames
}

func printable(b []byte) string {
	text := make([]byte, len(b))
	for i, c := range b {
		text[i] = '.'
		if 0x20 <= c && c <= 0x7E {
			text[i] = c
		}
	}
	return string(text)
}

func TestDocumentedFramesReencode(t *testing.T) {
	shown := map[string]bool{}
	for _, d := range session(t) {
		shown[d.typ] = true
		f, n, err := ParseFrame(d.bytes, DefaultChunk)
		if err != nil {
			t.Errorf("line %d, %s: %v", d.line, d.typ, err)
			continue
		}
		if n != len(d.bytes) {
			t.Errorf("line %d, %s: %d bytes shown, the frame has %d", d.line, d.typ, len(d.bytes), n)
			continue
		}
		if f.Type.String() != d.typ {
			t.Errorf("line %d: titled %s, but it is %v", d.line, d.typ, f.Type)
		}
		if from := shapes[f.Type].from; from != 0 && from.String() != d.sender {
			t.Errorf("line %d: %s is not the %s's to send", d.line, d.typ, d.sender)
		}
		if again := AppendFrame(nil, f); !bytes.Equal(again, d.bytes) {
			t.Errorf("line %d, %s: re-encoded as % x", d.line, d.typ, again)
		}
	}
	for typ := range shapes {
		if name := Type(typ).String(); Type(typ).known() && !shown[name] {
			t.Errorf("the session shows no %s", name)
		}
	}
}

func TestDocumentedTypes(t *testing.T) {
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| ([A-Z]+) \|`).FindAllStringSubmatch(section(t, readDoc(t), "The types"), -1)
	seen := map[Type]bool{}
	for _, row := range rows {
		n, err := strconv.ParseUint(row[1], 10, 8)
		if err != nil {
			t.Errorf("type %s: %v", row[1], err)
			continue
		}
		if seen[Type(n)] {
			t.Errorf("type %d has two rows", n)
		}
		seen[Type(n)] = true
		if got := Type(n).String(); got != row[2] {
			t.Errorf("type %d is called %s, the code says %s", n, row[2], got)
		}
	}
	for n, name := range typeNames {
		if name != "" && !seen[Type(n)] {
			t.Errorf("%s, type %d, has no row", name, n)
		}
	}
}

func TestDocumentedRules(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	inCode := map[string]string{} // rule: a file that applies it
	applied := regexp.MustCompile(`\bbroke\("([^"]*)"`)
	for _, path := range sources {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range applied.FindAllStringSubmatch(string(b), -1) {
			inCode[m[1]] = path
		}
	}
	if len(inCode) == 0 {
		t.Fatal("no rule was found in the code: has broke been renamed?")
	}
	inDoc := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section(t, readDoc(t), "The rules"), -1) {
		inDoc[m[1]] = true
	}
	for rule, path := range inCode {
		if !inDoc[rule] {
			t.Errorf("rule %q of %s has no row in docs/protocol.md", rule, path)
		}
	}
	for rule := range inDoc {
		if inCode[rule] == "" {
			t.Errorf("docs/protocol.md has a rule %q that nothing applies", rule)
		}
	}
}

func TestDocumentedCodes(t *testing.T) {
	text := section(t, readDoc(t), "Errors")
	for _, code := range []Code{ErrFailed, ErrCanceled, ErrTimeout, ErrOverloaded, ErrUnavailable, ErrUnknownCommand, ErrTooLarge} {
		if !strings.Contains(text, "\n| `"+string(code)+"` |") {
			t.Errorf("code %q has no row in docs/protocol.md", code)
		}
	}
}
