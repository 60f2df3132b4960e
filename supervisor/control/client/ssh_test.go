package client

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/brood/ipc"
)

func TestParseHost(t *testing.T) {
	for _, tt := range []struct{ text, want string }{ // want: ssh's last words, or what the error says
		{"ssh://box", "-- box brood stdio"},
		{"ssh://deploy@box:2222", "-p 2222 -- deploy@box brood stdio"},
		{"ssh://box/srv/a.sock", "-- box brood stdio --socket /srv/a.sock"},
		{"ssh://box/srv/it's%20mine", `-- box brood stdio --socket '/srv/it'\''s mine'`},
		{"ssh://[::1]:22/?brood=/opt/brood", "-p 22 -- ::1 /opt/brood stdio"},
		{"box", "ssh://user@box"},
		{"http://box", "begin with ssh://"},
		{"ssh://", "names no machine"},
		{"ssh://-oProxyCommand=x", "can't begin with -"},
		{"ssh://-l@box", "can't begin with -"},
		{"ssh://a:b@box", "password"},
		{"ssh://box?x=1", "?x= has no meaning"},
		{"ssh://box#1", "# has no meaning"},
	} {
		h, err := parseHost(tt.text)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
			}
			continue
		}
		if got := strings.Join(h.command(context.Background()).Args, " "); !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.text, got, tt.want)
		}
	}
}

// TestTunnelErrors: a made-up ssh for each way there is no tunnel.
func TestTunnelErrors(t *testing.T) {
	for _, tt := range []struct {
		script string
		is     error
		want   string
	}{
		{"echo 'brood: no supervisor: there is no socket' >&2; exit 4", ErrNoSupervisor, "on ssh://box"},
		{"echo 'brood: permission denied: not you' >&2; exit 5", ErrDenied, "not you"},
		{"echo 'sh: brood: not found' >&2; exit 127", nil, "?brood="},
		{"echo 'Permission denied (publickey).' >&2; exit 255", nil, "ssh box true"},
		{"exit 3", nil, "code 3"},
		{"exec sleep 60", ipc.ErrTimeout, "in time"},
		{"yes", nil, "no brood"},
	} {
		dir := t.TempDir()
		ssh := filepath.Join(dir, "ssh")
		if err := os.WriteFile(ssh, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("BROOD_SSH", ssh)
		c, err := NewHost("ssh://box")
		if err != nil {
			t.Fatal(err)
		}
		wait := 30 * time.Second
		if errors.Is(tt.is, ipc.ErrTimeout) {
			wait = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		_, err = c.Version(ctx)
		cancel()
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %v and %q", tt.script, err, tt.is, tt.want)
		}
	}
}
