package config

import (
	"strings"
	"testing"

	"example.com/brood/supervisor/internal/listen"
	"example.com/brood/supervisor/internal/probe"
)

// Errors about what a worker is given, how it is replaced and what it is sent.
func TestPoolErrors(t *testing.T) {
	for _, c := range []struct {
		name, lines string
		want        []string // in line 4 and after; without "b.yaml:"
	}{
		// The environment.
		{"env_file empty", "env_file: ''", []string{"4:15: pools.web.env_file: must not be empty; leave the key out instead"}},
		{"env_file of none", "env_file: []", []string{"4:15: pools.web.env_file: is empty; leave the key out instead"}},
		{"env_file a mapping", "env_file: {a: b}", []string{"4:15: pools.web.env_file: must be a list of texts, or one text, got a mapping"}},
		{"env_file, one empty", "env_file: [a, '']", []string{"4:19: pools.web.env_file[1]: must not be empty; leave the key out instead"}},
		{"clean_env yes", "clean_env: yes", []string{`4:16: pools.web.clean_env: must be true or false, got "yes"; did you mean "true"?`}},
		{"clean_env quoted", `clean_env: "true"`, []string{`4:16: pools.web.clean_env: must be true or false, got the text "true"; leave the quotes out`}},
		{"clean_env 1", "clean_env: 1", []string{"4:16: pools.web.clean_env: must be true or false, got 1"}},
		{"clean_env a list", "clean_env: [true]", []string{"4:16: pools.web.clean_env: must be true or false, got a list"}},
		{"clean_env misspelt", "clean_env: flase", []string{`4:16: pools.web.clean_env: must be true or false, got "flase"; did you mean "false"?`}},

		// Who the worker is.
		{"user empty", "user: ''", []string{"4:11: pools.web.user: must not be empty; leave the key out instead"}},
		{"user too large", "user: 4294967295", []string{"4:11: pools.web.user: must be a name or a number from 0 to 4294967294, got 4294967295"}},
		{"group a list", "group: [a]", []string{"4:12: pools.web.group: must be text, got a list"}},
		{"uid", "uid: 33", []string{`4:5: pools.web.uid: unknown key; did you mean "user"?`}},
		{"umask decimal", "umask: 22", []string{`4:12: pools.web.umask: must be an octal mask with a leading 0 such as "0027", got 22`}},
		{"umask 0", "umask: 0", []string{`4:12: pools.web.umask: must be an octal mask with a leading 0 such as "0027", got 0`}},
		{"umask no octal", "umask: '0028'", []string{`4:12: pools.web.umask: must be an octal mask with a leading 0 such as "0027", got "0028"`}},
		{"umask too large", "umask: '01777'", []string{"4:12: pools.web.umask: must be at most 0777, got 01777"}},
		{"nice", "nice: -21", []string{"4:11: pools.web.nice: must be -20 to 19, got -21"}},
		{"nice a word", "nice: low", []string{`4:11: pools.web.nice: must be a whole number of -20 to 19, got "low"`}},
		{"oom_score_adj", "oom_score_adj: 1001", []string{"4:20: pools.web.oom_score_adj: must be -1000 to 1000, got 1001"}},

		// Limits.
		{"limit unknown", "limits: {nofiles: 1}", []string{`4:14: pools.web.limits.nofiles: unknown key; did you mean "nofile"?`}},
		{"limit unknown, far", "limits: {colour: 1}", []string{"4:14: pools.web.limits.colour: unknown key; the keys here are nofile, nproc, core, cpu, fsize, data, stack, as, rss, memlock, locks, msgqueue, sigpending, nice, rtprio and rttime"}},
		{"limit of nothing", "limits: {nofile: }", []string{"4:14: pools.web.limits.nofile: has no value; write one, or leave the key out"}},
		{"limit a word", "limits: {nofile: many}", []string{`4:22: pools.web.limits.nofile: must be a number such as 65536, unlimited, or two of them with / between, soft and hard, got "many"`}},
		{"limit half", "limits: {nproc: 100/}", []string{`4:21: pools.web.limits.nproc: must be a number such as 65536, unlimited, or two of them with / between, soft and hard, got ""`}},
		{"limit too large", "limits: {nproc: 9223372036854775808}", []string{"4:21: pools.web.limits.nproc: 9223372036854775808 is too large; write unlimited"}},
		{"limit backwards", "limits: {nproc: 200/100}", []string{"4:21: pools.web.limits.nproc: the soft limit (200) is above the hard one (100)"}},
		{"limit backwards, bytes", "limits: {data: unlimited/1GiB}", []string{"4:20: pools.web.limits.data: the soft limit (unlimited) is above the hard one (1GiB)"}},
		{"limit in bytes without unit", "limits: {data: 1024}", []string{"4:20: pools.web.limits.data: 1024 what? write 1024MiB or 1024KiB"}},
		{"limit in time without unit", "limits: {cpu: 60}", []string{"4:19: pools.web.limits.cpu: 60 what? write 60s or 60ms"}},
		{"limit in time, too fine", "limits: {cpu: 1500ms}", []string{"4:19: pools.web.limits.cpu: is counted in steps of 1s, got 1500ms"}},
		{"limit in time, none", "limits: {rttime: 0s}", []string{"4:22: pools.web.limits.rttime: is counted in steps of 1µs, got 0s"}},
		{"limit with a largest", "limits: {nice: 41, rtprio: 100}", []string{
			"4:20: pools.web.limits.nice: must be at most 40, got 41",
			"4:32: pools.web.limits.rtprio: must be at most 99, got 100",
		}},
		{"limit a list", "limits: {core: [1]}", []string{"4:20: pools.web.limits.core: must be a limit such as 1GiB, got a list"}},

		// Sizes.
		{"size without unit", "cgroup: {memory: 512}", []string{"4:22: pools.web.cgroup.memory: 512 what? write 512MiB or 512KiB"}},
		{"size in short", "cgroup: {memory: 512m}", []string{`4:22: pools.web.cgroup.memory: "512m" is no size, units are written in full; did you mean "512MiB"?`}},
		{"size in thousands", "cgroup: {memory: 512 MB}", []string{`4:22: pools.web.cgroup.memory: "512 MB" is no size, units are written in full; did you mean "512MiB"?`}},
		{"size in bytes", "cgroup: {memory: 512b}", []string{`4:22: pools.web.cgroup.memory: "512b" is no size; did you mean "512B"?`}},
		{"size a fraction", "cgroup: {memory: 1.5GiB}", []string{`4:22: pools.web.cgroup.memory: must be a size, a whole number and its unit (B, KiB, MiB, GiB or TiB) such as 512MiB, got "1.5GiB"`}},
		{"size too large", "cgroup: {memory: 8388608TiB}", []string{"4:22: pools.web.cgroup.memory: 8388608TiB is too large; brood counts to 8388607TiB"}},
		{"size of nothing", "cgroup: {memory: 0, pids: 0}", []string{
			"4:22: pools.web.cgroup.memory: must be more than 0; leave the key out for no limit",
			"4:31: pools.web.cgroup.pids: must be at least 1, got 0",
		}},
		{"size a mapping", "recycle: {memory: {a: b}}", []string{"4:23: pools.web.recycle.memory: must be a size such as 512MiB, got a mapping"}},

		// Sockets.
		{"listen a text", "listen: tcp://:80", []string{`4:13: pools.web.listen: must be a mapping (key: value), got "tcp://:80"`}},
		{"listen a number", "listen: {http: [80]}", []string{`4:20: pools.web.listen.http: must be an address such as tcp://127.0.0.1:8080, got a list`}},
		{"listen by a bad name", "listen: {'a:b': 'tcp://:80', 'a b': 'tcp://:81'}", []string{
			`4:14: pools.web.listen.a:b: "a:b" is no name of a socket: 1 to 255 printable ASCII characters without spaces and colons`,
			`4:34: pools.web.listen.a b: "a b" is no name of a socket: 1 to 255 printable ASCII characters without spaces and colons`,
		}},
		{"listen twice", "listen: {a: 'tcp://127.0.0.1:80', b: 'tcp://[::ffff:127.0.0.1]:80', c: 'udp://127.0.0.1:80'}", []string{
			"4:42: pools.web.listen.b: this is the address of pools.web.listen.a already; choose another",
		}},

		// Readiness.
		{"ready by two", "ready:\n  tcp: 127.0.0.1:80\n  log: up", []string{"6:12: pools.web.ready.log: one thing makes a worker ready, and tcp is there already; keep one of the two"}},
		{"ready by three", "ready: {log: a, tcp: 'a:1', when: http, http: 'http://a'}", []string{
			"4:26: pools.web.ready.tcp: one thing makes a worker ready, and log is there already; keep one of the two",
			"4:51: pools.web.ready.http: one thing makes a worker ready, and log is there already; keep one of the two",
		}},
		{"ready by another", "ready: {when: auto, tcp: '127.0.0.1:80'}", []string{
			"4:30: pools.web.ready.tcp: is for when: tcp, and when is auto; leave one of the two out",
		}},
		{"ready without what", "ready: {when: log}", []string{`4:19: pools.web.ready.when: log needs the key log beside it, such as log: "listening on"`}},
		{"ready without exec", "ready: {when: exec}", []string{`4:19: pools.web.ready.when: exec needs the key exec beside it, such as exec: ["./check"]`}},
		{"ready without http", "ready: {when: http}", []string{`4:19: pools.web.ready.when: http needs the key http beside it, such as http: "http://127.0.0.1:8080/healthz"`}},
		{"ready without tcp", "ready: {when: tcp}", []string{`4:19: pools.web.ready.when: tcp needs the key tcp beside it, such as tcp: "127.0.0.1:8080"`}},
		{"ready by a mapping", "ready: {tcp: {port: 80}}", []string{"4:18: pools.web.ready.tcp: must be an address such as 127.0.0.1:8080, got a mapping"}},
		{"ready with what is wrong", "ready: {when: log, log: ''}", []string{"4:29: pools.web.ready.log: must not be empty; leave the key out instead"}},
		{"ready with both wrong", "ready: {when: lgo, log: ''}", []string{
			`4:19: pools.web.ready.when: must be auto, hello, notify, alive, log, exec, http, tcp or exit, got "lgo"; did you mean "log"?`,
			"4:29: pools.web.ready.log: must not be empty; leave the key out instead",
		}},
		{"exec a text", "ready: {exec: ./check -q}", []string{`4:19: pools.web.ready.exec: must be a list; write ["./check", "-q"], or ["sh", "-c", "./check -q"] if a shell must read it`}},
		{"log, open", `ready: {log: "a(b"}`, []string{"4:18: pools.web.ready.log: is no regular expression (RE2): missing closing ), at its end"}},
		{"log, closed", `ready: {log: "é(b)) (c"}`, []string{"4:18: pools.web.ready.log: is no regular expression (RE2): unexpected ) at character 5: )"}},
		{"log, closed at the end", `ready: {log: "b)"}`, []string{"4:18: pools.web.ready.log: is no regular expression (RE2): unexpected ) at character 2: )"}},
		{"log, class", `ready: {log: "up [z-a]"}`, []string{"4:18: pools.web.ready.log: is no regular expression (RE2): invalid character class range at character 5: z-a"}},
		{"log, repeated", `ready: {log: "up**"}`, []string{"4:18: pools.web.ready.log: is no regular expression (RE2): invalid nested repetition operator at character 3: **"}},
		{"log, for a terminal", `ready: {log: "a[z-\e]"}`, []string{`4:18: pools.web.ready.log: is no regular expression (RE2): invalid character class range at character 3: "z-\x1b"`}},
		{"log, whole", `ready: {log: "*"}`, []string{"4:18: pools.web.ready.log: is no regular expression (RE2): missing argument to repetition operator"}},
		{"log, backslash", `ready: {log: 'a\'}`, []string{"4:18: pools.web.ready.log: is no regular expression (RE2): trailing backslash at end of expression, at its end"}},
		{"log too long", "ready: {log: " + strings.Repeat("x", 1001) + "}", []string{"4:18: pools.web.ready.log: is 1001 bytes long, a regular expression may have 1000"}},

		// Health.
		{"beat", "health: {beat: 5}", []string{"4:20: pools.web.health.beat: 5 what? write 5s or 5ms"}},
		{"beat a word", "health: {beat: on}", []string{`4:20: pools.web.health.beat: must be a duration, a number and its unit (ms, s, m or h) such as 5s (or off), got "on"`}},
		{"dump", "health: {dump: ABORT}", []string{`4:20: pools.web.health.dump: there is no signal "ABORT"; did you mean "ABRT"?`}},
		{"dump that kills", "health: {dump: KILL}", []string{"4:20: pools.web.health.dump: KILL ends a worker before it can tell anything; write QUIT or another one that it can answer"}},
		{"dump that freezes", "health: {dump: STOP}", []string{"4:20: pools.web.health.dump: STOP freezes a worker, which then tells nothing; write QUIT or another one that it can answer"}},
		{"dump a list", "health: {dump: [QUIT]}", []string{"4:20: pools.web.health.dump: must be the name of a signal such as QUIT, got a list"}},

		// Restarts, rollouts, recycling.
		{"rate of none", "restart: {rate: 0/1s}", []string{"4:21: pools.web.restart.rate: must allow at least 1 restart, got 0; for none write when: never, for no limit write rate: off"}},
		{"rate a number", "restart: {rate: 10}", []string{"4:21: pools.web.restart.rate: must be a number and a time such as 10/1s, or off, got 10"}},
		{"nothing may happen", "rollout: {surge: 0, unavailable: 0}", []string{
			"4:22: pools.web.rollout.surge: is 0 and so is unavailable: no worker could ever be replaced; write surge: 1 for the new one beside the old, or unavailable: 1 for the new one in its place",
		}},
		{"nothing may happen, half said", "rollout: {surge: 0}", []string{
			"4:22: pools.web.rollout.surge: is 0 and so is unavailable: no worker could ever be replaced; write surge: 1 for the new one beside the old, or unavailable: 1 for the new one in its place",
		}},
		{"something may, but what", "rollout: {surge: 0, unavailable: one}", []string{`4:38: pools.web.rollout.unavailable: must be a whole number of at least 0, got "one"`}},
		{"surge", "rollout: {surge: -1}", []string{"4:22: pools.web.rollout.surge: must be at least 0, got -1"}},
		{"surge in percent", "rollout: {surge: 25%}", []string{`4:22: pools.web.rollout.surge: must be a whole number of at least 0, got "25%"`}},
		{"another's word", "rollout: {max_surge: 1}", []string{`4:15: pools.web.rollout.max_surge: unknown key; did you mean "surge"?`}},
		{"soak", "rollout: {soak: 1}", []string{"4:21: pools.web.rollout.soak: 1 what? write 1s or 1ms"}},
		{"jitter", "recycle: {jitter: 0.1}", []string{"4:23: pools.web.recycle.jitter: 0.1 what? write a percentage such as 10%"}},
		{"jitter too large", "recycle: {jitter: 101%}", []string{"4:23: pools.web.recycle.jitter: must be 0% to 100%, got 101%"}},
		{"jitter a word", "recycle: {jitter: off}", []string{`4:23: pools.web.recycle.jitter: must be a percentage such as 10%, got "off"`}},
		{"age", "recycle: {age: 1d}", []string{`4:20: pools.web.recycle.age: must be a duration, a number and its unit (ms, s, m or h) such as 24h (or off), got "1d"`}},
		{"commands of a worker", "recycle: {commands: -1}", []string{"4:25: pools.web.recycle.commands: must be at least 0, got -1"}},

		// Commands.
		{"concurrency", "dispatch: {concurrency: 0}", []string{"4:29: pools.web.dispatch.concurrency: must be at least 1, got 0; leave the key out for the default, 1"}},
		{"queue", "dispatch: {queue: off}", []string{`4:23: pools.web.dispatch.queue: must be a whole number of at least 0, got "off"`}},
		{"command without", "commands: {reopen: }", []string{`4:16: pools.web.commands.reopen: needs what carries it out: write {signal: USR1} or {exec: ["./program"]}`}},
		{"command with both", "commands: {reopen: {signal: USR1, exec: [a]}}", []string{"4:24: pools.web.commands.reopen: has both signal and exec; keep one"}},
		{"command misspelt", "commands: {reopen: {singal: USR1}}", []string{`4:25: pools.web.commands.reopen.singal: unknown key; did you mean "signal"?`}},
		{"command by a bad name", "commands: {'re open': {signal: USR1}}", []string{
			`4:16: pools.web.commands.re open: "re open" is no name of a command: 1 to 255 printable ASCII characters without spaces`,
		}},
		{"command a text", "commands: {reopen: USR1}", []string{`4:24: pools.web.commands.reopen: must be a mapping (key: value), got "USR1"`}},
		{"command's program", "commands: {rotate: {exec: ./rotate.sh}}", []string{
			`4:31: pools.web.commands.rotate.exec: must be a list; write ["./rotate.sh"], or ["sh", "-c", "./rotate.sh"] if a shell must read it`,
		}},

		// Order.
		{"after a text", "after: cache", []string{`4:12: pools.web.after: must be a list of names of pools, such as [cache], got "cache"`}},
		{"after itself", "after: [web]", []string{"4:12: pools.web.after: it comes after itself: web after web"}},
		{"after none", "after: [wbe, cache]", []string{
			`4:13: pools.web.after[0]: there is no pool "wbe"; did you mean "web"?`,
			`4:18: pools.web.after[1]: there is no pool "cache"`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantErrors(t, with(c.lines), c.want...) })
	}
}

// Errors that more than one pool has a part in.
func TestErrorsBetweenPools(t *testing.T) {
	wantErrors(t, `
pools:
  a: {command: [x], after: [b]}
  b: {command: [x], after: [c]}
  c: {command: [x], after: [a, d]}
  d: {command: [x]}
`,
		"3:28: pools.a.after: it comes after itself: a after b after c after a",
		"4:28: pools.b.after: it comes after itself: b after c after a after b",
		"5:28: pools.c.after: it comes after itself: c after a after b after c")
	wantErrors(t, "pools: {a: {command: [x], after: [b]}, b: [x]}\n", "1:43: pools.b: must be a mapping (key: value), got a list")
	wantErrors(t, `
pools:
  b: {command: [x], listen: {http: "unix:///run/a.sock"}}
  a: {command: [x], listen: {http: "unix:///run/./a.sock?mode=0600"}}
`, "4:36: pools.a.listen.http: this is the address of pools.b.listen.http already; choose another")
}

// What an address says is not said to a terminal.
func TestAddressForATerminal(t *testing.T) {
	_, err := Parse("b.yaml", []byte(with(`listen: {a: "unix://\e[1m"}`)))
	if err == nil || strings.ContainsRune(err.Error(), '\x1b') {
		t.Errorf("got %q", err)
	}
}

// What is no address is said in the words of who is to use it.
func TestAddressErrors(t *testing.T) {
	listens := func(text string) error { _, err := listen.Parse(text); return err }
	asks := func(text string) error { _, err := probe.ParseHTTP(text); return err }
	connects := func(text string) error { _, err := probe.ParseTCP(text); return err }
	for _, c := range []struct {
		lines, at string
		parse     func(string) error
		texts     []string
	}{
		{"listen: {http: '%s'}", "4:20: pools.web.listen.http: ", listens, []string{
			"", "8080", ":8080", "http://127.0.0.1:80", "tcp://localhost:80", "tcp://:99999", "unix://run/a", "unix:///run/", "unix:///a?mode=9", "unix:///a?color=1",
		}},
		{"ready: {http: '%s'}", "4:19: pools.web.ready.http: ", asks, []string{
			"", "127.0.0.1:8080/healthz", "https://127.0.0.1/", "http://", "http://a:b@host/", "http://:8080/", "http://127.0.0.1:99999/", "unix:/run/app.sock", "unix:/run/app.sock:healthz",
		}},
		{"ready: {when: tcp, tcp: '%s'}", "4:29: pools.web.ready.tcp: ", connects, []string{
			"", "8080", ":8080", "localhost:http", "localhost:0", "unix:app.sock", "unix:/run/",
		}},
	} {
		for _, text := range c.texts {
			if err := c.parse(text); err == nil {
				t.Errorf("%q is an address now", text)
			} else {
				wantErrors(t, with(strings.Replace(c.lines, "%s", text, 1)), c.at+err.Error())
			}
		}
	}
}
