package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHangupDuringReload: a SIGHUP that comes while a reload goes on is not lost, and
// of several one more reload is made; who asks by brood reload is told what goes on.
func TestHangupDuringReload(t *testing.T) {
	dir := t.TempDir()
	file, gate := filepath.Join(dir, "brood.yaml"), filepath.Join(dir, "gate")
	write := func(v int) {
		t.Helper()
		text := fmt.Sprintf(`pools: {web: {command: [sleep, "1000"], env: {V: "%d"}, ready: {exec: [test, -e, %s]}, rollout: {soak: 0s}}}`, v, gate)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "-c", file)
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	logged := func(words string, n int) func() bool {
		return func() bool { return strings.Count(s.log.String(), words) == n }
	}
	write(2)
	s.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the first reload to roll", logged(`"web/1#2" what="started beside`, 1))
	write(3)
	s.cmd.Process.Signal(syscall.SIGHUP)
	r := shell(t, s.socket, "brood reload")
	if r.code == 0 || !strings.Contains(r.stderr, "pool web is being rolled") {
		t.Error(r)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "both reloads", logged("kind=roll", 2))
	if r := shell(t, s.socket, "brood reload"); r.code != 0 || !strings.HasPrefix(r.stdout, "web: unchanged") {
		t.Error(r)
	}

	// The same where it is another's reload that goes on.
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	write(4)
	if r := shell(t, s.socket, "brood reload --wait 0"); r.code != 0 {
		t.Error(r)
	}
	write(5)
	s.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "SIGHUP to wait", logged("one is under way; the file is read again", 1))
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "its reload", logged("kind=roll", 3))
	if r := shell(t, s.socket, "brood reload"); r.code != 0 || !strings.HasPrefix(r.stdout, "web: unchanged") {
		t.Error(r)
	}
}
