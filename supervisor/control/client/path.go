package client

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// ResolvePath is the path of the control socket to call, given what --socket said:
// that, or DefaultPath when it said nothing. A user who has no supervisor there
// reaches the system's, root's, if there is one.
//
// Anybody can make a directory in /tmp that is called as this user's would be, and a
// socket in it that answers as a supervisor does. One that is not in this user's or
// root's hands alone is passed over, which is ErrNoSupervisor where there is no other.
func ResolvePath(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	own := DefaultPath()
	if os.Getenv("BROOD_SOCKET") != "" {
		return own, nil
	}
	system := defaultPath(func(string) string { return "" }, 0, runtime.GOOS)
	return resolvePath(own, system, tmpDir(os.Geteuid()))
}

// resolvePath is own or system; own is looked at more closely if it is in tmp.
func resolvePath(own, system, tmp string) (string, error) {
	var err error
	if filepath.Dir(own) == tmp {
		err = checkOwn(tmp)
	}
	if err == nil && exists(own) {
		return own, nil
	}
	if exists(system) {
		return system, nil
	}
	return own, err
}

// checkOwn refuses a directory that somebody else has made, or may put files into.
func checkOwn(dir string) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: the socket in %s is not trusted: %s; have it removed, or name a socket with --socket or $BROOD_SOCKET",
			ErrNoSupervisor, dir, fmt.Sprintf(format, args...))
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return nil // there is none
	}
	owner := int(fi.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !fi.IsDir():
		return refuse("that is no directory (mode %v)", fi.Mode())
	case owner != os.Geteuid() && owner != 0:
		return refuse("the directory belongs to uid %d", owner)
	case fi.Mode()&0o022 != 0:
		return refuse("others may put files there (mode %v)", fi.Mode())
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// DefaultPath is the path of the control socket when nobody names one. Server
// and client both go by it. It is the first that applies of
//
//   - $BROOD_SOCKET
//   - for root /run/brood/control.sock; where there is no /run (macOS, FreeBSD)
//     /var/run/brood/control.sock
//   - $XDG_RUNTIME_DIR/brood/control.sock; a relative $XDG_RUNTIME_DIR counts as
//     none (XDG Base Directory Specification)
//   - /tmp/brood-UID/control.sock
func DefaultPath() string {
	return defaultPath(os.Getenv, os.Geteuid(), runtime.GOOS)
}

func defaultPath(getenv func(string) string, uid int, goos string) string {
	const name = "brood/control.sock"
	if p := getenv("BROOD_SOCKET"); p != "" {
		return p
	}
	if uid == 0 {
		if goos == "linux" {
			return "/run/" + name
		}
		return "/var/run/" + name
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name)
	}
	return filepath.Join(tmpDir(uid), "control.sock")
}

// tmpDir is the directory of a user who has no other.
func tmpDir(uid int) string { return "/tmp/brood-" + strconv.Itoa(uid) }
