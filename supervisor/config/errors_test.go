package config

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"example.com/brood/supervisor/internal/listen"
)

// with makes a file of one pool with these lines in it, the first in line 4.
func with(lines string) string {
	return "pools:\n  web:\n    command: [x]\n    " + strings.ReplaceAll(lines, "\n", "\n    ") + "\n"
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // without "b.yaml:"
	}{
		// The file.
		{"empty", "", []string{` is empty; the smallest file is: pools: {web: {command: ["./server"]}}`}},
		{"only comments", "# a\n---\n# b\n", []string{` is empty; the smallest file is: pools: {web: {command: ["./server"]}}`}},
		{"a list", "- web\n", []string{`1:1: must be a mapping (key: value), got a list; the smallest file is: pools: {web: {command: ["./server"]}}`}},
		{"text", "pools\n", []string{`1:1: must be a mapping (key: value), got "pools"; the smallest file is: pools: {web: {command: ["./server"]}}`}},
		{"null", "~\n", []string{`1:1: must be a mapping (key: value), got nothing; the smallest file is: pools: {web: {command: ["./server"]}}`}},
		{"two documents", "pools: {}\n---\npools: {}\n", []string{"2:1: a second document begins here; keep one"}},
		{"after the end", "pools: {}\n...\npools: {}\n", []string{"3:1: a second document begins here; keep one"}},
		{"not UTF-8", "pools:\n  é\xff: x\n", []string{"2:4: the byte 0xff is not UTF-8; the file must be UTF-8 text"}},
		{"control character", "pools: \x1b[1m\n", []string{"1:8: there is a control character (0x1b); the file must be UTF-8 text"}},
		{"no pools", "control: {}\n", []string{"1:1: pools: there is none; name at least one with a command"}},
		{"pools of nothing", "pools:\n", []string{"1:1: pools: there is none; name at least one with a command"}},
		{"pools a list", "pools: [web]\n", []string{"1:8: pools: must be a mapping (key: value), got a list"}},
		{"pool misspelt", "pool: {web: {command: [x]}}\n", []string{`1:1: pool: unknown key; did you mean "pools"?`}},
		{"nothing near", "pools: {web: {command: [x]}}\nversion: 2\n", []string{"2:1: version: unknown key; the keys here are pools and control"}},

		// YAML.
		{"tab", "pools:\n\tweb:\n", []string{`2:1: not valid YAML: found character '\t' that cannot start any token; indent with spaces instead of the tab`}},
		{"open bracket", "pools: [a\n", []string{"1:8: not valid YAML: sequence end token ']' not found; check indentation, brackets and quotes here and in the line above"}},
		{"anchors and all", "a: &b 1\nc: *b\n<<: *b\nd: !e f\n", []string{
			`1:4: anchors (&name) are not understood here; write the value out, or quote it if it is text that begins with "&"`,
			`2:4: aliases (*name) are not understood here; write the value out, or quote it if it is text that begins with "*"`,
			`3:1: merge keys (<<) are not understood here; write the keys out`,
			`3:5: aliases (*name) are not understood here; write the value out, or quote it if it is text that begins with "*"`,
			`4:4: tags (!name) are not understood here; leave it out, or quote it if it is text that begins with "!"`,
		}},
		{"tag at the end", smallest + "\n!a", []string{`2:1: tags (!name) are not understood here; leave it out, or quote it if it is text that begins with "!"`}},
		{"question mark", "? a\n: b\n", []string{`1:1: keys after "?" are not understood here; write key: value`}},
		{"directive", "%YAML 1.2\n---\npools: {}\n", []string{
			`1:1: directives (%NAME) are not understood here; leave it out, or quote it if it is text that begins with "%"`,
			"2:1: a second document begins here; keep one",
		}},
		{"deep", "a: " + strings.Repeat("[", 30), []string{"1:23: more than 20 levels deep; nothing here needs that"}},
		{"twice", with("workers: 1\ndir: /\n\"workers\": 2"), []string{"6:5: pools.web.workers: is written twice, first in line 4; keep one"}},
		{"pool twice", "pools:\n  web: {command: [x]}\n  web: {command: [y]}\n", []string{"3:3: pools.web: is written twice, first in line 2; keep one"}},
		{"variable twice", with("env: {A: 1, B: 2, A: 3}"), []string{"4:23: pools.web.env.A: is written twice, first in line 4; keep one"}},

		// Keys.
		{"misspelt", with("wrokers: 4"), []string{`4:5: pools.web.wrokers: unknown key; did you mean "workers"?`}},
		{"in capitals", with("MinReady: 1"), []string{`4:5: pools.web.MinReady: unknown key; did you mean "min_ready"?`}},
		{"another's word", with("numprocs: 4"), []string{`4:5: pools.web.numprocs: unknown key; did you mean "workers"?`}},
		{"deeper", with("stop: {tiemout: 1s}"), []string{`4:12: pools.web.stop.tiemout: unknown key; did you mean "timeout"?`}},
		{"far", with("stop: {grace: 1s}"), []string{"4:12: pools.web.stop.grace: unknown key; the keys here are signal and timeout"}},
		{"for a terminal", with(`"a\eb": 1`), []string{`4:5: "pools.web.a\x1bb": unknown key; the keys here are command, workers, min_ready, dir, env, env_file, clean_env, user, group, umask, limits, nice, oom_score_adj, no_new_privs, cgroup, listen, ready, health, restart, stop, rollout, recycle, dispatch, commands and after`}},
		{"wide letters", "pools: {wéb: {command: [x], wrkers: 1}}\n", []string{
			`1:9: pools.wéb: a pool's name is a letter, then letters, digits, '_', '-' or '.', at most 63 in all; got "wéb"`,
			`1:29: pools.wéb.wrkers: unknown key; did you mean "workers"?`,
		}},

		// Commands.
		{"command as text", "pools: {a: {command: ./server --verbose}}", []string{
			`1:22: pools.a.command: must be a list; write ["./server", "--verbose"], or ["sh", "-c", "./server --verbose"] if a shell must read it`,
		}},
		{"command for a shell", "pools: {a: {command: 'a | b'}}", []string{
			`1:22: pools.a.command: must be a list; write ["sh", "-c", "a | b"], or the program and its arguments each by itself`,
		}},
		{"command a mapping", "pools: {a: {command: {b: c}}}", []string{"1:22: pools.a.command: must be a list: the program and its arguments, got a mapping"}},
		{"command empty", "pools: {a: {command: []}}", []string{"1:22: pools.a.command: is empty; write the program and its arguments"}},
		{"program empty", "pools: {a: {command: ['', b]}}", []string{"1:23: pools.a.command[0]: is empty; write the program"}},
		{"command missing", "pools:\n  a:\n  b: {workers: 2}\n", []string{
			"2:3: pools.a.command: is missing: the program to run and its arguments, as a list",
			"3:3: pools.b.command: is missing: the program to run and its arguments, as a list",
		}},
		{"argument a list", "pools: {a: {command: [b, [c], ~]}}", []string{
			"1:26: pools.a.command[1]: must be text, got a list",
			"1:31: pools.a.command[2]: must be text, got nothing",
		}},
		{"argument with NUL", `pools: {a: {command: [b, "\0"]}}`, []string{"1:26: pools.a.command[1]: has a NUL character in it, which no program can be given"}},

		// Numbers.
		{"workers 0", with("workers: 0"), []string{"4:14: pools.web.workers: must be at least 1, got 0; leave the key out for the default, 1"}},
		{"workers too many", with("workers: 40000"), []string{"4:14: pools.web.workers: must be 1 to 32768, got 40000"}},
		{"workers a word", with("workers: cpu"), []string{`4:14: pools.web.workers: must be a number or "cpus", got "cpu"; did you mean "cpus"?`}},
		{"workers quoted", with(`workers: "4"`), []string{`4:14: pools.web.workers: must be a number, got the text "4"; leave the quotes out`}},
		{"workers a fraction", with("workers: 1.5"), []string{"4:14: pools.web.workers: must be a whole number of at least 1, got 1.5"}},
		{"workers a list", with("workers: [4]"), []string{"4:14: pools.web.workers: must be a whole number, got a list"}},
		{"octal", with("workers: 010"), []string{"4:14: pools.web.workers: must be a whole number of at least 1, got 010"}},
		{"nothing", with("workers:\ndir: ~"), []string{
			"4:5: pools.web.workers: has no value; write one, or leave the key out for the default, 1",
			"5:5: pools.web.dir: has no value; write one, or leave the key out",
		}},
		{"min_ready too many", with("workers: 2\nmin_ready: 3"), []string{"5:16: pools.web.min_ready: must be 0 to the number of workers (2), got 3"}},
		{"min_ready of no number", with("workers: two\nmin_ready: 3"), []string{`4:14: pools.web.workers: must be a number or "cpus", got "two"`}},
		{"codes", with("restart: {give_up_codes: [1, 256, x]}"), []string{
			"4:34: pools.web.restart.give_up_codes[1]: must be 0 to 255, got 256",
			`4:39: pools.web.restart.give_up_codes[2]: must be a whole number of 0 to 255, got "x"`,
		}},
		{"codes no list", with("restart: {give_up_codes: 78}"), []string{"4:30: pools.web.restart.give_up_codes: must be a list of exit codes, such as [78], got 78"}},

		// Durations.
		{"no unit", with("stop: {timeout: 2}"), []string{"4:21: pools.web.stop.timeout: 2 what? write 2s or 2ms"}},
		{"no duration", with("stop: {timeout: 1d}"), []string{`4:21: pools.web.stop.timeout: must be a duration, a number and its unit (ms, s, m or h) such as 10s, got "1d"`}},
		{"negative", with("stop: {timeout: -1s}"), []string{"4:21: pools.web.stop.timeout: must not be negative, got -1s"}},
		{"zero", with("ready: {timeout: 0s}"), []string{"4:22: pools.web.ready.timeout: must be longer than 0s; leave the key out for the default, 30s"}},
		{"too long", with("stop: {timeout: 9999999h}"), []string{"4:21: pools.web.stop.timeout: 9999999h is too long; brood counts to 2562047h"}},
		{"a mapping", with("stop:\n  timeout:\n    s: 1"), []string{"5:7: pools.web.stop.timeout: must be a duration such as 10s, got a mapping"}},
		{"ping", with("health: {ping: no}"), []string{`4:20: pools.web.health.ping: must be a duration, a number and its unit (ms, s, m or h) such as 2s (or off), got "no"`}},
		{"backoff backwards", with("restart: {backoff: 30s..1s}"), []string{"4:24: pools.web.restart.backoff: the shortest wait (30s) is longer than the longest (1s)"}},
		{"backoff of nothing", with("restart: {backoff: 0s..1s}"), []string{"4:24: pools.web.restart.backoff: the shortest wait must be longer than 0s; leave the key out for the default, 100ms..30s"}},
		{"backoff half", with("restart: {backoff: 1s..2}"), []string{"4:24: pools.web.restart.backoff: 2 what? write 2s or 2ms"}},
		{"budget a number", with("restart: {budget: 10}"), []string{"4:23: pools.web.restart.budget: must be a number and a time such as 10/1m, or off, got 10"}},
		{"budget of none", with("restart: {budget: 0/1m}"), []string{"4:23: pools.web.restart.budget: must allow at least 1 restart, got 0; for none write when: never, for no limit write budget: off"}},
		{"budget in no time", with("restart: {budget: 3/0s}"), []string{"4:23: pools.web.restart.budget: the time must be longer than 0s; for no limit write off"}},
		{"budget without unit", with("restart: {budget: 3/1}"), []string{"4:23: pools.web.restart.budget: 1 what? write 1s or 1ms"}},

		// Words.
		{"when", with("restart: {when: on_failure}"), []string{`4:21: pools.web.restart.when: must be always, on-failure or never, got "on_failure"; did you mean "on-failure"?`}},
		{"when, far", with("ready: {when: true}"), []string{"4:19: pools.web.ready.when: must be auto, hello, notify, alive, log, exec, http, tcp or exit, got true"}},
		{"signal", with("stop: {signal: SIGTREM}"), []string{`4:20: pools.web.stop.signal: there is no signal "SIGTREM"; did you mean "TERM"?`}},
		{"signal by number", with("stop: {signal: 15}"), []string{`4:20: pools.web.stop.signal: must be the name of a signal, got 15; did you mean "TERM"?`}},
		{"signal that freezes", with("stop: {signal: STOP}"), []string{"4:20: pools.web.stop.signal: STOP freezes a worker and does not end it; write TERM or another one that does"}},
		{"dir empty", with(`dir: ""`), []string{"4:10: pools.web.dir: must not be empty; leave the key out instead"}},
		{"env", with("env: {'A=B': 1, C: ~, D: [x]}"), []string{
			`4:11: pools.web.env.A=B: "A=B" is no name of an environment variable`,
			`4:21: pools.web.env.C: has no value; write "" for an empty one, or quote the word`,
			"4:30: pools.web.env.D: must be text, got a list",
		}},

		// The control socket.
		{"mode decimal", smallest + "\ncontrol: {listen: {mode: 660}}", []string{`2:26: control.listen.mode: must be an octal mode with a leading 0 such as "0660", got 660`}},
		{"mode setuid", smallest + "\ncontrol: {listen: {mode: '04600'}}", []string{"2:26: control.listen.mode: must be at most 0777, got 04600; set-user-ID, set-group-ID and sticky mean nothing on a socket"}},
		{"mode without owner", smallest + "\ncontrol: {listen: [{mode: '0060'}]}", []string{"2:27: control.listen[0].mode: must let the owner read and write (0600), got 0060"}},
		{"group kept out", smallest + "\ncontrol: {listen: {group: ops}}", []string{`2:27: control.listen.group: has no effect, the mode (0600) keeps the group out; write mode: "0660"`}},
		{"role", smallest + "\ncontrol: {listen: {role: Admin}}", []string{`2:26: control.listen.role: must be none, viewer, operator or admin, got "Admin"; did you mean "admin"?`}},
		{"role above the highest", smallest + "\ncontrol: {listen: {role: operator, max_role: viewer}}", []string{"2:26: control.listen.role: is operator, and nobody has more than max_role, viewer, through this socket"}},
		{"socket", smallest + "\ncontrol: {listen: {path: /run/}}", []string{"2:26: control.listen.path: names a directory; add the name of a file such as control.sock"}},
		{"two of a path", smallest + "\ncontrol: {listen: [{path: /a}, {path: /a}]}", []string{"2:39: control.listen[1]: this is the path of control.listen[0] already; choose another"}},
		{"two without a path", smallest + "\ncontrol: {listen: [{}, {}]}", []string{"2:24: control.listen[1]: has no path and neither has control.listen[0]; only one may leave it to the command line"}},
		{"no sockets", smallest + "\ncontrol: {listen: []}", []string{"2:19: control.listen: is empty; leave the key out instead"}},
		{"control's keys", smallest + "\ncontrol: {acess: []}", []string{`2:11: control.acess: unknown key; did you mean "access"?`}},
		{"what was said otherwise", smallest + "\ncontrol: {mode: '0660'}", []string{`2:11: control.mode: unknown key; did you mean "listen"?`}},
		{"rule without a role", smallest + "\ncontrol: {access: [{users: bob}]}", []string{"2:20: control.access[0].role: is missing; write none, viewer, operator or admin"}},
		{"rule for nobody", smallest + "\ncontrol: {access: [{role: viewer}]}", []string{"2:20: control.access[0].users: are missing, and so are groups: the rule names nobody; whom no rule names has the role of the listener"}},
		{"rule for no users", smallest + "\ncontrol: {access: [{role: viewer, users: []}]}", []string{"2:42: control.access[0].users: is empty, so the rule would name nothing; leave the key out instead"}},
		{"rule of a misspelt role", smallest + "\ncontrol: {access: [{role: opperator, users: bob}]}", []string{`2:27: control.access[0].role: must be none, viewer, operator or admin, got "opperator"; did you mean "operator"?`}},
		{"rule of a pool that is not there", smallest + "\ncontrol: {access: [{role: viewer, users: bob, pools: wbe}]}", []string{`2:54: control.access[0].pools: there is no pool "wbe"; did you mean "web"?`}},
		{"rule of pools that are not there", smallest + "\ncontrol: {access: [{role: viewer, users: bob, pools: [web, db]}]}", []string{`2:60: control.access[0].pools[1]: there is no pool "db"`}},
		{"narrowed admin", smallest + "\ncontrol: {access: [{role: admin, users: bob, pools: web}]}", []string{"2:53: control.access[0].pools: narrow what a viewer or an operator may do; reload, upgrade and shutdown concern every pool"}},
		{"narrowed nobody", smallest + "\ncontrol: {access: [{role: none, users: bob, pools: web}]}", []string{"2:52: control.access[0].pools: have no place in a rule that gives nothing; leave the key out"}},
		{"viewer's commands", smallest + "\ncontrol: {access: [{role: viewer, users: bob, commands: flush}]}", []string{"2:57: control.access[0].commands: narrow what an operator may do; a rule for a viewer has none"}},
		{"no name of a command", smallest + "\ncontrol: {access: [{role: operator, users: bob, commands: [a b]}]}", []string{`2:60: control.access[0].commands[0]: "a b" is no name of a command: 1 to 255 printable ASCII characters without spaces`}},
		{"rule's keys", smallest + "\ncontrol: {access: [{role: viewer, user: bob}]}", []string{`2:35: control.access[0].user: unknown key; did you mean "users"?`}},
		{"audit that must be nowhere", smallest + "\ncontrol: {audit_required: true}", []string{"2:27: control.audit_required: needs the file: write audit: /var/log/brood/audit; a log tells nobody that it has lost a line"}},

		// What follows from an error is left out, what does not is not.
		{"all at once", with("comand: [y]\nworkers: 0\nmin_ready: 5\nstop: {timeout: 3, signal: FOO}"), []string{
			`4:5: pools.web.comand: unknown key; did you mean "command"?`,
			"5:14: pools.web.workers: must be at least 1, got 0; leave the key out for the default, 1",
			"7:21: pools.web.stop.timeout: 3 what? write 3s or 3ms",
			`7:32: pools.web.stop.signal: there is no signal "FOO"`,
		}},
		{"command misspelt", "pools: {web: {comand: [y]}}", []string{`1:15: pools.web.comand: unknown key; did you mean "command"?`}},
	} {
		t.Run(c.name, func(t *testing.T) { wantErrors(t, c.text, c.want...) })
	}
}

// wantErrors wants these errors of text, to the letter.
func wantErrors(t *testing.T, text string, errs ...string) {
	t.Helper()
	_, err := Parse("b.yaml", []byte(text))
	want := "b.yaml:" + strings.Join(errs, "\nb.yaml:")
	if err == nil || err.Error() != want {
		t.Errorf("in:\n%s\ngot:\n%v\nwant:\n%s", text, err, want)
	}
}

// TestSocketPathTooLong: the limit is that of package control, which the socket is
// made by.
func TestSocketPathTooLong(t *testing.T) {
	parse := func(n int) error {
		_, err := Parse("b.yaml", []byte(smallest+"\ncontrol: {listen: {path: /"+strings.Repeat("x", n-1)+"}}"))
		return err
	}
	most := listen.MaxControlPath
	if runtime.GOOS == "linux" && most != 101 { // docs/config.md says so
		t.Errorf("a path may have %d bytes", most)
	}
	if err := parse(most); err != nil {
		t.Error(err)
	}
	want := fmt.Sprintf("b.yaml:2:26: control.listen.path: is %d bytes long, a socket's path may have %d;", most+1, most)
	if err := parse(most + 1); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got  %v\nwant %s…", err, want)
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"command", "workers", "min_ready", "dir", "env"}
	for _, c := range []struct{ word, want string }{
		{"wrokers", "workers"}, {"worker", "workers"}, {"WORKERS", "workers"}, {"comand", "command"}, {"commnads", "command"},
		{"min-ready", "min_ready"}, {"enf", "env"}, {"", ""}, {"x", ""}, {"user", ""}, {"cwd", "dir"}, {"chmod", ""},
		{strings.Repeat("command", 9), ""},
	} {
		if got := nearest(c.word, keys); got != c.want {
			t.Errorf("nearest(%q) = %q, want %q", c.word, got, c.want)
		}
	}
}
