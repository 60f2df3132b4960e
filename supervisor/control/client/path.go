package client

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// ResolvePath is the path of the control socket to call, given what --socket said:
// that, or DefaultPath when it said nothing. A user who has no supervisor there
// reaches the system's, root's, if there is one.
func ResolvePath(flag string) string {
	if flag != "" {
		return flag
	}
	own := DefaultPath()
	if os.Getenv("BROOD_SOCKET") != "" || exists(own) {
		return own
	}
	if system := defaultPath(func(string) string { return "" }, 0, runtime.GOOS); exists(system) {
		return system
	}
	return own
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
	return "/tmp/brood-" + strconv.Itoa(uid) + "/control.sock"
}
