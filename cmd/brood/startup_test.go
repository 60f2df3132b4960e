package main

import (
	"io"
	"net"
	"net/http"
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

// TestStatusAsksForNoMoreThanItShows: a table has no commands, which are half of
// what there is to say of many workers.
func TestStatusAsksForNoMoreThanItShows(t *testing.T) {
	socket := filepath.Join(socketDir(t), "control.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	pages := make(chan string, 10)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages <- r.URL.String()
		io.WriteString(w, `{"pools":[]}`)
	})}
	go srv.Serve(l)
	defer srv.Close()
	for line, want := range map[string]string{"brood status": "/v1/status?commands=false", "brood status -o json": "/v1/status"} {
		if r := shell(t, socket, line); r.code != 0 || len(pages) != 1 {
			t.Fatalf("%s asks for %d pages: %v", line, len(pages), r)
		}
		if page := <-pages; page != want {
			t.Errorf("%s asks for %s, want %s", line, page, want)
		}
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
