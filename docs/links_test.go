package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var link = regexp.MustCompile(`\]\(([^)\s#]*)(#[^)\s]*)?\)`)

// TestLinks: what a document points at is there, and so is the heading.
func TestLinks(t *testing.T) {
	for _, path := range documents(t) {
		text := prose(t, path)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to := filepath.Join(filepath.Dir(path), m[1])
			if m[1] == "" {
				to = path
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: there is no %s", path, to)
			} else if anchor := strings.TrimPrefix(m[2], "#"); anchor != "" && !headings(prose(t, to))[anchor] {
				t.Errorf("%s: %s has no heading #%s", path, to, anchor)
			}
		}
	}
}

// TestIndex: the README names every page of docs.
func TestIndex(t *testing.T) {
	text := prose(t, "README.md")
	for _, path := range documents(t) {
		if strings.HasPrefix(path, "docs/") && strings.Count(path, "/") == 1 && !strings.Contains(text, "]("+path+")") {
			t.Errorf("the README does not name %s", path)
		}
	}
}

// prose is a document without its blocks.
func prose(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	inside := false
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inside = !inside
		} else if !inside {
			out.WriteString(line)
		}
	}
	return out.String()
}

// headings are a document's, as the parts of links that name them.
func headings(text string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		title := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return r
			}
			return -1
		}, title)] = true
	}
	return all
}
