// Package python_test runs the tests of the Python worker library among Go's.
package python_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// read lists what the Python tests depend on. Reading it here makes `go test`
// forget a cached result when one of these changes.
var read = []string{
	"brood/*.py",
	"*.py",
	"../../examples/python/*.py",
	"../../docs/protocol.md",
}

func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	for _, pattern := range read {
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-W", "error::ResourceWarning", "-m", "unittest", "-v")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("the tests did not end in time:\n%s", out.Bytes())
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", python, err, out.Bytes())
	}
	if !bytes.Contains(out.Bytes(), []byte("test_handshake")) {
		t.Fatalf("the tests were not found:\n%s", out.Bytes())
	}
	t.Logf("%s", out.Bytes())
}
