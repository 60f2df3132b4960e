package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/internal/process"
)

// house is a directory with a program, a file that is none, a file of variables
// and a directory.
func house(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"server": 0o755, "plain": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nexit\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "path"), []byte("# where programs are\nPATH=/none:"+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoad(t *testing.T) {
	dir := house(t)
	_, err := supervisor.Pool{EnvFile: []string{filepath.Join(dir, "server")}}.Environment()
	if err == nil {
		t.Fatal("a program is read as a file of variables")
	}
	foreign := err.Error()
	for _, c := range []struct {
		name, text string
		want       []string // HERE is dir; none: no error
	}{
		{"by path", "pools: {a: {command: [HERE/server]}}", nil},
		{"from dir", "pools: {a: {command: [./server], dir: HERE}}", nil},
		{"by its PATH", "pools: {a: {command: [server], env: {PATH: '/none:HERE'}}}", nil},
		{"through ..", "pools: {a: {command: [../server], dir: HERE/sub}}", nil},
		{"by number", "pools: {a: {command: [HERE/server]}}\ncontrol: {listen: {mode: '0660', group: 12345}, access: [{role: admin, users: [12345, root], groups: 12345}]}", nil},

		{"not there", "pools: {a: {command: [HERE/none]}}", []string{`1:22: pools.a.command: "HERE/none": no such file or directory`}},
		{"not in dir", "pools: {a: {command: [./none], dir: HERE}}", []string{`1:22: pools.a.command: "HERE/none": no such file or directory`}},
		{"not executable", "pools: {a: {command: [HERE/plain]}}", []string{`1:22: pools.a.command: "HERE/plain" is not executable; chmod +x it`}},
		{"a directory", "pools: {a: {command: [HERE/sub]}}", []string{`1:22: pools.a.command: "HERE/sub" is a directory, not a program`}},
		{"no file", "pools: {a: {command: [/dev/null]}}", []string{`1:22: pools.a.command: "/dev/null" is not a file, and so no program`}},
		{"not in PATH", "pools: {a: {command: [nonesuch], env: {PATH: /none}}}", []string{
			`1:22: pools.a.command: there is no "nonesuch" in the worker's PATH (/none); write its path, or set PATH in env`,
		}},
		{"in dir, not in PATH", "pools: {a: {command: [server], dir: HERE, env: {PATH: '.:/none'}}}", []string{
			`1:22: pools.a.command: there is no "server" in the worker's PATH (.:/none); for the one in its directory write "./server"`,
		}},
		{"in PATH, not executable", "pools: {a: {command: [plain], env: {PATH: HERE}}}", []string{`1:22: pools.a.command: "HERE/plain" is not executable; chmod +x it`}},
		{"home", "pools: {a: {command: [./x], dir: ~/app}}", []string{
			`1:34: pools.a.dir: "~/app": no such file or directory; neither ~ nor $ is expanded, write the path in full`,
		}},
		{"dir a file", "pools: {a: {command: [HERE/server], dir: HERE/plain}}", []string{`1:@: pools.a.dir: "HERE/plain" is not a directory`}},
		{"files of variables", "pools: {a: {command: [server], env_file: [HERE/path, HERE/sub/../path]}}", nil},
		{"a check and a command", "pools: {a: {command: [HERE/server], dir: HERE/sub, ready: {exec: [../server]}, commands: {b: {exec: [../server]}, c: {exec: [sh]}}}}", nil},
		{"a socket", "pools: {a: {command: [HERE/server], listen: {a: 'unix://HERE/a.sock?user=0&group=0', b: 'tcp://:80'}}}", nil},
		{"its own user", "pools: {a: {command: [HERE/server], user: '%UID', group: '%GID'}}", nil},
		{"limits", "pools: {a: {command: [HERE/server], limits: {nofile: 10, core: 0, cpu: 60s}}}", nil},

		{"no file of variables", "pools: {a: {command: [HERE/server], env_file: HERE/none}}", []string{`1:@: pools.a.env_file: "HERE/none": no such file or directory`}},
		{"a file of something else", "pools: {a: {command: [HERE/server], env_file: HERE/server}}", []string{"1:@: pools.a.env_file: " + foreign}},
		{"files of variables, one missing", "pools:\n  a:\n    command: [HERE/server]\n    env_file:\n    - HERE/path\n    - HERE/sub\n    - $HOME/x", []string{
			`6:7: pools.a.env_file[1]: "HERE/sub" is not a file`,
			`7:7: pools.a.env_file[2]: "$HOME/x": no such file or directory; neither ~ nor $ is expanded, write the path in full`,
		}},
		{"a PATH that may be in a file", "pools: {a: {command: [nonesuch], env_file: HERE/none}}", []string{`1:@: pools.a.env_file: "HERE/none": no such file or directory`}},
		{"a PATH that is not", "pools: {a: {command: [nonesuch], env_file: HERE/none, env: {PATH: /none}}}", []string{
			`1:22: pools.a.command: there is no "nonesuch" in the worker's PATH (/none); write its path, or set PATH in env`,
			`1:@: pools.a.env_file: "HERE/none": no such file or directory`,
		}},
		{"programs beside it", "pools:\n  a:\n    command: [HERE/server]\n    ready: {exec: [HERE/none]}\n    commands: {b: {exec: [HERE/plain]}}", []string{
			`4:19: pools.a.ready.exec: "HERE/none": no such file or directory`,
			`5:26: pools.a.commands.b.exec: "HERE/plain" is not executable; chmod +x it`,
		}},
		{"user", "pools: {a: {user: no such user, command: [HERE/server]}}", []string{`1:19: pools.a.user: there is no user "no such user" on this system`}},
		{"group of the workers", "pools: {a: {group: no such group, command: [HERE/server]}}", []string{`1:20: pools.a.group: there is no group "no such group" on this system`}},
		{"user and group", "pools: {a: {user: no such user, group: no such group, command: [HERE/server]}}", []string{
			`1:19: pools.a.user: there is no user "no such user" on this system`,
			`1:40: pools.a.group: there is no group "no such group" on this system`,
		}},
		{"a socket in no directory", "pools: {a: {command: [HERE/server], listen: {a: 'unix://HERE/none/a.sock'}}}", []string{
			`1:@: pools.a.listen.a: "HERE/none": no such file or directory`,
		}},
		{"a socket of nobody's", "pools:\n  a:\n    command: [HERE/server]\n    listen:\n      a: 'unix://HERE/a.sock?user=no+such+user'\n      b: 'unix://HERE/b.sock?group=no+such+group'", []string{
			`5:10: pools.a.listen.a: there is no user "no such user" on this system`,
			`6:10: pools.a.listen.b: there is no group "no such group" on this system`,
		}},
		{"caller that nobody knows", "pools: {a: {command: [HERE/server]}}\ncontrol: {access: [{role: viewer, users: [root, nosuch], groups: nosuch}], audit: /no/such/dir/x}", []string{
			`2:49: control.access[0].users[1]: there is no user "nosuch" on this system`,
			`2:66: control.access[0].groups: there is no group "nosuch" on this system`,
			`2:83: control.audit: "/no/such/dir": no such file or directory`,
		}},
		{"group", "pools: {a: {command: [HERE/server]}}\ncontrol: {listen: {mode: '0660', group: no such group}}", []string{
			`2:41: control.listen.group: there is no group "no such group" on this system`,
		}},
		{"with the rest", "pools:\n  a: {command: [HERE/none], workers: 0}\n  b: {command: HERE/none}\n", []string{
			`2:16: pools.a.command: "HERE/none": no such file or directory`,
			`2:@: pools.a.workers: must be at least 1, got 0; leave the key out for the default, 1`,
			`3:16: pools.b.command: must be a list; write ["HERE/none"], or ["sh", "-c", "HERE/none"] if a shell must read it`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.NewReplacer("HERE", dir, "%UID", strconv.Itoa(os.Geteuid()), "%GID", strconv.Itoa(os.Getegid())).Replace(c.text)
			file := filepath.Join(t.TempDir(), "brood.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(file)
			got := unjoin(err)
			if len(got) != len(c.want) {
				t.Fatalf("%d errors, want %d:\n%v", len(got), len(c.want), err)
			}
			for i, want := range c.want {
				var e *Error
				if !errors.As(got[i], &e) {
					t.Fatalf("%T", got[i])
				}
				// Columns after HERE depend on its length: @ stands for them.
				want = strings.ReplaceAll(want, "HERE", dir)
				want = strings.Replace(want, ":@:", fmt.Sprintf(":%d:", e.Column), 1)
				if e.Error() != file+":"+want {
					t.Errorf("got  %v\nwant %s", e, file+":"+want)
				}
			}
		})
	}
}

// Only root can have workers of another user.
func TestLoadOfOtherUsers(t *testing.T) {
	const uid, gid = "54321", "54322" // of nobody
	for _, c := range []struct{ keys, at, user, group string }{
		{"user: '54321', group: '54322'", "user", uid, gid},
		{"group: '54322'", "group", "", gid},
		{"user: '54321'", "user", uid, ""},
	} {
		text := "pools: {a: {command: [/bin/sh], " + c.keys + "}}"
		look := func() error { _, err := process.LookupUser(c.user, c.group); return err }
		if err := look(); os.Geteuid() == 0 && (err != nil) != (c.group == "") {
			t.Errorf("%s: the spawn says %v to root", c.keys, err)
		}
		wantSame(t, text, c.at, look)
		asNobody(t, func() {
			if look() == nil {
				t.Errorf("%s: the spawn would do it without being root", c.keys)
			}
			wantSame(t, text, c.at, look)
		})
	}
}

// wantSame wants Load to say of a file with this text what look says, at a key
// of pool a. The file is not made: nobody could read it.
func wantSame(t *testing.T, text, key string, look func() error) {
	t.Helper()
	src := newSource("b.yaml")
	f := src.parse([]byte(text))
	src.checkSystem(f)
	_, err := src.result(f)
	want := look()
	if (err == nil) != (want == nil) {
		t.Errorf("Load says %v, the spawn %v", err, want)
		return
	}
	var e *Error
	if errors.As(err, &e) && (e.Path != "pools.a."+key || e.Problem != want.Error()) {
		t.Errorf("Load says %v, the spawn %v at %s", e, want, key)
	}
}

func TestLoadKeepsTheSystemsError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "brood.yaml")
	if err := os.WriteFile(file, []byte("pools: {a: {command: [/none/such]}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

// What is found here must be found by the spawn, and the other way round.
func TestProgramsAreFoundAsTheSpawnDoes(t *testing.T) {
	dir := house(t)
	t.Chdir(dir)
	for _, path := range []string{dir, ".", "", ":" + dir, "/none:" + dir} {
		for _, program := range []string{"server", "./server", "plain", "./plain", "sub", "sub/../server", "none", dir + "/server", dir + "/none"} {
			for _, from := range []string{"", dir, "sub"} {
				p := supervisor.Pool{Name: "a", Command: []string{program}, Dir: from, Env: map[string]string{"PATH": path}}
				env, err := p.Environment()
				if err == nil {
					_, err = process.LookPath(program, from, env)
				}
				if f := checkProgram(p, program); (f == nil) != (err == nil) {
					t.Errorf("%s from %q in PATH %q: the check says %v, the spawn %v", program, from, path, f, err)
				}
			}
		}
	}
}
