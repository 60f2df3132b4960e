//go:build unix

// Package c_test runs the tests of the C worker library among Go's.
package c_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/brood/docs/vectors"
	"example.com/brood/ipc"
	"example.com/brood/worker/internal/foreign"
)

var strict = []string{"-std=c99", "-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wshadow", "-g", "-O1"}

// build compiles the tests.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	foreign.Need(t, "gcc")
	foreign.Reads(t, "brood.h", "testdata/test.c", "../../examples/c/worker.c")
	out := filepath.Join(t.TempDir(), "test")
	run(t, exec.Command("gcc", append(append(strict, flags...), "-o", out, "testdata/test.c")...))
	return out
}

func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

var sanitized = []string{"-fsanitize=address,undefined", "-fno-sanitize-recover=all"}

func TestAPI(t *testing.T) {
	test := build(t, sanitized...)
	if out := run(t, exec.Command(test, "api")); out != "done\n" {
		t.Error(out)
	}
}

func TestValgrind(t *testing.T) {
	foreign.Need(t, "valgrind")
	run(t, exec.Command("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--track-fds=no", build(t), "api"))
}

// As C of other years, and as C++, with and without the implementation.
func TestCompilers(t *testing.T) {
	foreign.Need(t, "gcc", "g++")
	dir := t.TempDir()
	for name, define := range map[string]string{"all": "#define BROOD_IMPLEMENTATION\n", "header": ""} {
		for ext, compilers := range map[string][][]string{
			"c":   {{"gcc", "-std=c99"}, {"gcc", "-std=gnu99"}, {"gcc", "-std=c11"}, {"gcc", "-std=c17", "-O3"}},
			"cpp": {{"g++", "-std=c++11"}, {"g++", "-std=c++20", "-O2"}},
		} {
			path := filepath.Join(dir, name+"."+ext)
			if err := os.WriteFile(path, []byte(define+"#include \"brood.h\"\nint main(void) { return brood_now() < 0; }\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, c := range compilers {
				run(t, exec.Command(c[0], append(c[1:], "-Wall", "-Wextra", "-Werror", "-Wpedantic", "-I.", "-c", "-o", filepath.Join(dir, "out.o"), path)...))
			}
		}
	}
}

// ask writes lines to the test program and returns its answers.
func ask(t *testing.T, lines []string) []string {
	t.Helper()
	cmd := exec.Command(build(t, sanitized...))
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	answers := strings.Split(strings.TrimSuffix(run(t, cmd), "\n"), "\n")
	if len(answers) != len(lines) {
		t.Fatalf("%d answers to %d lines", len(answers), len(lines))
	}
	return answers
}

func TestVectors(t *testing.T) {
	var lines, want []string
	for _, v := range vectors.Frames() {
		lines = append(lines, "parse "+hex.EncodeToString(v.Hex))
		want = append(want, fmt.Sprintf("frame %d %d %d %d %d %d [%s] %x at %d", v.Type, v.Flags, v.ID, v.Arg, v.NFDs, v.Codec, v.Name, []byte(v.Payload), len(v.Hex)))
	}
	for _, v := range vectors.Breaches() {
		lines = append(lines, "parse "+hex.EncodeToString(v.Hex))
		want = append(want, fmt.Sprintf("breach %s %d at %d", v.Rule, v.At, seenAt(v.Hex)))
	}
	for i, got := range ask(t, lines) {
		if got != want[i] {
			t.Errorf("%s:\ngot  %s\nwant %s", lines[i], got, want[i])
		}
	}
}

// seenAt is how many bytes the Go decoder needs to see a breach.
func seenAt(b []byte) int {
	for n := range b {
		if _, _, err := ipc.ParseFrame(b[:n], ipc.DefaultChunk); err != nil {
			return n
		}
	}
	return len(b)
}

func TestJSON(t *testing.T) {
	var lines []string
	texts := []string{
		`{}`, ` { } `, `{"a":1}`, `{"a":[1,2,{"b":null}],"c":true}`, `{"a":-0.5e+10}`, `{"a":"\u00e9\n\"\\\/"}`, `{"é":"é"}`, `{"a":[]}`, `{"a":0}`,
		``, `[]`, `null`, `1`, `"{}"`, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":+1}`, `{"a":-}`,
		`{"a":tru}`, `{a:1}`, `{'a':1}`, `{"a":"` + "\n" + `"}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"unended}`, `{"a":[1,]}`, `{"a":[1 2]}`, `{"a":1}}`, `{"a":1}x`,
		`{"a":1 "b":2}`, `{"a":NaN}`, `{"a":"\`, "{\"a\":\"\x00\"}", `{"a":` + strings.Repeat("[", 60000),
	}
	for _, text := range texts {
		lines = append(lines, "json "+hex.EncodeToString([]byte(text)))
	}
	for i, got := range ask(t, lines) {
		var v map[string]any
		want := "no"
		if json.Unmarshal([]byte(texts[i]), &v) == nil && bytes.HasPrefix(bytes.TrimSpace([]byte(texts[i])), []byte("{")) {
			want = "object"
		}
		if got != want {
			t.Errorf("%.80q is %s, want %s", texts[i], got, want)
		}
	}
}
