package packaging_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// machine is a systemd that is process 1 of namespaces of its own, on a root that
// is this machine's with all changes kept in memory.
type machine struct {
	t   *testing.T
	pid int // of systemd, as seen from outside
}

// bootScript makes the machine's root and becomes its systemd. $1 is an empty
// directory, $2 one that is shown as /run/pkg.
const bootScript = `set -e
mount --make-rprivate /
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/root"
cd "$1/root"
mount -t proc none proc
mount -t sysfs none sys
mount -t cgroup2 none sys/fs/cgroup
for d in dev run tmp; do mount -t tmpfs none $d; done
chmod 1777 tmp
for node in null:3 zero:5 full:7 random:8 urandom:9; do
	mknod -m 666 dev/${node%:*} c 1 ${node#*:}
done
ln -s /proc/self/fd dev/fd
mkdir run/pkg dev/shm
mount --bind "$2" run/pkg
rm -rf etc/systemd/system/*.wants lib/systemd/system/*.wants etc/brood var/log/brood
printf '[Unit]\nDescription=Only what is asked for\n' >etc/systemd/system/bare.target
export container=test
exec chroot . /lib/systemd/systemd --system --unit=bare.target --log-target=null --show-status=0
`

func boot(t *testing.T) *machine {
	t.Helper()
	needRoot(t)
	need(t, "systemctl", "dpkg")
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("systemd is not installed")
	}
	dir := t.TempDir()
	group := ownCgroup(t)
	script := fmt.Sprintf("echo $$ >%s/cgroup.procs && exec unshare --mount --pid --cgroup --uts --ipc --net --fork --kill-child sh -c \"$0\" boot \"$1\" \"$2\"", group)
	cmd := exec.Command("sh", "-c", script, bootScript, dir, dist)
	log, err := os.Create(filepath.Join(t.TempDir(), "boot"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // and with it, by --kill-child, everything
		cmd.Wait()
	})
	m := &machine{t: t}
	defer func() {
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("booting: %s", b)
		}
	}()
	await(t, "systemd is up", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if m.pid, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return false
		}
		text, _ := m.run("systemctl is-system-running")
		return strings.HasPrefix(text, "running") || strings.HasPrefix(text, "degraded")
	})
	return m
}

// ownCgroup is an empty cgroup, so that the machine's systemd finds no process of
// this one.
func ownCgroup(t *testing.T) string {
	t.Helper()
	base := strings.Fields(output(t, "findmnt", "-n", "-o", "TARGET", "-t", "cgroup2"))
	if len(base) == 0 {
		t.Skip("there is no cgroup v2")
	}
	dir, err := os.MkdirTemp(base[0], "brood-packaging-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		await(t, "the machine's cgroups are empty", func() bool {
			exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
			_, err := os.Stat(dir)
			return err != nil
		})
	})
	return dir
}

// run has the machine run a line of sh, as root.
func (m *machine) run(line string) (string, int) {
	m.t.Helper()
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(m.pid), "-a", "-r", "-w", "sh", "-c", line)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NO_COLOR=1", "SYSTEMD_COLORS=0", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	return run(m.t, cmd)
}

// do is run for what must succeed.
func (m *machine) do(line string) string {
	m.t.Helper()
	text, code := m.run(line)
	if code != 0 {
		m.t.Fatalf("%s: exit %d\n%s\nbrood's log:\n%s", line, code, text, m.log())
	}
	return text
}

// fails is run for what must not, and returns its output.
func (m *machine) fails(line string, want int) string {
	m.t.Helper()
	text, code := m.run(line)
	if code != want {
		m.t.Errorf("%s: exit %d, want %d\n%s\nbrood's log:\n%s", line, code, want, text, m.log())
	}
	return text
}

// log is what brood has written, see [machine.install].
func (m *machine) log() string {
	text, _ := m.run("cat /run/brood.log 2>/dev/null")
	return text
}

// write makes a file on the machine.
func (m *machine) write(path, text string) {
	m.t.Helper()
	full := filepath.Join(fmt.Sprintf("/proc/%d/root", m.pid), path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// show is a property of brood.service.
func (m *machine) show(property string) string {
	m.t.Helper()
	return strings.TrimSpace(m.do("systemctl show --value -p " + property + " brood.service"))
}

// install installs the package and, as there is no journal, has brood's log go to
// a file.
func (m *machine) install() string {
	m.t.Helper()
	text := m.do("dpkg -i /run/pkg/" + filepath.Base(deb))
	m.write("/etc/systemd/system/brood.service.d/test.conf", "[Service]\nStandardOutput=append:/run/brood.log\nStandardError=append:/run/brood.log\n")
	m.do("systemctl daemon-reload")
	return text
}

// awaitShow waits for a property of brood.service.
func (m *machine) awaitShow(property, want string) {
	m.t.Helper()
	got := ""
	await(m.t, "wait for "+property+"="+want, func() bool {
		got = m.show(property)
		return got == want
	})
}
