package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const hybrid = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`

const contained = `600 580 0:30 /docker/ab\040c /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate
broken line
601 580 0:30 /
`

func TestMounts(t *testing.T) {
	for _, c := range []struct{ name, info, path, dir string }{
		{"hybrid", hybrid, "/", "/sys/fs/cgroup/unified"},
		{"hybrid, below", hybrid, "/user.slice/x", "/sys/fs/cgroup/unified/user.slice/x"},
		{"container", contained, "/docker/ab c", "/sys/fs/cgroup"},
		{"container, below", contained, "/docker/ab c/x", "/sys/fs/cgroup/x"},
		{"outside of the container", contained, "/docker/other", ""},
		{"outside of the namespace", hybrid, "/../x", ""},
		{"a longer name", contained, "/docker/ab cd", ""},
		{"v1 alone", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "/", ""},
	} {
		m := parseMounts(c.info)
		dir, err := m.dirOf(c.path)
		if dir != c.dir || (err == nil) != (c.dir != "") {
			t.Errorf("%s: %q, %v", c.name, dir, err)
		}
		if c.dir == "" {
			continue
		}
		if path, err := m.pathOf(dir); path != c.path || err != nil {
			t.Errorf("%s: back it is %q, %v", c.name, path, err)
		}
	}
	if m := parseMounts(hybrid); m.v1["memory"] != "/sys/fs/cgroup/memory" || m.v1["cpuacct"] != "/sys/fs/cgroup/cpu,cpuacct" {
		t.Errorf("v1: %v", m.v1)
	}
	if _, err := parseMounts(hybrid).pathOf("/tmp"); err == nil {
		t.Error("/tmp is a cgroup")
	}
}

func TestOwnPath(t *testing.T) {
	for text, want := range map[string]string{
		"4:memory:/a\n1:name=systemd:/b\n0::/c d\n": "/c d",
		"0::/\n":        "/",
		"4:memory:/a\n": "",
	} {
		if got, ok := ownPath(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

func TestLimitsAsWritten(t *testing.T) {
	var got []string
	for _, l := range (Limits{MemoryMax: 512 << 20, MemoryHigh: 400 << 20, PIDsMax: 64}).list() {
		got = append(got, l.controller+" "+l.file+"="+l.value)
	}
	want := []string{"memory memory.high=419430400", "memory memory.max=536870912", "memory memory.oom.group=1", "pids pids.max=64"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if all := (Limits{}).list(); len(all) > 0 {
		t.Errorf("no limits: %v", all)
	}
}

func TestEventCount(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte("low 0\noom 3\noom_kill 2\noom_group_kill 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := eventCount(dir, "memory.events", "oom_kill"); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := eventCount(dir, "memory.events", "no_such"); err == nil || strings.Contains(err.Error(), "%!") {
		t.Errorf("a missing key: %v", err)
	}
	if _, err := eventCount(dir, "pids.events", "max"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
