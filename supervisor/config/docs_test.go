package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docsFile = "../../docs/config.md"

// fileWith is a file with one key set; the key is as docs/config.md calls it.
func fileWith(key, value string) []byte {
	section, name, inside := strings.Cut(key, ".")
	switch {
	case key == "pools":
		return fmt.Appendf(nil, "pools: %s\n", value)
	case key == "control":
		return fmt.Appendf(nil, "pools: {web: {command: [x]}}\ncontrol: %s\n", value)
	case key == "control.listen.group":
		return fmt.Appendf(nil, "pools: {web: {command: [x]}}\ncontrol: {listen: {mode: \"0660\", group: %s}}\n", value)
	case key == "control.audit_required":
		return fmt.Appendf(nil, "pools: {web: {command: [x]}}\ncontrol: {audit: /x, audit_required: %s}\n", value)
	case key == "control.access.role":
		return fmt.Appendf(nil, "pools: {web: {command: [x]}}\ncontrol: {access: [{users: 5, role: %s}]}\n", value)
	case key == "control.access.users":
		return fmt.Appendf(nil, "pools: {web: {command: [x]}}\ncontrol: {access: [{role: operator, users: %s}]}\n", value)
	case strings.HasPrefix(key, "control.access."):
		return fmt.Appendf(nil, "pools: {web: {command: [x]}, api: {command: [x]}}\ncontrol: {access: [{role: operator, users: 5, %s: %s}]}\n", strings.TrimPrefix(name, "access."), value)
	case strings.HasPrefix(key, "control.listen."):
		return fmt.Appendf(nil, "pools: {web: {command: [x]}}\ncontrol: {listen: {%s: %s}}\n", strings.TrimPrefix(name, "listen."), value)
	case section == "control":
		return fmt.Appendf(nil, "pools: {web: {command: [x]}}\ncontrol: {%s: %s}\n", name, value)
	case section == "commands" && inside:
		_, name, _ := strings.Cut(name, ".")
		return fmt.Appendf(nil, "pools:\n  web:\n    command: [x]\n    commands: {NAME: {%s: %s}}\n", name, value)
	case inside:
		return fmt.Appendf(nil, "pools:\n  web:\n    command: [x]\n    %s: {%s: %s}\n", section, name, value)
	case key == "after":
		return fmt.Appendf(nil, "pools:\n  cache: {command: [x]}\n  web:\n    command: [x]\n    after: %s\n", value)
	case key == "command":
		return fmt.Appendf(nil, "pools:\n  web:\n    command: %s\n", value)
	case key == "min_ready":
		return fmt.Appendf(nil, "pools:\n  web:\n    command: [x]\n    workers: 9\n    min_ready: %s\n", value)
	}
	return fmt.Appendf(nil, "pools:\n  web:\n    command: [x]\n    %s: %s\n", key, value)
}

// keyRow is a row of the tables of keys in docs/config.md.
type keyRow struct{ key, meaning, unit, def, example string }

var keyRowPattern = regexp.MustCompile("(?m)^\\| `([a-zA-Z_.]+)` \\| (.+) \\| (.+) \\| (.+) \\| `(.+)` \\|$")

func keyRows(t *testing.T) []keyRow {
	t.Helper()
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	var rows []keyRow
	for _, m := range keyRowPattern.FindAllStringSubmatch(string(text), -1) {
		rows = append(rows, keyRow{m[1], m[2], m[3], m[4], m[5]})
	}
	return rows
}

func TestDocsHaveEveryKey(t *testing.T) {
	keys := allKeys(t)
	rows := keyRows(t)
	for _, r := range rows {
		d, known := keys[r.key]
		if !known {
			t.Errorf("%s has a row for %q, which is not in the table of keys", docsFile, r.key)
			continue
		}
		if def := fmt.Sprint(d.Default); d.Default != nil && strings.Trim(r.def, "`\"") != def {
			t.Errorf("%s: the default of %s is %s, in the table of keys it is %s", docsFile, r.key, r.def, def)
		} else if d.Default == nil && strings.HasPrefix(r.def, "`") && !strings.HasPrefix(r.def, "`$") {
			t.Errorf("%s: %s has the default %s, in the table of keys it has none", docsFile, r.key, r.def)
		}
	}
	for key := range keys {
		n := 0
		for _, r := range rows {
			if r.key == key {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s has %d rows for %q, want 1", docsFile, n, key)
		}
	}
}

func TestDocsExamplesAreRead(t *testing.T) {
	for _, r := range keyRows(t) {
		if _, err := Parse(r.key, fileWith(r.key, r.example)); err != nil {
			t.Errorf("%s: the example of %s: %v", docsFile, r.key, err)
		}
	}
}

func TestDocsBlocksAreRead(t *testing.T) {
	blocks := yamlBlocks(t, docsFile)
	if !slices.Contains(blocks, Example) {
		t.Errorf("%s does not show config.Example", docsFile)
	}
	if !slices.Contains(blocks, smallest+"\n") {
		t.Errorf("%s does not show the smallest file", docsFile)
	}
	for _, file := range []string{docsFile, "../../docs/lifecycle.md"} {
		for i, b := range yamlBlocks(t, file) {
			if _, err := Parse(fmt.Sprintf("%s, block %d", file, i+1), []byte(b)); err != nil {
				t.Error(err)
			}
		}
	}
}

// yamlBlocks are those of a page; there is at least one.
func yamlBlocks(t *testing.T, page string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(text), "```") {
		if yaml, ok := strings.CutPrefix(part, "yaml\n"); ok && i%2 == 1 {
			blocks = append(blocks, yaml)
		}
	}
	if blocks == nil {
		t.Errorf("%s has no block of YAML", page)
	}
	return blocks
}
