package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A directory where somebody else can take the name, or lead it elsewhere, is refused.
func TestDirectory(t *testing.T) {
	const other = 65534
	for _, tt := range []struct {
		name string
		root bool // needs root, to give files away
		// prepare gets a directory of this user, 0755, and returns where the socket's shall be.
		prepare func(dir string) (string, error)
		refused string // part of the error; "": it is taken
	}{
		{"missing", false, func(d string) (string, error) { return d + "/run", nil }, ""},
		{"there", false, func(d string) (string, error) { return d, nil }, ""},
		{"its parent missing", false, func(d string) (string, error) { return d + "/no/run", nil }, "make it"},
		{"for the group to write", false, func(d string) (string, error) { return d, os.Chmod(d, 0o770) }, "chmod g-w"},
		{"for everybody to write", false, func(d string) (string, error) { return d, os.Chmod(d, 0o777) }, "anybody may put files"},
		{"sticky", false, func(d string) (string, error) { return d, os.Chmod(d, 0o777|os.ModeSticky) }, "a directory of its own"},
		{"below a sticky one", false, func(d string) (string, error) { return d + "/run", os.Chmod(d, 0o777|os.ModeSticky) }, ""},
		{"below one for everybody to write", false, func(d string) (string, error) {
			return d + "/run", errors.Join(os.Mkdir(d+"/run", 0o700), os.Chmod(d, 0o777))
		}, "anybody may put files"},
		{"below one for everybody to write, missing", false, func(d string) (string, error) { return d + "/run", os.Chmod(d, 0o777) }, "anybody may put files"},
		{"another's", true, func(d string) (string, error) { return d, os.Chown(d, other, other) }, "belongs to uid 65534"},
		{"a file", false, func(d string) (string, error) { return d + "/run", os.WriteFile(d+"/run", nil, 0o600) }, "cannot open its directory"},
		{"a link", false, func(d string) (string, error) {
			return d + "/link", errors.Join(os.Mkdir(d+"/run", 0o700), os.Symlink("run", d+"/link"))
		}, ""},
		{"a link to nothing", false, func(d string) (string, error) { return d + "/link", os.Symlink("run", d+"/link") }, "cannot reach"},
		{"a link to a sticky one", false, func(d string) (string, error) {
			return d + "/link", errors.Join(os.Mkdir(d+"/run", 0o700), os.Chmod(d+"/run", 0o777|os.ModeSticky), os.Symlink("run", d+"/link"))
		}, "a directory of its own"},
		{"another's link", true, func(d string) (string, error) {
			return d + "/link", errors.Join(os.Mkdir(d+"/run", 0o700), os.Symlink("run", d+"/link"), os.Lchown(d+"/link", other, other))
		}, "symbolic link of uid 65534"},
		{"behind another's link", true, func(d string) (string, error) {
			return d + "/link/run", errors.Join(os.MkdirAll(d+"/a/run", 0o700), os.Symlink("a", d+"/link"), os.Lchown(d+"/link", other, other))
		}, "symbolic link of uid 65534"},
		{"a link through a place for everybody to write", false, func(d string) (string, error) {
			return d + "/link", errors.Join(os.MkdirAll(d+"/a/run", 0o700), os.Chmod(d+"/a", 0o777), os.Symlink("a/run", d+"/link"))
		}, "anybody may put files"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			if tt.root {
				nobody(t)
			}
			top := filepath.Dir(filepath.Dir(newPath(t)))
			dir, err := tt.prepare(top)
			if err != nil {
				t.Fatal(err)
			}
			l, err := Listen(ListenConfig{Path: filepath.Join(dir, "control.sock")})
			if err == nil {
				talk(t, l)
				l.Close()
			}
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("got %v, want an error with %q", err, tt.refused)
			}
		})
	}
}

func TestLockFileOfAnotherUserIsNotTaken(t *testing.T) {
	noLeaks(t)
	nobody(t)
	path := newPath(t)
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path+".lock", nil, 0o600), os.Chown(path+".lock", 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(ListenConfig{Path: path}); err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
		t.Errorf("Listen: %v", err)
	}
}
