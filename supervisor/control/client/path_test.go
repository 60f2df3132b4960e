package client

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDefaultPath(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		uid  int
		goos string
		want string
	}{
		{"root", nil, 0, "linux", "/run/brood/control.sock"},
		{"root where there is no /run", nil, 0, "darwin", "/var/run/brood/control.sock"},
		{"root is not led by a user's directory", map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000"}, 0, "linux", "/run/brood/control.sock"},
		{"user", map[string]string{"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, "linux", "/run/user/1000/brood/control.sock"},
		{"user without a runtime directory", nil, 1000, "linux", "/tmp/brood-1000/control.sock"},
		{"a relative runtime directory is none", map[string]string{"XDG_RUNTIME_DIR": "run"}, 1000, "linux", "/tmp/brood-1000/control.sock"},
		{"the variable beats all", map[string]string{"BROOD_SOCKET": "/srv/a.sock", "XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, "linux", "/srv/a.sock"},
		{"the variable beats all for root", map[string]string{"BROOD_SOCKET": "/srv/a.sock"}, 0, "linux", "/srv/a.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := defaultPath(func(k string) string { return tt.env[k] }, tt.uid, tt.goos)
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestResolvePath(t *testing.T) {
	t.Setenv("BROOD_SOCKET", "/srv/from-environment.sock")
	if got, err := ResolvePath("/srv/from-flag.sock"); got != "/srv/from-flag.sock" || err != nil {
		t.Errorf("the flag gives way to the environment: %s %v", got, err)
	}
	if got, err := ResolvePath(""); got != "/srv/from-environment.sock" || err != nil {
		t.Errorf("no flag: got %s %v", got, err)
	}
}

// TestPlantedPath: a socket in a directory that others could have made, or could
// change, is passed over for the system's, and where there is none that is an error
// that says so.
func TestPlantedPath(t *testing.T) {
	dir := t.TempDir()
	system, tmp := filepath.Join(dir, "system.sock"), filepath.Join(dir, "brood-1000")
	own := filepath.Join(tmp, "control.sock")
	remake := func(mode os.FileMode) {
		t.Helper()
		os.RemoveAll(tmp)
		if err := errors.Join(os.Mkdir(tmp, 0o700), os.Chmod(tmp, mode), os.WriteFile(own, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(dir, "elsewhere")
	if err := errors.Join(os.Mkdir(elsewhere, 0o700), os.WriteFile(filepath.Join(elsewhere, "control.sock"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		make func()
		why  string // empty: it is trusted
	}{
		{"one's own", func() { remake(0o700) }, ""},
		{"one's own, for all to pass through", func() { remake(0o755) }, ""},
		{"the group may write", func() { remake(0o770) }, "others may put files there"},
		{"all may write", func() { remake(0o1777) }, "others may put files there"},
		{"a link", func() { os.RemoveAll(tmp); os.Symlink(elsewhere, tmp) }, "no directory"},
		{"another's", func() {
			remake(0o755)
			if err := os.Chown(tmp, 61000, -1); err != nil {
				t.Skip("only root can give files away")
			}
		}, "belongs to uid 61000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.make()
			got, err := resolvePath(own, system, tmp)
			if got != own || (err == nil) != (tt.why == "") {
				t.Errorf("got %s, %v", got, err)
			}
			if err != nil && (!errors.Is(err, ErrNoSupervisor) || !strings.Contains(err.Error(), tt.why) || !strings.Contains(err.Error(), tmp)) {
				t.Errorf("it says %v", err)
			}
			if got, err := resolvePath(own, system, "/tmp/brood-0"); got != own || err != nil {
				t.Errorf("elsewhere than in /tmp: got %s, %v", got, err)
			}
			if err := os.WriteFile(system, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(system)
			want := own
			if tt.why != "" {
				want = system
			}
			if got, err := resolvePath(own, system, tmp); got != want || err != nil {
				t.Errorf("with a system's: got %s, %v; want %s", got, err, want)
			}
		})
	}
}
