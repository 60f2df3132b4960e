package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What a command costs before its first line of main is what all packages
// linked in allocate in their initialisation, whether it needs them or not.
const (
	mostInitAllocs = 1000
	mostInitBytes  = 192 << 10
)

var initTrace = regexp.MustCompile(`(?m)^init (\S+) @.* clock, (\d+) bytes, (\d+) allocs$`)

// TestStartUpIsCheap: a package that builds tables at its start is found out
// here, by name, before it makes every `brood status` slower.
func TestStartUpIsCheap(t *testing.T) {
	s := serve(t, "-n", "1", "--log-level", "error", "--", "echo-worker")
	r := shell(t, s.socket, "GODEBUG=inittrace=1 brood status")
	bytes, allocs, worst, most := 0, 0, "", 0
	for _, m := range initTrace.FindAllStringSubmatch(r.stderr, -1) {
		if strings.HasPrefix(m[1], "github.com/rogpeppe/go-internal/") {
			continue // the tests' own
		}
		b, _ := strconv.Atoi(m[2])
		n, _ := strconv.Atoi(m[3])
		bytes, allocs = bytes+b, allocs+n
		if n > most {
			worst, most = m[1], n
		}
	}
	if allocs == 0 {
		t.Fatalf("no trace: %v", r)
	}
	t.Logf("%d bytes in %d allocations, most of them (%d) in %s", bytes, allocs, most, worst)
	if allocs > mostInitAllocs || bytes > mostInitBytes {
		t.Errorf("%d bytes in %d allocations before main, %d of them in %s", bytes, allocs, most, worst)
	}
}

// BenchmarkStatusProcess is `brood status` from start to exit, as packages
// build it, beside a program that does nothing.
func BenchmarkStatusProcess(b *testing.B) {
	program := filepath.Join(b.TempDir(), "brood")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	s := serve(b, "-n", "4", "--log-level", "error", "--", "echo-worker")
	for _, bb := range []struct {
		name string
		args []string
	}{
		{"true", []string{"/bin/true"}}, {"version", []string{program, "version"}},
		{"status", []string{program, "--socket", s.socket, "status"}}, {"send", []string{program, "--socket", s.socket, "send", "@1", "echo"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				if err := exec.Command(bb.args[0], bb.args[1:]...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
