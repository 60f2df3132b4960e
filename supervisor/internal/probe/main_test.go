package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// TestMain: after the package, no goroutine, descriptor or child is left over.
func TestMain(m *testing.M) {
	if r, w, err := os.Pipe(); err == nil { // the runtime's poller makes its own descriptors, which stay
		r.Close()
		w.Close()
	}
	before := takeCensus()
	code := m.Run()
	if leak := before.leak(); leak != "" && code == 0 {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// census is how many goroutines, descriptors and children, zombies included,
// there are.
type census struct{ goroutines, fds, children int }

func takeCensus() census {
	return census{runtime.NumGoroutine(), len(openFDs()), len(children())}
}

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

func children() []string {
	var all []string
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, path := range tasks {
		b, _ := os.ReadFile(path) // the thread may have ended
		all = append(all, strings.Fields(string(b))...)
	}
	return all
}

// leak says what there is more of than before, or "". What is on its way out is
// given time.
func (c census) leak() string {
	for end := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		now := takeCensus()
		if now.goroutines <= c.goroutines && now.fds <= c.fds && now.children <= c.children {
			return ""
		}
		if time.Now().After(end) {
			var b strings.Builder
			fmt.Fprintf(&b, "before %+v, after %+v\n%s\n%s\n", c, now, strings.Join(openFDs(), "\n"), children())
			_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
			return b.String()
		}
	}
}

// noLeaks checks, when the test is over, that it left nothing behind. It is
// called first.
func noLeaks(t *testing.T) {
	t.Helper()
	before := takeCensus()
	t.Cleanup(func() {
		if leak := before.leak(); leak != "" {
			t.Error(leak)
		}
	})
}

// soon is a time that is never reached, but by a test that hangs.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// shortly is for what never answers: long enough to get there.
func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// wantError checks that err has all the words in it.
func wantError(t *testing.T, err error, all ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", all)
		return
	}
	for _, w := range all {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %q, want %q in it", err, w)
		}
	}
	if n := len(err.Error()); n > 2*maxWords {
		t.Errorf("an error of %d bytes", n)
	}
}
