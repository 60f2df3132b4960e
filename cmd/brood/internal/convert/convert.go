// Package convert makes a brood.yaml of another supervisor's configuration:
// supervisord.conf, a Procfile, PM2's ecosystem.config.json. What has no
// counterpart is said in a comment with the line that it came from; nothing is
// left out silently.
package convert

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// File converts the file at path, by its name and what is in it.
func File(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	base := strings.ToLower(filepath.Base(path))
	var f *file
	switch {
	case strings.HasPrefix(base, "procfile"):
		f, err = procfile(path, string(text))
	case strings.HasSuffix(base, ".json"):
		f, err = pm2(path, text)
	case strings.HasSuffix(base, ".js"), strings.HasSuffix(base, ".cjs"), strings.HasSuffix(base, ".mjs"):
		return "", fmt.Errorf("%s is a program; print what it exports, and convert that: "+
			"node -p 'JSON.stringify(require(\"./%s\"), null, 2)' > ecosystem.config.json", path, filepath.Base(path))
	case strings.HasSuffix(base, ".conf"), strings.HasSuffix(base, ".ini"):
		f, err = supervisord(path, string(text))
	default:
		return "", fmt.Errorf("%s: what is it? its name should be supervisord.conf (or end in .conf or .ini), Procfile, or ecosystem.config.json", path)
	}
	if err != nil {
		return "", err
	}
	if len(f.pools) == 0 {
		return "", fmt.Errorf("%s has no program to run", path)
	}
	return f.yaml(), nil
}

// file is a brood.yaml that is being made.
type file struct {
	from  string
	notes []string // comments on the whole
	pools []*pool
}

// pool is one pool. Values are YAML as it is written.
type pool struct {
	name  string
	from  string // where it comes from, for people
	keys  []entry
	notes []string
}

type entry struct{ key, value string }

func (f *file) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

// add begins a pool with a name that brood takes and that no other has.
func (f *file) add(name, from string) *pool {
	p := &pool{name: poolName(name), from: from}
	for n := 2; slices.ContainsFunc(f.pools, func(q *pool) bool { return q.name == p.name }); n++ {
		p.name = fmt.Sprintf("%s-%d", poolName(name), n)
	}
	if p.name != name {
		p.note("it was called %q", name)
	}
	f.pools = append(f.pools, p)
	return p
}

// poolName is a name as brood wants it: a letter, then letters, digits, _ - .
func poolName(name string) string {
	out := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.", r) {
			return r
		}
		return '-'
	}, name)
	if out == "" || !(out[0] >= 'a' && out[0] <= 'z' || out[0] >= 'A' && out[0] <= 'Z') {
		out = "p" + out
	}
	return out[:min(len(out), 60)]
}

func (p *pool) set(key, value string) { p.keys = append(p.keys, entry{key, value}) }

func (p *pool) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// inner sets a key of a mapping such as stop.
func (p *pool) inner(section, key, value string) {
	for i := range p.keys {
		if e := &p.keys[i]; e.key == section {
			e.value = strings.TrimSuffix(e.value, "}") + ", " + key + ": " + value + "}"
			return
		}
	}
	p.set(section, "{"+key+": "+value+"}")
}

// yaml is the file with its comments.
func (f *file) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Converted from %s by `brood init`. A comment that names a line says what has\n# no counterpart here, or another one. `brood check` looks at the rest.\n", comment(f.from))
	for _, n := range f.notes {
		fmt.Fprintf(&b, "# %s\n", comment(n))
	}
	b.WriteString("pools:\n")
	for i, p := range f.pools {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "  %s:   # %s\n", p.name, comment(p.from))
		for _, e := range p.keys {
			fmt.Fprintf(&b, "    %s: %s\n", e.key, e.value)
		}
		for _, n := range p.notes {
			fmt.Fprintf(&b, "    # %s\n", comment(n))
		}
	}
	return b.String()
}

// comment is text that stays in one comment.
func comment(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, text)
}

// quote is text as YAML that nothing takes for anything else. JSON is YAML.
func quote(text string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // a string always can be
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// mapping is variables in the order given.
func mapping(vars []entry) string {
	out := make([]string, len(vars))
	for i, v := range vars {
		out[i] = quote(v.key) + ": " + quote(v.value)
	}
	return "{" + strings.Join(out, ", ") + "}"
}
