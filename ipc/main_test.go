package ipc

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// After the package, no goroutine and no descriptor is left over.
func TestMain(m *testing.M) {
	asChild()
	flag.Parse()
	if p, c, err := Pair(); err == nil { // the runtime's poller opens its own at the first use
		p.Close()
		c.Close()
	}
	before := takeCensus()
	code := m.Run()
	if leak := before.leak(); leak != "" && code == 0 && !fuzzing() {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// fuzzing reports whether the engine runs, which keeps goroutines of its own.
func fuzzing() bool {
	for _, name := range []string{"test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != f.DefValue {
			return true
		}
	}
	return false
}

// census is how many goroutines and descriptors there are.
type census struct{ goroutines, fds int }

func takeCensus() census { return census{runtime.NumGoroutine(), len(openFDs())} }

// openFDs says of each descriptor what it is. It is empty where /proc is missing.
func openFDs() []string {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var open []string
	for _, n := range names {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", n)); err == nil && n != fmt.Sprint(dir.Fd()) {
			open = append(open, n+" "+target)
		}
	}
	return open
}

// leak says what there is more of than before, or "". Goroutines that are on
// their way out are given time.
func (c census) leak() string {
	gone := func() bool { return runtime.NumGoroutine() <= c.goroutines && len(openFDs()) <= c.fds }
	if yieldUntil(gone) {
		return ""
	}
	var b strings.Builder
	now := takeCensus()
	fmt.Fprintf(&b, "%d goroutines and %d descriptors before, %d and %d after\n", c.goroutines, c.fds, now.goroutines, now.fds)
	fmt.Fprintln(&b, strings.Join(openFDs(), "\n"))
	pprof.Lookup("goroutine").WriteTo(&b, 1)
	return b.String()
}

// longest is how long a test waits for what must come, on a machine however slow.
const longest = time.Minute

// yieldUntil lets others run until cond holds, for conditions that nothing
// announces.
func yieldUntil(cond func() bool) bool {
	for start := time.Now(); !cond(); runtime.Gosched() {
		if time.Since(start) > longest {
			return false
		}
	}
	return true
}

// eventually fails the test when cond does not come true.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if !yieldUntil(cond) {
		t.Fatalf("never came true: %s", what)
	}
}

// noLeaks checks, when the test is over, that it left nothing behind.
func noLeaks(t *testing.T) {
	t.Helper()
	before := takeCensus()
	t.Cleanup(func() {
		if leak := before.leak(); leak != "" {
			t.Error(leak)
		}
	})
}
