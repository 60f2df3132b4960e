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
	"../../docs/vectors/*.json",
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

// TestWheel: it builds into a wheel, and what is in that works.
func TestWheel(t *testing.T) {
	python := ""
	for _, path := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(path, "-c", "import setuptools, wheel").Run() == nil {
			python = path
		}
	}
	if python == "" {
		t.Skip("no python3 with setuptools and wheel is installed")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	script := `import glob, sys
from setuptools import build_meta
sys.path.insert(0, build_meta.build_wheel("."))
for name in [n for n in sys.modules if n.startswith("brood")] + ["brood"]: sys.modules.pop(name, None)
sys.path = [p for p in sys.path if p not in ("", ".")]
import brood, brood.aio
assert ".whl" in brood.__file__, brood.__file__
print("wheel", brood.__version__)
`
	cmd := exec.Command(python, "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("wheel 1.0.0")) {
		t.Fatalf("%v\n%s", err, out)
	}
}
