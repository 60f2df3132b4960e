package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"example.com/brood/supervisor/control/api"
)

// TestFollowOverUpgrade: who follows sees each event and each line once, through
// upgrades, and hears nothing of these.
func TestFollowOverUpgrade(t *testing.T) {
	u := serveUpgradable(t, `pools:
  web: {command: [echo-worker], ready: {when: hello}, restart: {backoff: 1ms..10ms, budget: off}}
  talk: {command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo "line $i"; sleep 0.01; done'], ready: {when: alive}}
`, "--log-level", "warn")
	logs := follow(t, u.socket, "brood logs -f -n 100000 talk")
	jsonLogs := follow(t, u.socket, "brood logs -f -n 100000 -o json talk")
	events := follow(t, u.socket, "brood events -f --since 0 -o json")
	logs.await("line ")
	jsonLogs.await("line ")
	events.await(`"web/1"`, "ready")
	lines, jsonLines, seq := 0, 0, uint64(0)
	for i := range 6 {
		u.upgrade()
		if r := shell(t, u.socket, "brood restart web/1"); r.code != 0 {
			t.Fatal(r)
		}
		// What comes after the upgrade comes behind what came before it.
		last := lastLine(t, u.socket)
		for lines < last {
			line := logs.next()
			n, err := strconv.Atoi(strings.TrimPrefix(line, "talk/1 | line "))
			if err != nil || lines != 0 && n != lines+1 {
				t.Fatalf("upgrade %d: %q after line %d; %v", i, line, lines, logs.said)
			}
			lines = n
		}
		for jsonLines < last {
			var l api.LogLine
			line := jsonLogs.next()
			err := json.Unmarshal([]byte(line), &l)
			n, nerr := strconv.Atoi(strings.TrimPrefix(l.Text, "line "))
			if err != nil || nerr != nil || jsonLines != 0 && n != jsonLines+1 {
				t.Fatalf("upgrade %d: %q after line %d; %v", i, line, jsonLines, jsonLogs.said)
			}
			jsonLines = n
		}
		for ready := false; !ready; {
			var e api.Event
			line := events.next()
			if err := json.Unmarshal([]byte(line), &e); err != nil || seq != 0 && e.Seq != seq+1 {
				t.Fatalf("upgrade %d: %q after event %d; %v", i, line, seq, events.said)
			}
			seq = e.Seq
			ready = e.Target == "web/1" && e.Generation == uint64(i+2) && e.Kind == "state" && strings.HasPrefix(e.Text, "ready")
		}
	}
	for name, f := range map[string]*follower{"logs": logs, "logs as JSON": jsonLogs, "events": events} {
		if said := f.said.String(); said != "" {
			t.Errorf("%s: %s", name, said)
		}
	}
}

// lastLine is the number of the line that talk/1 has printed last.
func lastLine(t *testing.T, socket string) int {
	t.Helper()
	r := shell(t, socket, "brood logs -n 1 talk/1")
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(r.stdout, "talk/1 | line ")))
	if err != nil {
		t.Fatal(r, err)
	}
	return n
}
