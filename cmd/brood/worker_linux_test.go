package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
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
