package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlantedSocket: no command speaks to a socket that another user has put where
// this user's would be, and each says whose it is. One that root has put there is
// good.
func TestPlantedSocket(t *testing.T) {
	needRoot(t)
	uid := 1_000_000 + os.Getpid() // whose directory nobody else makes
	victim := who{uid: uid, gid: uid}
	dir := fmt.Sprintf("/tmp/brood-%d", uid)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := serveOn(t, filepath.Join(dir, "control.sock"), "-n", "1", "--name", "web", "--mode", "0666", "--", "echo-worker")
	s.awaitHealthy()
	const lost = "unset BROOD_SOCKET XDG_RUNTIME_DIR; "
	if r := as(t, victim, "", lost+"brood status"); r.code != exitDone {
		t.Fatalf("a directory of root's: %v", r)
	}
	if as(t, victim, "", "test -e /run/brood/control.sock").code == 0 {
		t.Skip("root has a supervisor here, which is asked instead")
	}
	for owner, text := range map[int]string{61000: "belongs to uid 61000", uid: "others may put files there"} {
		if err := os.Chown(dir, owner, -1); err != nil {
			t.Fatal(err)
		}
		if owner == uid {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		for line, code := range map[string]int{
			"brood status": exitNoSupervisor, "brood whoami": exitNoSupervisor, "brood send web echo secret": exitNoSupervisor,
			"brood events": exitNoSupervisor, "brood stdio </dev/null": exitNoSupervisor, "brood health": healthCritical,
		} {
			r := as(t, victim, "", lost+line)
			if r.code != code || strings.Contains(r.stdout, "web") {
				t.Errorf("%s, and the directory %s: want exit %d, got %v", line, text, code, r)
			}
			wantIn(t, line, r.stdout+r.stderr, dir)
			wantIn(t, line, r.stdout+r.stderr, text)
		}
		if r := as(t, victim, s.socket, "brood status"); r.code != exitDone {
			t.Errorf("named by who asks: %v", r)
		}
	}
}
