package convert

import (
	"fmt"
	"strings"
)

// section is one of an INI file, as Python's ConfigParser reads it for
// supervisord.
type section struct {
	name   string
	file   string
	line   int
	values []value
}

type value struct {
	key, text string
	file      string
	line      int
}

// at is where the value stands, for a comment.
func (v value) at() string { return fmt.Sprintf("%s:%d: %s=%s", v.file, v.line, v.key, v.text) }

// parseINI reads sections in their order. Of a key that is written twice the
// last one counts; a line that begins with a space goes on with the one before.
func parseINI(name, text string) ([]*section, error) {
	var all []*section
	var now *section
	for i, raw := range strings.Split(text, "\n") {
		raw = strings.TrimSuffix(raw, "\r")
		line := strings.TrimSpace(raw)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		for _, mark := range []string{" ;", "\t;", " #", "\t#"} { // a comment behind a value
			line, _, _ = strings.Cut(line, mark)
		}
		line = strings.TrimSpace(line)
		continues := raw[0] == ' ' || raw[0] == '\t'
		switch {
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			now = &section{name: line[1 : len(line)-1], file: name, line: i + 1}
			all = append(all, now)
		case now == nil:
			return nil, fmt.Errorf("%s:%d: a value before the first [section]", name, i+1)
		case continues && len(now.values) > 0:
			last := &now.values[len(now.values)-1]
			last.text = strings.TrimSpace(last.text + "\n" + line)
		default:
			at := strings.IndexAny(line, "=:")
			if at < 1 {
				return nil, fmt.Errorf("%s:%d: %q is neither a [section] nor key=value", name, i+1, line)
			}
			now.values = append(now.values, value{
				strings.ToLower(strings.TrimSpace(line[:at])), strings.TrimSpace(line[at+1:]), name, i + 1,
			})
		}
	}
	return all, nil
}

// get is the last value of a key.
func (s *section) get(key string) (value, bool) {
	for i := len(s.values) - 1; i >= 0; i-- {
		if s.values[i].key == key {
			return s.values[i], true
		}
	}
	return value{}, false
}
