package process

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// BenchmarkStart is the time from the call to the end of /bin/true, and with
// it what the shim costs: bare is fork, exec and wait by package syscall alone.
func BenchmarkStart(b *testing.B) {
	one, mask := 1, uint32(0o22)
	b.Run("bare", func(b *testing.B) {
		s := spec(b, "/bin/true")
		for b.Loop() {
			pid, err := syscall.ForkExec("/bin/true", s.Command, &syscall.ProcAttr{Env: s.Env, Files: []uintptr{0, 1, 2}})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, c := range []struct {
		name string
		attr Attr
	}{
		{"plain", Attr{}},
		{"shim", Attr{Umask: &mask}},
		{"shim-user", Attr{Umask: &mask, Nice: &one, Limits: []Limit{{LimitNames["core"], 0, 0}}, Credential: &Credential{UID: 65534, GID: 65534}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			if c.attr.Credential != nil && os.Geteuid() != 0 {
				b.Skip("needs root")
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			s := spec(b, "/bin/true")
			s.Attr = c.attr
			for b.Loop() {
				p, err := Start(s)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
