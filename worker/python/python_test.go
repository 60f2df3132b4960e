// Package python_test runs the tests of the Python worker library among Go's.
package python_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"example.com/brood/worker/internal/foreign"
)

func TestPython(t *testing.T) {
	foreign.Need(t, "python3")
	foreign.Reads(t, "brood/*.py", "*.py", "../../examples/python/*.py", "../../docs/protocol.md", "../../docs/vectors/*.json")
	foreign.Run(t, "test_handshake", "python3", "-W", "error::ResourceWarning", "-m", "unittest", "-v")
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
