// Package foreign runs the tests of the worker libraries in other languages among
// Go's.
package foreign

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Need skips the test by name when a program is missing.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// Reads reads what a test depends on, each pattern at least a file: so `go test`
// forgets a cached result when one of these changes.
func Reads(t testing.TB, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: nothing there, %v", pattern, err)
		}
		for _, path := range paths {
			if _, err := os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// limit bounds a run of tests.
const limit = 2 * time.Minute

// Run runs tests in another language. sign is in what they print if there were
// any.
func Run(t testing.TB, sign, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		t.Fatalf("the tests did not end in %v:\n%s", limit, out)
	case err != nil:
		t.Fatalf("%s: %v\n%s", program, err, out)
	case !strings.Contains(string(out), sign):
		t.Fatalf("the tests were not found:\n%s", out)
	}
	t.Logf("%s", out)
}
