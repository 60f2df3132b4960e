package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mounts is what /proc/self/mountinfo (proc_pid_mountinfo(5)) says of cgroups.
type mounts struct {
	v2 []mount
	v1 map[string]string // mount point by controller
}

// mount shows the hierarchy from root downwards at point.
type mount struct{ root, point string }

// parseMounts reads mountinfo: "31 23 0:28 /root /point opts … - type source superopts".
func parseMounts(text string) mounts {
	m := mounts{v1: map[string]string{}}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 3 {
			continue
		}
		point := unescape(fields[4])
		switch kind[0] {
		case "cgroup2":
			m.v2 = append(m.v2, mount{unescape(fields[3]), point})
		case "cgroup":
			for _, option := range strings.Split(kind[2], ",") {
				m.v1[option] = point
			}
		}
	}
	return m
}

// unescape undoes \040 and the like.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// ownPath finds the line "0::/path" of /proc/self/cgroup.
func ownPath(text string) (string, bool) {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, true
		}
	}
	return "", false
}

// dirOf is the directory that shows the cgroup path, through one of the mounts.
func (m mounts) dirOf(path string) (string, error) {
	for _, v := range m.v2 {
		if rel, ok := below(v.root, path); ok {
			return filepath.Join(v.point, rel), nil
		}
	}
	return "", fmt.Errorf("no mount shows %s", path)
}

// pathOf is the other way round.
func (m mounts) pathOf(dir string) (string, error) {
	best, at := "", -1
	for _, v := range m.v2 {
		if rel, ok := below(v.point, dir); ok && len(v.point) > at {
			best, at = filepath.Join(v.root, rel), len(v.point)
		}
	}
	if at < 0 {
		return "", fmt.Errorf("%s is no cgroup v2", dir)
	}
	return best, nil
}

// below is path as seen from root. One with ".." is outside of what a cgroup
// namespace shows.
func below(root, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") || strings.Contains(path, "/..") {
		return "", false
	}
	return rel, true
}

var errNoV2 = errors.New("no cgroup v2 is mounted")

// locate finds the directory base (empty: the program's own cgroup) and how
// /proc/PID/cgroup spells it.
func locate(base string) (dir, path string, m mounts, err error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", m, err
	}
	m = parseMounts(string(info))
	if len(m.v2) == 0 {
		return "", "", m, errNoV2
	}
	if base != "" {
		if base, err = filepath.Abs(base); err == nil {
			base, err = filepath.EvalSymlinks(base)
		}
		if err != nil {
			return "", "", m, err
		}
		path, err = m.pathOf(base)
		return base, path, m, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", m, err
	}
	path, ok := ownPath(string(own))
	if !ok {
		return "", "", m, errNoV2
	}
	dir, err = m.dirOf(path)
	return dir, path, m, err
}
