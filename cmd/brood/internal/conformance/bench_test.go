package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/ipc"
)

// BenchmarkWorkers is a round trip to a worker in each language, by one caller
// and by 64 at once: `pid`, which does nothing, and an echo of 16 bytes.
func BenchmarkWorkers(b *testing.B) {
	dir := b.TempDir()
	build := func(program string, args ...string) {
		cmd := exec.Command(program, args...)
		cmd.Dir = "../../../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
	}
	build("go", "build", "-o", filepath.Join(dir, "go"), "./examples/echo")
	build("gcc", "-O2", "-o", filepath.Join(dir, "c"), "examples/c/worker.c")
	python, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		b.Fatal(err)
	}
	for _, w := range []struct {
		name    string
		command []string
	}{
		{"go", []string{filepath.Join(dir, "go")}},
		{"c", []string{filepath.Join(dir, "c")}},
		{"node", []string{"node", "../../../../examples/node/worker.js"}},
		{"python", []string{strings.TrimSpace(string(python)), "../../../../examples/python/worker.py"}},
	} {
		for _, command := range []string{"pid", "echo"} {
			for _, callers := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%s/%d", w.name, command, callers), func(b *testing.B) { roundTrips(b, w.command, command, callers) })
			}
		}
	}
}

func roundTrips(b *testing.B, worker []string, command string, callers int) {
	parent, child, err := ipc.Pair()
	if err != nil {
		b.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(child.Fd()), &st); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(worker[0], worker[1:]...)
	cmd.ExtraFiles = []*os.File{child}
	cmd.Env = append(os.Environ(), fmt.Sprintf("BROOD_FD=3:%d", st.Ino))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	child.Close()
	ready := make(chan struct{})
	c, err := ipc.NewConn(parent, ipc.Config{Role: ipc.Supervisor, OnReady: func() { close(ready) }})
	if err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer c.Close()
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		b.Fatal("the worker is not ready")
	}
	payload := ipc.Bytes([]byte("sixteen bytes ok"))
	calls := make(chan struct{}, callers)
	var group sync.WaitGroup
	b.ResetTimer()
	for range callers {
		group.Go(func() {
			for range calls {
				if _, err := c.Call(context.Background(), command, payload); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		calls <- struct{}{}
	}
	close(calls)
	group.Wait()
}
