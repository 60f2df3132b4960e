package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/handover"
)

// TestUpgradeAsJSON: the answer is what docs/cli.md says.
func TestUpgradeAsJSON(t *testing.T) {
	u := serveUpgradable(t, "pools: {web: {command: [echo-worker], ready: {when: hello}}}")
	before := u.status()
	r := shell(t, u.socket, "brood upgrade --wait 30s -o json")
	var got api.Upgrade
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != exitDone {
		t.Fatal(r, err)
	}
	if want := (api.Upgrade{Version: before.Version, Before: before.Version, PID: u.cmd.Process.Pid}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestUpgradeWithoutAnswer: where it breaks off, the supervisor that is there then is
// asked what it is.
func TestUpgradeWithoutAnswer(t *testing.T) {
	path := filepath.Join(socketDir(t), "c.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/upgrade", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"9.8","pid":7}`) })
	server := &http.Server{Handler: mux}
	defer server.Close()
	go server.Serve(l)
	if r := shell(t, path, "brood upgrade"); r.code != exitDone || r.stdout != "the supervisor is now brood 9.8\n" {
		t.Error(r)
	}
	if r := shell(t, path, "brood upgrade -o json"); r.code != exitDone || r.stdout != `{"version":"9.8","before":"","pid":7}`+"\n" {
		t.Error(r)
	}
}

// TestUpgradeToAnotherVersion of what is handed over is refused, and said to be it.
func TestUpgradeToAnotherVersion(t *testing.T) {
	u := serveUpgradable(t, "pools: {web: {command: [echo-worker], ready: {when: hello}}}")
	before := workersOf(u.status())
	u.replace(fmt.Sprintf("#!/bin/sh\necho brood handover %d\n", handover.Version+1))
	want := fmt.Sprintf(`it says "brood handover %d", where brood says %q`, handover.Version+1, handover.Fits())
	if r := shell(t, u.socket, "brood upgrade --wait 2s"); r.code != exitError || !strings.Contains(r.stderr, want) {
		t.Error(r)
	}
	if now := workersOf(u.status()); !slices.Equal(now, before) {
		t.Errorf("%v, before %v", now, before)
	}
}
