package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain runs this binary as another program when the first argument names
// one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "as-program" {
		program := programs[os.Args[2]]
		if program == nil {
			fmt.Println("no such program:", os.Args[2])
			os.Exit(2)
		}
		program(os.Args[3:])
		os.Exit(0)
	}
	before := descriptors()
	code := m.Run()
	if now := descriptors(); code == 0 && now > before {
		fmt.Printf("leak: %d descriptors before, %d now\n", before, now)
		code = 1
	}
	os.Exit(code)
}

// descriptors are counted after the runtime has made its own.
func descriptors() int {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	return len(fds)
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// writable is the cgroup to work in, or the test is skipped.
func writable(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to write to a cgroup")
	}
	dir, _, _, err := locate("")
	if err != nil {
		t.Skipf("needs cgroup v2: %v", err)
	}
	return dir
}

// scratch is a new cgroup that is gone after the test.
func scratch(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(writable(t), fmt.Sprintf("brood-test-%d-%s", os.Getpid(), t.Name()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g := Group{dir: dir}
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
		if err := g.Remove(deadline(t)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// tree is a tree that must close cleanly.
func tree(t *testing.T, base string) *Tree {
	t.Helper()
	tr, err := Open(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(tr.dir); err == nil {
			t.Errorf("%s is left", tr.dir)
		}
	})
	return tr
}

// program is a started process whose output is read line by line. Its end is
// that of stdin.
type program struct {
	*exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// start starts a command in a cgroup; empty: in this process's own.
func start(t *testing.T, dir string, command ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(command[0], command[1:]...)}
	p.Stderr = os.Stderr
	p.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	if dir != "" {
		g := Group{dir: dir}
		fd, err := g.FD()
		if err != nil {
			t.Fatal(err)
		}
		defer fd.Close()
		p.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
	}
	var err error
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// itself starts this binary as one of programs.
func itself(t *testing.T, dir, name string, args ...string) *program {
	t.Helper()
	return start(t, dir, append([]string{os.Args[0], "as-program", name}, args...)...)
}

func (p *program) line(t *testing.T) string {
	t.Helper()
	text, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, then %v", text, err)
	}
	return strings.TrimSuffix(text, "\n")
}

// expect reads the line that says that all went well.
func (p *program) expect(t *testing.T, want string) {
	t.Helper()
	if got := p.line(t); got != want {
		rest, _ := io.ReadAll(p.out)
		t.Fatalf("%s\n%s", got, rest)
	}
}

func (p *program) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
}

// alive are those of pids that are not zombies.
func alive(pids []int) []int {
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.HasPrefix(string(b[strings.LastIndexByte(string(b), ')')+1:]), " Z")
	})
}
