package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs testdata/script: the command line as its users type it, each
// script beside a supervisor of its own or none. Beside what testscript knows,
// the scripts say
//
//	exits N brood …           it ends with that exit code
//	usage TEXT brood …        it is refused: exit code 2, TEXT as the error, no output
//	tab brood … WORD          what a shell offers for WORD, a line each
//	json stdout KEY=VALUE …   every line is JSON, and one has all of these; pools.0.name is a KEY
//
// $BROOD_SOCKET is a path that nobody else has.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("BROOD_SOCKET", filepath.Join(socketDir(e.T().(testing.TB)), "control.sock")) // $WORK is too long for one
			e.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "usage": usage, "tab": tab, "json": jsonHas,
		},
	})
}

// exitOf runs a command, whose output the script may look at, and returns its exit code.
func exitOf(ts *testscript.TestScript, args []string) string {
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return strconv.Itoa(exit.ExitCode())
	}
	ts.Check(err)
	return "0"
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("write: exits N brood …")
	}
	if code := exitOf(ts, args[1:]); code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

func usage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("write: usage TEXT brood …")
	}
	code := exitOf(ts, args[1:])
	if out, errs := ts.ReadFile("stdout"), ts.ReadFile("stderr"); code != "2" || out != "" || errs != "brood: "+args[0]+"\n" {
		ts.Fatalf("exit code %s, want 2, no output, and brood: %s", code, args[0])
	}
}

// tab asks again where nothing is offered: who presses TAB is not kept waiting for
// a supervisor that is slow to answer. ! tab: nothing is, files neither.
func tab(ts *testscript.TestScript, neg bool, args []string) {
	const noFiles = ":4\n"
	for end := time.Now().Add(30 * time.Second); ; {
		ts.Check(ts.Exec(args[0], append([]string{"__complete"}, args[1:]...)...))
		words, ok := strings.CutSuffix(ts.ReadFile("stdout"), noFiles)
		if neg != (words != "") && ok {
			fmt.Fprint(ts.Stdout(), words)
			return
		}
		if neg || time.Now().After(end) {
			ts.Fatalf("this is not what is wanted")
		}
	}
}

func jsonHas(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("write: json stdout KEY=VALUE …")
	}
	lines, found := 0, false
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			ts.Fatalf("%v: %s", err, line)
		}
		lines++
		found = found || hasAll(v, args[1:])
	}
	if lines == 0 || found == neg {
		ts.Fatalf("of %d lines of JSON, one has %s: %v", lines, strings.Join(args[1:], " "), found)
	}
}

// hasAll: the value at each KEY prints as its VALUE; KEY alone: one is there.
func hasAll(v any, wants []string) bool {
	for _, want := range wants {
		key, text, compared := strings.Cut(want, "=")
		got, there := lookUp(v, key)
		if !there || compared && fmt.Sprint(got) != text {
			return false
		}
	}
	return true
}

func lookUp(v any, key string) (any, bool) {
	for part := range strings.SplitSeq(key, ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n < 0 || n >= len(x) {
				return nil, false
			}
			v = x[n]
		default:
			return nil, false
		}
	}
	return v, true
}
