package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileID names an inode for as long as something keeps it from being freed: an
// open descriptor, or for a socket's node the socket that is bound to it.
type fileID struct{ Dev, Ino uint64 }

func idOf(fi fs.FileInfo) fileID {
	st := fi.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), st.Ino}
}

func ownerOf(fi fs.FileInfo) int { return int(fi.Sys().(*syscall.Stat_t).Uid) }

// ours reports whether a file of owner uid is in trusted hands: this process's
// user or root.
func ours(uid int) bool { return uid == 0 || uid == os.Geteuid() }

// openDir makes the directory of the socket if it is missing, checks that nobody
// else can put files there or lead the path elsewhere, and opens it. The name of
// the result is the path with its symbolic links resolved: what was checked is
// what is used.
func openDir(p plan) (*os.File, error) {
	if err := checkWay(filepath.Dir(p.dir)); err != nil {
		return nil, err
	}
	if err := makeDir(p); err != nil {
		return nil, err
	}
	if err := checkWay(p.dir); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(p.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot reach its directory; choose another path with --socket or $BROOD_SOCKET: %w", err)
	}
	if err := checkWay(real); err != nil {
		return nil, err
	}
	dir, err := os.OpenFile(real, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open its directory; run as its owner, or choose another path with --socket or $BROOD_SOCKET: %w", err)
	}
	if err := checkDir(dir, p); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// searchBits are the permissions a directory needs so that those whom a socket of
// this mode lets in can get to it: x for the group, x for others.
func searchBits(mode os.FileMode) os.FileMode { return mode & 0o022 >> 1 }

// makeDir makes the last component of the directory if there is nothing. Until
// its owner and mode are final it is 0700.
func makeDir(p plan) error {
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		if _, lerr := os.Lstat(p.dir); lerr == nil {
			return nil
		}
		return fmt.Errorf("its directory cannot be made; make it as root, or choose another path with --socket or $BROOD_SOCKET: %w", err)
	}
	if p.gid >= 0 && searchBits(p.mode)&0o070 != 0 {
		if err := os.Lchown(p.dir, -1, p.gid); err != nil {
			return fmt.Errorf("the directory cannot be given to its group; run as root or as a member of group %d: %w", p.gid, err)
		}
	}
	return os.Chmod(p.dir, 0o700|searchBits(p.mode)) // also undoes a umask that takes from the owner
}

// checkWay refuses a path that somebody else could lead to another place: through
// a symbolic link of theirs, or a directory in which everybody may rename.
func checkWay(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		fi, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no %s; make it, or choose another path with --socket or $BROOD_SOCKET: %w", at, err)
		}
		if err != nil {
			return fmt.Errorf("cannot check the way to it; choose another path with --socket or $BROOD_SOCKET: %w", err)
		}
		mode, uid := fi.Mode(), ownerOf(fi)
		switch {
		case mode&fs.ModeSymlink != 0 && !ours(uid):
			return fmt.Errorf("%s is a symbolic link of uid %d, who could lead it elsewhere; use the path behind it, or choose another with --socket or $BROOD_SOCKET", at, uid)
		case mode.IsDir() && mode&0o002 != 0 && mode&fs.ModeSticky == 0:
			return fmt.Errorf("anybody may put files into %s or rename them (mode %v); take that away with chmod o-w, or choose another path with --socket or $BROOD_SOCKET", at, mode)
		case at == filepath.Dir(at):
			return nil
		}
	}
}

// checkDir refuses a directory in which somebody else may put or remove files.
func checkDir(dir *os.File, p plan) error {
	fi, err := dir.Stat()
	if err != nil {
		return err
	}
	mode := fi.Mode()
	switch uid := ownerOf(fi); {
	case !ours(uid):
		return fmt.Errorf("its directory %s belongs to uid %d, neither root nor this process's uid %d; remove it, or choose another path with --socket or $BROOD_SOCKET", dir.Name(), uid, os.Geteuid())
	case mode&0o002 != 0:
		return fmt.Errorf("anybody may put files into its directory %s (mode %v), so anybody could take the name first; give the socket a directory of its own, such as %s", dir.Name(), mode, filepath.Join(dir.Name(), fmt.Sprintf("brood-%d", os.Geteuid()), p.base))
	case mode&0o020 != 0:
		return fmt.Errorf("the group of its directory %s may put files there (mode %v); chmod g-w it, or give the socket a directory of its own", dir.Name(), mode)
	}
	warnUnreachable(fi, dir.Name(), p)
	return nil
}

// warnUnreachable says so where the socket's mode lets people in whom a directory
// that was there before keeps out.
func warnUnreachable(fi fs.FileInfo, name string, p plan) {
	need, mode := searchBits(p.mode), fi.Mode()
	if mode&0o001 != 0 {
		return // it lets everybody through
	}
	otherGroup := p.gid >= 0 && int(fi.Sys().(*syscall.Stat_t).Gid) != p.gid
	if need&^mode != 0 || need&0o010 != 0 && otherGroup {
		p.log.Warn("the directory keeps out those whom the control socket's mode lets in; give it their group and the x permission",
			"directory", name, "mode", mode.String(), "path", p.path, "socket_mode", p.mode.String())
	}
}
