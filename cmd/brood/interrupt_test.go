package main

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInterruptEndsWhatGoesOn with exit code 0, also where the supervisor does not
// answer; what does not go on has failed.
func TestInterruptEndsWhatGoesOn(t *testing.T) {
	path := filepath.Join(socketDir(t), "mute.sock")
	mute, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for line, want := range map[string]int{
		"events -f": exitDone, "logs -f": exitDone, "status -w": exitDone, "events": exitError,
	} {
		cmd := exec.Command(filepath.Join(binDir, "brood"), append([]string{"--socket", path}, strings.Fields(line)...)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		mute.(*net.UnixListener).SetDeadline(time.Now().Add(30 * time.Second))
		c, err := mute.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(30 * time.Second))
		c.Read(make([]byte, 1)) // it asks
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
		c.Close()
		if got := cmd.ProcessState.ExitCode(); got != want || (said.Len() == 0) != (want == exitDone) {
			t.Errorf("%s: exit %d, want %d; it says %q", line, got, want, &said)
		}
	}
}
