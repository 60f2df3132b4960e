package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

// script writes an executable file and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWorkerCommands(t *testing.T) {
	need(t, "sh", "seq")
	s := serve(t, "-n", "1", "--name", "web", "--", filepath.Join(binDir, "brood"), "worker",
		"--on", `args=printf '[%s]'`, "--on", "in=cat; true", "--on", "no=echo broken >&2; exit 3;", "--on", "env=echo $BROOD_COMMAND $BROOD_WORKER ${BROOD_FD-none};",
		"--on-stream", "count=seq", "--on", "big=head -c 20000000 /dev/zero; true", "--on", "slow=sleep 100; true", "--", "sleep", "1000")
	for line, want := range map[string]result{
		"brood send web/1 args a 'b c' ''":       {stdout: "[a][b c][]\n"},
		"brood send web/1 args":                  {stdout: "[]\n"},
		"brood send --text 'some text' web/1 in": {stdout: "some text\n"},
		`brood send --json '{"a": 1}' web/1 in`:  {stdout: "{\"a\":1}\n"},
		"brood send web/1 env":                   {stdout: "env web/1 none\n"},
		"brood send web/1 count 3":               {stdout: "1\n2\n3\n"},
		"brood send web/1 no x":                  {code: exitError, stderr: "broken"},
		"brood send web/1 big":                   {code: exitError, stderr: "more than 16777216 bytes"},
		"brood send --timeout 300ms web/1 slow":  {code: exitTimeout},
		"brood send web/1 unheard-of":            {code: exitNotFound},
	} {
		r := shell(t, s.socket, line)
		if r.code != want.code || want.stdout != "" && r.stdout != want.stdout || !strings.Contains(r.stderr, want.stderr) {
			t.Errorf("%s: %v\nwant %v", line, r, want)
		}
	}
	r := shell(t, s.socket, "brood send -o json web/1 no x")
	wantIn(t, "json", r.stdout+r.stderr, `"exit":3`)
}

// What comes along with a command is closed, whether it is served or not.
func TestWorkerClosesDescriptors(t *testing.T) {
	need(t, "sh")
	var c calls
	c.begin()
	h := c.handler(program{name: "any", line: "true"})
	for _, what := range []string{"served", "refused"} {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		_, err = h(t.Context(), &worker.Request{Message: ipc.Message{Files: []*os.File{f}}})
		if (err == nil) != (what == "served") {
			t.Errorf("%s: %v", what, err)
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: the descriptor was left open: %v", what, err)
		}
		c.end()
	}
}

// The program gets the signals, its status is the worker's, and a drain ends it.
func TestWorkerProgram(t *testing.T) {
	need(t, "sh")
	dir := t.TempDir()
	program := script(t, `trap 'echo usr1 >> `+dir+`/said' USR1
trap 'echo term >> `+dir+`/said; exit 0' TERM
echo up >> `+dir+`/said
while :; do sleep 0.05; done
`)
	s := serve(t, "-n", "1", "--name", "web", "--", filepath.Join(binDir, "brood"), "worker",
		"--ready", "test -e "+dir+"/said", "--on", "leave=kill -USR1 $(cat "+dir+"/pid);", "--", program)
	if r := shell(t, s.socket, "brood restart web --wait 30s"); r.code != 0 {
		t.Fatal(r)
	}
	const want = "up\nterm\nup\n"
	until(t, fmt.Sprintf("the program has said %q", want), func() bool {
		said, err := os.ReadFile(filepath.Join(dir, "said"))
		if err != nil {
			t.Fatal(err)
		}
		return string(said) == want
	})
}

func TestWorkerStatus(t *testing.T) {
	need(t, "sh")
	for line, want := range map[string]string{"exit 7": "exit code 7 ", "kill -KILL $$": "exit code 137 "} {
		up := filepath.Join(t.TempDir(), "up")
		s := serve(t, "-n", "1", "--name", "web", "--", filepath.Join(binDir, "brood"), "worker", "--ready", "test -e "+up, "--on", "end=kill -USR2 $PPID;", "--",
			script(t, `trap '`+line+`' USR2; echo >`+up+`; while :; do sleep 0.05; done`))
		shell(t, s.socket, "brood send web/1 end")
		if !comes(func() bool { return strings.Contains(s.log.String(), want) }) {
			t.Fatalf("%s: no %s in\n%s", line, want, s.log)
		}
	}
}

func TestWorkerUsage(t *testing.T) {
	for line, want := range map[string]string{
		"brood worker --on flush -- true":               "NAME=PROGRAM",
		"brood worker --on 'two words=x' -- true":       "NAME=PROGRAM",
		"brood worker --on a=x --on-stream a=y -- true": "two programs",
		"brood worker --parallel 0 -- true":             "at least 1",
	} {
		r := shell(t, "", line)
		if r.code != exitUsage {
			t.Errorf("%s: %v", line, r)
		}
		wantIn(t, line, r.stderr, want)
	}
	r := shell(t, "", "brood worker -- true")
	if want := "brood: `brood worker` is what brood runs: `brood run -- brood worker …`\n"; r.code != exitError || r.stderr != want {
		t.Errorf("alone: %v, want %q", r, want)
	}
}
