package main

import (
	"strings"
	"syscall"
	"testing"
)

// What the service manager hears of upgrades.

// TestUpgradeUnderServiceManager: Type=notify sees a reload, under the same pid.
func TestUpgradeUnderServiceManager(t *testing.T) {
	m := startManager(t)
	t.Setenv("NOTIFY_SOCKET", m.path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	u := serveUpgradable(t, "pools: {web: {command: [echo-worker], ready: {when: hello}}}")
	m.hear("READY=1")
	for range 2 {
		u.upgrade()
		m.hear("RELOADING=1")
		m.hear("READY=1")
	}
}

// TestUpgradeRefusedBeforeReady: the service manager is not told READY=1 by an
// upgrade that comes to nothing before all is up.
func TestUpgradeRefusedBeforeReady(t *testing.T) {
	m := startManager(t)
	t.Setenv("NOTIFY_SOCKET", m.path)
	u := newUpgradable(t, "pools: {web: {command: [sleep, 1000], ready: {when: exec, exec: [sleep, 60]}}}")
	until(t, "the check runs", func() bool { return len(childrenOf(u.cmd.Process.Pid)) == 2 })
	if r := shell(t, u.socket, "brood upgrade --wait 500ms"); r.code == 0 || !strings.Contains(r.stderr, "beside") {
		t.Errorf("brood upgrade: %v", r)
	}
	u.cmd.Process.Signal(syscall.SIGTERM)
	m.hear("STOPPING=1", "READY=1")
}
