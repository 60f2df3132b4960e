package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// conforms runs `brood conformance` on a worker and returns what it says. The worker
// leaves nothing behind, as far as /proc tells.
func conforms(t *testing.T, flags []string, worker ...string) conformed {
	t.Helper()
	t.Setenv("CONFORMS", t.TempDir())
	defer func() {
		for _, pid := range marked("CONFORMS=" + os.Getenv("CONFORMS")) {
			cmdline, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
			t.Errorf("process %s is left: %q", pid, cmdline)
		}
	}()
	args := append(append([]string{"conformance", "-o", "json", "--timeout", "30s"}, flags...), "--")
	r := runCmd(t, "", exec.Command(filepath.Join(binDir, "brood"), append(args, worker...)...))
	var got conformed
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v: %v", err, r)
	}
	for _, c := range got.Checks {
		if c.Outcome == "fail" {
			t.Errorf("%s (%s): %s", c.Name, c.About, c.Text)
		}
	}
	if (r.code == 0) != (got.Failed == 0) {
		t.Errorf("%d checks failed, exit code %d", got.Failed, r.code)
	}
	return got
}

// marked are the processes that have the mark in their environment.
func marked(mark string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		pid := filepath.Base(filepath.Dir(path))
		env, err := os.ReadFile(path)
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// passes holds a worker against everything but what its own tests hold it
// against with the same vectors.
func passes(t *testing.T, skipped int, worker ...string) {
	t.Helper()
	got := conforms(t, []string{"--only", "hello,ready,inode,cloexec,limits,ping,echo,overloaded,cancel,deadline,own-call,event,retire,stream,progress,fds,drain,eof," +
		"session/drain,session/idle-drain,session/message-too-long,rule/magic"}, worker...)
	if got.Skipped > skipped {
		for _, c := range got.Checks {
			if c.Outcome == "skipped" {
				t.Logf("%s: %s", c.Name, c.Text)
			}
		}
		t.Errorf("%d checks were skipped, want at most %d", got.Skipped, skipped)
	}
}

func TestConformanceGo(t *testing.T) {
	if got := conforms(t, nil, filepath.Join(binDir, "echo-worker")); got.Passed < 90 || got.Skipped > 0 {
		t.Errorf("%d passed, %d skipped", got.Passed, got.Skipped)
	}
}

func TestConformancePython(t *testing.T) {
	need(t, "python3")
	python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output() // python3 may be a slow wrapper
	if err != nil {
		t.Fatal(err)
	}
	passes(t, 0, strings.TrimSpace(string(python)), "../../examples/python/worker.py")
}

// Node can't take descriptors: seven checks are of those.
func TestConformanceNode(t *testing.T) {
	need(t, "node")
	passes(t, 7, "node", "../../examples/node/worker.js")
}

// With sanitizers, whose findings would be files.
func TestConformanceC(t *testing.T) {
	need(t, "gcc")
	dir := t.TempDir()
	out, err := exec.Command("gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
		"-o", filepath.Join(dir, "worker"), "../../examples/c/worker.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("ASAN_OPTIONS", "log_path="+filepath.Join(dir, "found"))
	t.Setenv("UBSAN_OPTIONS", "log_path="+filepath.Join(dir, "found"))
	if got := conforms(t, nil, filepath.Join(dir, "worker")); got.Passed < 90 || got.Skipped > 0 {
		t.Errorf("%d passed, %d skipped", got.Passed, got.Skipped)
	}
	found, err := filepath.Glob(filepath.Join(dir, "found*"))
	if err != nil || len(found) > 0 {
		b, _ := os.ReadFile(found[0])
		t.Errorf("%v\n%s", err, b)
	}
}

// A script is a program for each command, and offers no more than five: six checks
// are of others.
func TestConformanceShell(t *testing.T) {
	need(t, "sh", "seq", "awk")
	if got := conforms(t, nil, "../../examples/shell/worker.sh"); got.Passed < 85 || got.Skipped > 6 {
		t.Errorf("%d passed, %d skipped", got.Passed, got.Skipped)
	}
}

func TestConformanceUsage(t *testing.T) {
	for line, want := range map[string]string{
		"brood conformance":                                "which worker?",
		"brood conformance -- no-such-program":             "no-such-program",
		"brood conformance --only no-such-check -- true":   "no check is called",
		"brood conformance --timeout 0s -- true":           "more than 0",
		"brood conformance -o yaml -- true":                "text or json",
		"brood conformance --only ready --timeout 1s true": "",
	} {
		r := shell(t, "", line)
		if want == "" {
			if r.code != exitError || !strings.Contains(r.stdout, "fail     ready") || !strings.Contains(r.stdout, "0 passed, 1 failed, 0 skipped") {
				t.Errorf("%s: %v", line, r)
			}
			continue
		}
		if r.code != exitUsage {
			t.Errorf("%s: %v", line, r)
		}
		wantIn(t, line, r.stderr, want)
	}
	r := shell(t, "", "brood conformance --list")
	wantIn(t, "list", r.stdout, "\nstream/credit\n")
	doc, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSpace(r.stdout), "\n") {
		if part, _, _ := strings.Cut(name, "/"); part == "session" || part == "rule" {
			name = part + "/…"
		}
		wantIn(t, "docs/conformance.md", string(doc), "`"+name+"`")
	}
}
