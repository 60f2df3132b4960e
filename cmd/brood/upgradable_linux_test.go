package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// upgradable is a brood of its own file, which a test may replace.
type upgradable struct {
	*server
	program, file string
}

// serveUpgradable runs config, or what it names, by a copy of brood.
func serveUpgradable(t *testing.T, config string, args ...string) *upgradable {
	t.Helper()
	u := newUpgradable(t, config, args...)
	u.awaitHealthy()
	return u
}

// newUpgradable does, and does not wait for its workers.
func newUpgradable(t *testing.T, config string, args ...string) *upgradable {
	t.Helper()
	dir := socketDir(t)
	u := &upgradable{program: filepath.Join(dir, "brood"), file: filepath.Join(dir, "brood.yaml")}
	u.install(t)
	u.write(t, config)
	u.server = serveProgram(t, u.program, filepath.Join(dir, "control.sock"), append([]string{"-c", u.file}, args...)...)
	return u
}

// install puts brood where it is started from.
func (u *upgradable) install(t testing.TB) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(binDir, "brood"))
	if err == nil {
		err = os.WriteFile(u.program, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (u *upgradable) write(t testing.TB, config string) {
	t.Helper()
	if err := os.WriteFile(u.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace puts another program in the place of brood's, as an installation does.
func (u *upgradable) replace(text string) {
	u.t.Helper()
	os.Remove(u.program)
	if err := os.WriteFile(u.program, []byte(text), 0o755); err != nil {
		u.t.Fatal(err)
	}
}

func (u *upgradable) upgrade() {
	u.t.Helper()
	if r := shell(u.t, u.socket, "brood upgrade --wait 30s"); r.code != 0 || !strings.HasPrefix(r.stdout, "the supervisor is now brood ") {
		u.t.Fatalf("brood upgrade: %v\n%v", r, u.log)
	}
}

func (u *upgradable) status() api.Status {
	u.t.Helper()
	c := client.New(u.socket)
	defer c.Close()
	st, err := c.Status(u.t.Context())
	if err != nil {
		u.t.Fatalf("%v\n%v", err, u.log)
	}
	return st
}

// workers is each slot's generation and pid, in words.
func workersOf(st api.Status) (all []string) {
	for _, p := range st.Pools {
		for _, w := range p.Slots {
			all = append(all, fmt.Sprintf("%s#%d pid %d %s", w.Target, w.Generation, w.PID, w.State))
		}
	}
	return all
}
