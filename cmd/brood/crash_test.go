package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor/control/api"
)

// TestCrashLoop: 100 workers that can't start cost little, restart no faster
// than the pool's bucket lets them, and are given up once, each.
func TestCrashLoop(t *testing.T) {
	const workers, budget, rate = 100, 2, 20
	file := filepath.Join(t.TempDir(), "brood.yaml")
	text := fmt.Sprintf(`pools:
  bad:
    command: [sh, -c, "echo no database >&2; exit 3"]
    workers: %d
    ready: {when: hello}
    restart: {backoff: 10ms..1s, budget: %d/10m, rate: %d/1s}
`, workers, budget, rate)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(socketDir(t), "control.sock")
	begin := time.Now()
	s := serveOn(t, socket, "-c", file)
	given := func() int { return strings.Count(s.log.String(), "restarts within 10m0s are used up") }
	for given() < workers { // the log is looked at, so that the supervisor has nothing else to do
		if time.Since(begin) > 2*time.Minute {
			t.Fatalf("%d of %d given up", given(), workers)
		}
	}
	took := time.Since(begin)
	var st api.Status
	if err := json.Unmarshal([]byte(shell(t, socket, "brood status -o json").stdout), &st); err != nil {
		t.Fatal(err)
	}
	restarts := 0
	for _, w := range st.Pools[0].Slots {
		restarts += w.Restarts
		if w.LastExit == nil || w.LastExit.Code == nil || *w.LastExit.Code != 3 || len(w.LastExit.Stderr) != 1 || w.LastExit.Stderr[0] != "no database" {
			t.Errorf("%s: last exit %+v", w.Target, w.LastExit)
		}
	}
	// As many as there are workers may come at once, then so many a second.
	if least := time.Duration(restarts-workers) * time.Second / rate; restarts != workers*budget || took < least {
		t.Errorf("%d restarts in %v, want %d in no less than %v", restarts, took, workers*budget, least)
	}
	if n := given(); n != workers {
		t.Errorf("%d events that give up, want one for each of %d", n, workers)
	}
	r := shell(t, socket, "brood health")
	if r.code != healthCritical {
		t.Error(r)
	}
	s.stop(syscall.SIGTERM)
	used := s.cmd.ProcessState.SystemTime() + s.cmd.ProcessState.UserTime()
	share := 100 * used.Seconds() / took.Seconds()
	t.Logf("%d restarts in %v, %v of CPU: %.1f %% of a core", restarts, took, used, share)
	if share >= 20 && !raced {
		t.Errorf("%.1f %% of a core, want less than 20", share)
	}
}
