package config

import (
	"errors"
	"strings"
	"testing"
)

// FuzzParse: no text panics, and what is wrong is typed and within the text.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		Example, smallest, "", "---\n", "- a\n- b: c\n", "a: [b, {c: d}]\n", "a: |\n  b\n", "a: >-\n", "a: 'b", "a: \"\\x41\\u00e9\"", "? a\n: b",
		"a: &b c\nd: *b", "<<: {a: b}", "!!map {a: b}", "%YAML 1.2\n---\na: b", "a:\n\tb: c", "a: b: c", "{", "}", "[[[[", ": b", "{a, b: }",
		"pools:\n  web: {command: [x], env: {A: 0x1F, B: .inf, C: ~}, restart: {backoff: 1s..2s, budget: 1/1s}}\r\n",
		"pools: {web: {command: [x], stop: {signal: TREM, timeout: 0}}}\ncontrol: {listen: [{mode: 0660, group: a, role: b, path: ''}, {}], access: [{role: x}, {role: operator, users: [], pools: a}], audit: ''}",
		with("limits: {nofile: 1/2, data: 1GiB, cpu: 60s, x: 1}\numask: 027\nlisten: {a: 'tcp://:80', b: unix:///a?mode=1}\nuser: 1\nenv_file: [a]"),
		with("ready: {when: log, log: 'a(b', http: 'http://[::1]:1/'}\nrollout: {surge: 0}\nrecycle: {jitter: 1%, memory: 0}\nclean_env: yes"),
		with("ready: {log: '(?i)x)'}\ncommands: {a: {signal: USR1}, b: {exec: [x]}, c: }\nafter: [web, wbe]\ndispatch: {queue: 0, timeout: off}"),
		"pools: {a: {command: [x], after: [b]}, b: {command: [x], after: [a], ready: {tcp: 'unix:/a', exec: []}}}",
		"pools: {a.b: {command: x}, a: {b: 1}, \"\": 2, 3: 4}", "\ufeffpools:", "a: b\n...\nc: d", "a: 1\na: 2\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("f", text)
		if (file == nil) == (err == nil) {
			t.Fatalf("file %v, error %v", file, err)
		}
		lines := strings.Count(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n") + strings.Count(string(text), "\r") + 1
		for _, one := range unjoin(err) {
			var e *Error
			if !errors.As(one, &e) {
				t.Fatalf("%T: %v", one, one)
			}
			if e.File != "f" || e.Problem == "" || e.Line < 0 || e.Line > lines || (e.Line == 0) != (e.Column == 0) {
				t.Fatalf("%+v", e)
			}
		}
	})
}
