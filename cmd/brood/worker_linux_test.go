package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestPDEATHSIGFiresWithTheThread: a process that was asked for by a thread that
// has ended since lives on.
func TestPDEATHSIGFiresWithTheThread(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stdout = &said
	var wait func() error
	asked := make(chan int)
	var ask func()
	ask = func() {
		runtime.LockOSThread()               // and never unlocked: the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() { // but the first one does not
			go ask()
			<-t.Context().Done()
			return
		}
		wait, err = startBound(cmd)
		asked <- syscall.Gettid()
	}
	go ask()
	thread := fmt.Sprintf("/proc/self/task/%d", <-asked)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the thread has ended", func() bool {
		_, err := os.Stat(thread)
		return os.IsNotExist(err)
	})
	io.WriteString(in, "still here")
	in.Close()
	if err := wait(); err != nil || said.String() != "still here" {
		t.Errorf("it has said %q, %v", said.String(), err)
	}
}

// What a command's program leaves in its process group ends with it, whether it has
// done its work or was given up.
func TestCommandsGroupEndsWithIt(t *testing.T) {
	need(t, "sh", "sleep")
	pid := filepath.Join(t.TempDir(), "pid")
	leaves := script(t, `(trap '' TERM; exec sleep 1000) & echo $! >`+pid+`
[ "$1" = go ] || wait
echo gone`)
	s := serve(t, "-n", "1", "--name", "web", "--", filepath.Join(binDir, "brood"), "worker", "--on", "leave="+leaves, "--", "sleep", "1000")
	for line, code := range map[string]int{"brood send web/1 leave go": 0, "brood send --timeout 2s web/1 leave stay": exitTimeout} {
		os.Remove(pid)
		if r := shell(t, s.socket, line); r.code != code || code == 0 && r.stdout != "gone\n" {
			t.Errorf("%s: %v", line, r)
		}
		text, err := os.ReadFile(pid)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		until(t, line+": what it has left is gone", func() bool { return syscall.Kill(n, 0) == syscall.ESRCH })
	}
}
