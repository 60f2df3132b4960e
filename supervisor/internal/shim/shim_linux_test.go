package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain says that it got this far where it was asked to: then the process
// was not taken for a shim.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_SHIM") != "" {
		fmt.Print("main")
		return
	}
	os.Exit(m.Run())
}

const allOf = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

func memfd(t *testing.T, content []byte, seals int) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("order", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "order")
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return f
}

// run starts this binary with f as descriptor 3 and a pipe as 4, and returns
// what it printed, its exit code, and what came through the pipe.
func run(t *testing.T, f *os.File, variable string) (printed string, code int, reported []byte) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{Name}
	cmd.Env = append(os.Environ(), "TEST_SHIM=1", "GORACE=atexit_sleep_ms=0", variable)
	cmd.ExtraFiles = []*os.File{f, w}
	out, err := cmd.Output()
	w.Close()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if reported, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return string(out), code, reported
}

// Only a sealed memfd with the mark makes a shim. Everything else, whatever it is
// called and whatever its environment says, is the program that it is.
func TestNoProgramIsTakenForAShim(t *testing.T) {
	order := encode(t, Order{Parent: os.Getpid(), Report: 4, Path: "/bin/echo", Argv: []string{"echo", "hijacked"}})
	plain, err := os.CreateTemp(t.TempDir(), "order")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Write(order); err != nil {
		t.Fatal(err)
	}
	good := Variable + "=3"
	for _, c := range []struct {
		name     string
		file     *os.File
		variable string
	}{
		{"a regular file", plain, good},
		{"a memfd without seals", memfd(t, order, 0), good},
		{"a seal is missing", memfd(t, order, allOf&^unix.F_SEAL_WRITE), good},
		{"no mark", memfd(t, []byte("something else, long enough for a mark"), allOf), good},
		{"another version", memfd(t, bytes.Replace(order, []byte("\x01"), []byte("\x02"), 1), allOf), good},
		{"empty", memfd(t, nil, allOf), good},
		{"no variable", memfd(t, order, allOf), "NOTHING=3"},
		{"no number", memfd(t, order, allOf), Variable + "=3:"},
		{"no number at all", memfd(t, order, allOf), Variable + "="},
		{"a huge number", memfd(t, order, allOf), Variable + "=18446744073709551619"},
		{"a closed descriptor", memfd(t, order, allOf), Variable + "=77"},
	} {
		if printed, code, reported := run(t, c.file, c.variable); printed != "main" || code != 0 || len(reported) > 0 {
			t.Errorf("%s: printed %q, exit code %d, reported %q", c.name, printed, code, reported)
		}
	}
}

func TestShimBecomesTheProgram(t *testing.T) {
	o := Order{Parent: os.Getpid(), Report: 4, Path: "/bin/sh", Argv: []string{"sh", "-c", `echo $0 $X $BROOD_SHIM; [ -e /proc/$$/fd/3 ] || [ -e /proc/$$/fd/4 ] || echo closed; exit 5`, "zero"}, Env: []string{"X=1", "PATH=/bin:/usr/bin"}}
	printed, code, reported := run(t, memfd(t, encode(t, o), allOf), Variable+"=3")
	if printed != "zero 1\nclosed\n" || code != 5 {
		t.Errorf("printed %q, exit code %d", printed, code)
	}
	if ran, failure := Outcome(reported); !ran || failure != nil {
		t.Errorf("%v, %+v", ran, failure)
	}
}

// Once it is one, nothing makes it go on as something else.
func TestShimRunsNothingElse(t *testing.T) {
	good := Order{Parent: os.Getpid(), Report: 4, Path: "/bin/echo", Argv: []string{"echo", "ran"}}
	orphan, missing := good, good
	orphan.Parent = 1 << 30
	missing.Path = "/no/such/program"
	for _, c := range []struct {
		name  string
		order []byte
		want  *Failure
	}{
		{"it ends too early", encode(t, good)[:100], nil},
		{"its parent is gone", encode(t, orphan), nil},
		{"the program is missing", encode(t, missing), &Failure{StepExec, 0, unix.ENOENT}},
	} {
		printed, code, reported := run(t, memfd(t, c.order, allOf), Variable+"=3")
		ran, failure := Outcome(reported)
		if printed != "" || code != failed || ran || (failure == nil) != (c.want == nil) || failure != nil && *failure != *c.want {
			t.Errorf("%s: printed %q, exit code %d, %v, %+v", c.name, printed, code, ran, failure)
		}
	}
}

// The package is first in the program's start only while it imports next to
// nothing.
func TestImportsNextToNothing(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports " "}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); !slices.Equal(got, []string{"syscall", "unsafe"}) {
		t.Errorf("it imports %q", got)
	}
}
