package packaging_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// twoWorkers is a configuration with workers that are in the package.
const twoWorkers = "pools: {web: {command: [/usr/bin/brood, demo-worker], workers: 2, ready: {when: hello}}}\n"

// TestServiceUnderSystemd is the package's life on a machine: installed, started,
// reloaded, hung, stopped, removed.
func TestServiceUnderSystemd(t *testing.T) {
	m := boot(t)
	m.install()
	if text := m.fails("systemctl is-enabled brood.service brood.socket", 1); strings.Contains(text, "enabled\n") {
		t.Errorf("the package enables a unit: %s", text)
	}
	m.do("systemctl start brood.service") // there is no configuration, so nothing happens
	if state := m.show("ActiveState"); state != "inactive" {
		t.Errorf("without a configuration it is %s", state)
	}

	m.write("/etc/brood/brood.yaml", twoWorkers)
	m.do("brood check -c /etc/brood/brood.yaml")
	m.do("systemctl start brood.service") // READY=1 ends it
	m.awaitShow("StatusText", "web 2/2 ready")
	wantIn(t, "health", m.do("brood health"), "BROOD OK - web 2/2 ready")
	if mode := m.do("stat -c '%a %U' /run/brood/control.sock"); mode != "600 root\n" {
		t.Errorf("the control socket is %q", mode)
	}

	m.write("/etc/brood/brood.yaml", strings.Replace(twoWorkers, "workers: 2", "workers: 3", 1))
	m.do("systemctl reload brood.service")
	wantIn(t, "after a reload", m.do("brood health"), "web 3/3 ready")
	m.write("/etc/brood/brood.yaml", "pools: {web: {command: [/usr/bin/brood, demo-worker], wrokers: 3}}\n")
	m.fails("systemctl reload brood.service", 1)
	wantIn(t, "after a faulty reload", m.do("brood health"), "web 3/3 ready")
	m.write("/etc/brood/brood.yaml", twoWorkers)

	before := m.show("MainPID") + " " + m.do("brood send 'web/*' pid")
	wantIn(t, "an installation over one that runs", m.do("dpkg -i /run/pkg/"+filepath.Base(deb)), "the supervisor is now brood ")
	m.awaitShow("StatusText", "web 2/2 ready") // as the file says by now
	m.awaitShow("ActiveState", "active")
	if now := m.show("MainPID") + " " + m.do("brood send 'web/*' pid"); !strings.HasPrefix(before, now) {
		t.Errorf("before the new version was installed %q, after it %q", before, now)
	}

	before = m.show("MainPID") + " " + m.do("brood send 'web/*' pid")
	m.write("/etc/brood/brood.yaml", "nonsense: 1\n")
	text := m.do("dpkg -i /run/pkg/" + filepath.Base(deb) + " 2>&1")
	wantIn(t, "an installation that can't take over", text, "/etc/brood/brood.yaml:1:1: nonsense: unknown key")
	wantIn(t, "an installation that can't take over", text, "the version before goes on until brood.service is restarted")
	if now := m.show("MainPID") + " " + m.do("brood send 'web/*' pid"); now != before {
		t.Errorf("before the installation that can't take over %q, after it %q", before, now)
	}
	m.write("/etc/brood/brood.yaml", twoWorkers)

	m.do("systemctl stop brood.service")
	if got := m.show("Result") + m.show("ExecMainStatus"); got != "success0" {
		t.Errorf("it ended with %s", got)
	}
	wantIn(t, "workers were drained", m.log(), "code 0")
	m.fails("test -e /run/brood/control.sock", 1)

	m.write("/etc/brood/brood.yaml", "nonsense: 1\n")
	m.fails("systemctl start brood.service", 1)
	if n, code := m.show("NRestarts"), m.show("ExecMainStatus"); n != "0" || code != "2" {
		t.Errorf("a faulty configuration was tried %s times again, exit %s", n, code)
	}
	m.write("/etc/brood/brood.yaml", twoWorkers)
	m.do("systemctl reset-failed brood.service; systemctl start brood.service")
	m.do("dpkg -r brood")
	m.fails("test -e /run/brood/control.sock", 1)
	m.fails("pgrep -x brood", 1)
}

// TestWatchdogUnderSystemd: a supervisor that hangs is ended and started again, and
// none of the workers outlives it.
func TestWatchdogUnderSystemd(t *testing.T) {
	m := boot(t)
	m.install()
	m.write("/etc/brood/brood.yaml", twoWorkers)
	m.write("/etc/systemd/system/brood.service.d/watchdog.conf", "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=2s\n")
	m.do("systemctl daemon-reload; systemctl start brood.service")
	m.awaitShow("StatusText", "web 2/2 ready")
	pid, workers := m.show("MainPID"), strings.Fields(m.do("brood send 'web/*' pid | cut -d' ' -f2"))
	if len(workers) != 2 {
		t.Fatalf("workers %q", workers)
	}
	m.do("sleep 2.5") // the watchdog is fed meanwhile
	if now := m.show("MainPID"); now != pid {
		t.Fatalf("process %s was replaced by %s for nothing: %s", pid, now, m.log())
	}
	m.do("kill -STOP " + pid)
	m.awaitShow("NRestarts", "1")
	m.awaitShow("StatusText", "web 2/2 ready")
	for _, worker := range workers {
		m.fails("kill -0 "+worker, 1)
	}
}

// TestSocketUnit: systemd makes the socket, the first client starts brood.
func TestSocketUnit(t *testing.T) {
	m := boot(t)
	m.install()
	m.write("/etc/brood/brood.yaml", twoWorkers)
	m.do("systemctl start brood.socket")
	if got := m.do("stat -c '%a %U %G' /run/brood/control.sock"); got != "660 root brood\n" {
		t.Errorf("the control socket is %q", got)
	}
	if pid := m.show("MainPID"); pid != "0" {
		t.Errorf("brood runs before anybody has called: process %s", pid)
	}
	inode := m.do("stat -c %i /run/brood/control.sock")
	wantIn(t, "the first call", m.do("brood health --wait 30s"), "web 2/2 ready")

	const call = " brood "
	member := "setpriv --reuid=65534 --regid=65534 --groups=" + strings.TrimSpace(m.do("getent group brood | cut -d: -f3")) + call
	stranger := "setpriv --reuid=65534 --regid=65534 --clear-groups" + call
	wantIn(t, "a member", m.do(member+"whoami"), "viewer")
	m.fails(member+"restart web", 5)
	m.fails(stranger+"status", 5)

	m.do("systemctl restart brood.service")
	wantIn(t, "after a restart", m.do("brood health --wait 30s"), "web 2/2 ready")
	if now := m.do("stat -c %i /run/brood/control.sock"); now != inode {
		t.Error("the socket was made anew")
	}
	m.do("systemctl stop brood.service brood.socket")
}

// TestAuditIsRotated: after logrotate has moved the audit log away, lines go to a new
// one, and none is lost.
func TestAuditIsRotated(t *testing.T) {
	m := boot(t)
	m.install()
	m.write("/etc/brood/brood.yaml", twoWorkers+"control: {audit: /var/log/brood/audit.log}\n")
	m.do("systemctl start brood.service; brood health --wait 30s")
	m.do("brood restart web/1; logrotate -f /etc/logrotate.d/brood; brood restart web/2; brood shutdown")
	for file, want := range map[string]string{"audit.log.1": "web/1", "audit.log": "web/2"} {
		wantIn(t, file, m.do("cat /var/log/brood/"+file), want)
	}
}

// TestHardeningBreaksNothing: what a pool may ask for, it gets in the unit's walls.
func TestHardeningBreaksNothing(t *testing.T) {
	m := boot(t)
	m.install()
	m.write("/etc/brood/brood.yaml", `pools:
  all:
    command: ["/bin/sh", "-c", "id -un; umask; ulimit -n; cat /proc/self/oom_score_adj; nice; exec sleep 1000"]
    user: nobody
    umask: "0027"
    limits: {nofile: 1000}
    nice: -3
    oom_score_adj: 100
    cgroup: {pids: 50}
    listen: {web: "tcp://127.0.0.1:80", unix: "unix:///tmp/app.sock?mode=0660&group=brood"}
    ready: {when: alive}
  jit: {command: ["/usr/bin/python3", "-c", "import mmap; mmap.mmap(-1, 4096, prot=7); import time; time.sleep(1000)"], ready: {when: alive}}
`)
	m.do("systemctl start brood.service")
	wantIn(t, "health", m.do("brood health --wait 30s"), "BROOD OK")
	for _, want := range []string{"nobody", "0027", "1000", "100", "-3"} {
		wantIn(t, "the worker's output", m.log(), "all/1 | "+want+"\n")
	}
	if text := m.log(); strings.Contains(text, "without cgroups") {
		t.Errorf("Delegate= is not enough: %s", text)
	}
	pid := strings.TrimSpace(m.do("pgrep -u nobody -x sleep"))
	wantIn(t, "its cgroup", m.do("cat /proc/"+pid+"/cgroup"), "/brood.service/brood-")
	m.do("test -S /tmp/app.sock")
	wantIn(t, "systemd-analyze", m.do("systemd-analyze --offline=yes --threshold=80 security brood.service"), "exposure level")
}

// TestUnitsVerify has systemd read the units as strictly as it can.
func TestUnitsVerify(t *testing.T) {
	need(t, "systemd-analyze", "dpkg-deb")
	root := t.TempDir()
	output(t, "dpkg-deb", "-x", deb, root)
	args := []string{"verify", "--man=no"}
	for _, unit := range []string{"brood.service", "brood.socket"} {
		args = append(args, root+"/usr/lib/systemd/system/"+unit)
	}
	text, _ := run(t, exec.Command("systemd-analyze", args...))
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "/usr/bin/brood") || !strings.Contains(line, "not executable") { // it is not installed here
			t.Error(line)
		}
	}
}

// TestSnippets has them carried out below an empty root.
func TestSnippets(t *testing.T) {
	need(t, "systemd-sysusers", "systemd-tmpfiles", "dpkg-deb", "logrotate")
	root := t.TempDir()
	output(t, "dpkg-deb", "-x", deb, root)
	output(t, "sh", "-c", "cd "+root+" && mkdir -p var/log run && printf 'root:x:0:0::/:\n' >etc/passwd && printf 'root:x:0:\nadm:x:4:\n' >etc/group")
	output(t, "systemd-sysusers", "--root="+root, "brood.conf")
	wantIn(t, "sysusers", output(t, "cat", root+"/etc/group"), "\nbrood:x:")
	output(t, "systemd-tmpfiles", "--root="+root, "--create", "brood.conf")
	if got := output(t, "stat", "-c", "%a %u %g", root+"/run/brood", root+"/var/log/brood"); got != "755 0 0\n750 0 4\n" {
		t.Errorf("tmpfiles: %q", got)
	}
	log := root + "/var/log/brood/audit.log"
	output(t, "sh", "-c", "echo line >"+log+" && sed 's|/var/log|"+root+"/var/log|' "+root+"/etc/logrotate.d/brood >"+root+"/rotate && chmod 644 "+root+"/rotate")
	output(t, "logrotate", "-f", "-s", root+"/state", root+"/rotate")
	wantIn(t, "logrotate", output(t, "ls", root+"/var/log/brood"), "audit.log.1")
}
