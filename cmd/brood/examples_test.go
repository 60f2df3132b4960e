package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamples runs each of them.
func TestExamples(t *testing.T) {
	need(t, "go", "python3")
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "./examples/...")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	commands := func(t *testing.T, s *server) {
		for line, want := range map[string]string{
			"brood send web/1 echo hello world":     "hello world\n",
			"brood send web/1 sleep 10ms":           "slept 10ms\n",
			"brood send web/2 stats -o json":        `"calls":`,
			"brood send web/1 fail out of paper":    "out of paper",
			"brood send -o json web/1 echo a b":     `"result":"a b"`,
			"brood send --text 'plain text' @1 pid": "\n",
		} {
			r := shell(t, s.socket, line)
			wantIn(t, line, r.stdout+r.stderr, want)
		}
		pid := strings.TrimSpace(shell(t, s.socket, "brood send web/2 pid").stdout)
		wantIn(t, "pid", shell(t, s.socket, "brood status web/2").stdout, "pid ")
		wantIn(t, "pid", shell(t, s.socket, "brood status web/2").stdout, pid)
	}
	t.Run("echo", func(t *testing.T) {
		commands(t, serve(t, "-n", "2", "--name", "web", "--", filepath.Join(bin, "echo")))
	})
	t.Run("python", func(t *testing.T) {
		commands(t, servePython(t, filepath.Join(root, "examples/python/worker.py")))
	})
	t.Run("plain", func(t *testing.T) {
		s := serve(t, "-n", "2", "--name", "beat", "--", filepath.Join(root, "examples/plain/beat.sh"))
		until(t, "it beats", func() bool { return strings.Contains(s.log.String(), "beat/2 | beat 1 from beat/2") })
		r := shell(t, s.socket, "brood send beat/1 anything")
		if r.code != exitNotFound {
			t.Error(r)
		}
		wantIn(t, "send", r.stderr, "plain worker")
	})
	t.Run("embed", func(t *testing.T) {
		r := runCmd(t, "", exec.Command(filepath.Join(bin, "embed")))
		if r.code != 0 || r.stdout != "9 apples, by math/1\n16 apples, by math/2\n" {
			t.Error(r)
		}
	})
}

// servePython runs a Python worker by a configuration that waits for its word:
// on a busy machine it may take longer to say HELLO than a plain worker is given.
func servePython(t *testing.T, script string) *server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "brood.yaml")
	text := fmt.Sprintf("pools: {web: {command: [python3, %q], workers: 2, ready: {when: hello}}}\n", script)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return serve(t, "-c", path)
}

// TestDemo: it says what to type, and what it says works.
func TestDemo(t *testing.T) {
	dir := socketDir(t)
	socket := filepath.Join(dir, "control.sock")
	s := serveOn(t, socket, "--bad-flag-so-that-it-ends")
	<-s.ended
	wantIn(t, "usage", s.log.String(), "unknown flag")

	cmd := exec.Command(filepath.Join(binDir, "brood"), "demo", "--socket", socket)
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if r := shell(t, socket, "brood health --wait 60s"); r.code != 0 {
		t.Fatal(r)
	}
	for _, line := range strings.Split(demoText("brood", socket), "\n") {
		command, ok := strings.CutPrefix(line, "  ")
		if !ok || strings.HasSuffix(command, " shutdown") || strings.HasSuffix(command, " top") { // top wants a terminal
			continue
		}
		r := shell(t, "", command)
		if want := strings.HasSuffix(command, " fail"); (r.code != 0) != want {
			t.Errorf("%s: %v", command, r)
		}
	}
	if r := shell(t, socket, "brood shutdown"); r.code != 0 {
		t.Error(r)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	wantIn(t, "demo", out.String(), "In another terminal, try:")
}
