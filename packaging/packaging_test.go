// Package packaging_test builds the package once and tries out what is in it: on a
// machine of its own that is booted for it, in a container, and by the checkers of
// those who read these files.
package packaging_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dist is where the package was built, deb the package.
var dist, deb string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if dist, err = os.MkdirTemp("", "brood-packaging"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dist)
	if err := os.Chmod(dist, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("./build")
	build.Env = append(os.Environ(), "DIST="+dist, "VERSION=1.2.3~test", "SOURCE_DATE_EPOCH=1767225600")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "packaging/build: %v\n%s", err, out)
		return 1
	}
	found, _ := filepath.Glob(filepath.Join(dist, "*.deb"))
	if len(found) != 1 {
		fmt.Fprintf(os.Stderr, "packaging/build made the packages %q\n", found)
		return 1
	}
	deb = found[0]
	return m.Run()
}

// need skips the test by name when a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make namespaces")
	}
	need(t, "unshare", "nsenter", "mount", "chroot")
}

// output runs a command that must succeed and returns what it prints.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	text, code := run(t, exec.Command(name, args...))
	if code != 0 {
		t.Fatalf("%s %q: exit %d\n%s", name, args, code, text)
	}
	return text
}

// run is output and exit code of a command that has a minute.
func run(t *testing.T, cmd *exec.Cmd) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	return out.String(), cmd.ProcessState.ExitCode()
}

func wantIn(t *testing.T, where, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%s: got %q, want it to contain %q", where, text, want)
	}
}

// await looks again and again until what is wanted is so: it is for what other
// people's programs do not announce.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
