package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/internal/process"
)

// house is a directory with a program, a file that is none, and a directory.
func house(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"server": 0o755, "plain": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoad(t *testing.T) {
	dir := house(t)
	for _, c := range []struct {
		name, text string
		want       []string // HERE is dir; none: no error
	}{
		{"by path", "pools: {a: {command: [HERE/server]}}", nil},
		{"from dir", "pools: {a: {command: [./server], dir: HERE}}", nil},
		{"by its PATH", "pools: {a: {command: [server], env: {PATH: '/none:HERE'}}}", nil},
		{"through ..", "pools: {a: {command: [../server], dir: HERE/sub}}", nil},
		{"by number", "pools: {a: {command: [HERE/server]}}\ncontrol: {mode: '0660', group: 12345}", nil},

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
		{"group", "pools: {a: {command: [HERE/server]}}\ncontrol: {mode: '0660', group: no such group}", []string{
			`2:32: control.group: there is no group "no such group" on this system`,
		}},
		{"with the rest", "pools:\n  a: {command: [HERE/none], workers: 0}\n  b: {command: HERE/none}\n", []string{
			`2:16: pools.a.command: "HERE/none": no such file or directory`,
			`2:@: pools.a.workers: must be at least 1, got 0; leave the key out for the default, 1`,
			`3:16: pools.b.command: must be a list; write ["HERE/none"], or ["sh", "-c", "HERE/none"] if a shell must read it`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.ReplaceAll(c.text, "HERE", dir)
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
				_, err := process.LookPath(program, from, p.Environment())
				if f := checkProgram(p); (f == nil) != (err == nil) {
					t.Errorf("%s from %q in PATH %q: the check says %v, the spawn %v", program, from, path, f, err)
				}
			}
		}
	}
}
