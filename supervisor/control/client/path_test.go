package client

import "testing"

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
	if got := ResolvePath("/srv/from-flag.sock"); got != "/srv/from-flag.sock" {
		t.Errorf("the flag gives way to the environment: %s", got)
	}
	if got := ResolvePath(""); got != "/srv/from-environment.sock" {
		t.Errorf("no flag: got %s", got)
	}
}
