package docs_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// block is a fenced block of a document, with the marks that stand before it.
type block struct {
	line int    // of its first line, from 1
	lang string // after the fence
	text string // ends with a newline

	setup  string // a new shell, made ready in this way
	before string // lines that belong to the block and are not shown
	file   string // the block is written to this file
	in     string // the block is part of this file
	skip   string // why it is not run
}

const markBegin, markEnd = "<!-- test:", "-->"

// readBlocks are all blocks of a file.
func readBlocks(path string) ([]block, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseBlocks(path, strings.Split(string(text), "\n"))
}

func parseBlocks(path string, lines []string) (all []block, err error) {
	var next block // collects the marks
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		switch {
		case strings.HasPrefix(line, markBegin):
			begin := i
			for !strings.Contains(lines[i], markEnd) {
				if i++; i == len(lines) {
					return nil, fmt.Errorf("%s:%d: the mark has no end", path, begin+1)
				}
			}
			if err := next.mark(strings.Join(lines[begin:i+1], "\n")); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, begin+1, err)
			}
		case strings.HasPrefix(line, "```"):
			indent := strings.Index(lines[i], "```")
			next.line, next.lang = i+2, strings.TrimSpace(line[3:])
			var body strings.Builder
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
				body.WriteString(lines[i][min(indent, len(lines[i])):] + "\n")
			}
			if i == len(lines) {
				return nil, fmt.Errorf("%s:%d: the block has no end", path, next.line-1)
			}
			next.text = body.String()
			all = append(all, next)
			next = block{}
		case line != "" && !slices.Equal([]string{next.setup, next.before, next.file, next.in, next.skip}, make([]string, 5)):
			return nil, fmt.Errorf("%s:%d: the mark above stands before no block", path, i+1)
		}
	}
	return all, nil
}

// mark takes one mark in.
func (b *block) mark(text string) error {
	text, _, _ = strings.Cut(text, markEnd)
	text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), markBegin))
	word, rest, _ := strings.Cut(text, " ")
	if before, ok := strings.CutPrefix(text, "before\n"); ok {
		b.before = before + "\n"
		return nil
	}
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return fmt.Errorf("%q says nothing", text)
	}
	switch word {
	case "setup":
		b.setup = rest
		if _, ok := setups[rest]; !ok {
			return fmt.Errorf("there is no setup %q", rest)
		}
	case "file":
		b.file = rest
	case "in":
		b.in = rest
	case "skip":
		b.skip = rest
		if len(strings.Fields(rest)) < 3 {
			return fmt.Errorf("skip %q: say why, in a few words", rest)
		}
	default:
		return fmt.Errorf("%q: a mark is setup, before, file, in or skip", word)
	}
	return nil
}

func TestBlocks(t *testing.T) {
	const text = "# Title\n<!-- test: setup demo -->\n<!-- test: before\nmkdir x\n-->\n```console\n$ ls\nx\n```\n\n" +
		"- item\n  <!-- test: skip nobody has one -->\n  ```yaml\n  a:\n    b: 1\n  ```\n"
	got, err := parseBlocks("x.md", strings.Split(text, "\n"))
	want := []block{
		{line: 7, lang: "console", text: "$ ls\nx\n", setup: "demo", before: "mkdir x\n"},
		{line: 14, lang: "yaml", text: "a:\n  b: 1\n", skip: "nobody has one"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, wrong := range []string{
		"```sh\n", "<!-- test: setup demo\n", "<!-- test: skip -->\n```sh\n```", "<!-- test: setup nosuch -->\n```sh\n```",
		"<!-- test: skip why -->\n```sh\n```", "<!-- test: skip it is so because -->\nText.\n```sh\n```", "<!-- test: run now -->",
	} {
		if _, err := parseBlocks("x.md", strings.Split(wrong, "\n")); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}
