package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a parent process at work, seen from the benchmark. Its child is its
// own affair; the parent says its process id.
type pair struct {
	peer   peer
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	lines  chan string // closed when the parent has ended
	meters *meters
	child  int
}

// patience is how long a parent may take for an answer beyond what it was
// asked to measure.
const patience = 20 * time.Second

// startPair starts a peer's parent, on one CPU if it is pinned: its child
// inherits that.
func startPair(p peer, pinned bool, m *meters, meterPath string, programs *programs) (*pair, error) {
	argv, err := programs.command(p)
	if err != nil {
		return nil, err
	}
	pr := &pair{peer: p, cmd: exec.Command(argv[0], argv[1:]...), meters: m, lines: make(chan string, 16)}
	pr.cmd.Env = append(os.Environ(), meterEnv+"="+meterPath)
	pr.cmd.Stderr = os.Stderr
	if pr.in, err = pr.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := pr.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	pr.out = bufio.NewScanner(out)
	if err := onOneCPU(pinned, pr.cmd.Start); err != nil {
		return nil, err
	}
	go func() {
		defer close(pr.lines)
		for pr.out.Scan() {
			pr.lines <- pr.out.Text()
		}
	}()
	return pr, nil
}

// onOneCPU runs f in a thread that may use the first of our CPUs only, which a
// process started by f inherits.
func onOneCPU(pinned bool, f func() error) error {
	if !pinned {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return errors.Join(f(), os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}

// line waits for the parent's next line and reads numbers out of it.
func (p *pair) line(within time.Duration, format string, values ...any) error {
	select {
	case l, ok := <-p.lines:
		if !ok {
			return errors.New("the parent has ended")
		}
		if _, err := fmt.Sscanf(l, format, values...); err != nil {
			return fmt.Errorf("the parent said %q: %w", l, err)
		}
		return nil
	case <-time.After(within):
		return fmt.Errorf("the parent says nothing for %v", within)
	}
}

// reading is what a pair has used so far.
type reading struct {
	cpu     int64  // nanoseconds
	objects uint64 // allocated
}

func (p *pair) read() (r reading, err error) {
	for _, pid := range []int{p.cmd.Process.Pid, p.child} {
		ns, err := cpuTime(pid)
		if err != nil {
			return r, err
		}
		r.cpu += ns
		if p.peer.foreign() {
			continue
		}
		a, err := p.meters.read(pid)
		if err != nil {
			return r, err
		}
		r.objects += a.Objects
	}
	return r, nil
}

// sample is one measurement.
type sample struct{ rate, cpu, allocs float64 }

func (p *pair) measure(size, callers int, warm, length time.Duration) (s sample, err error) {
	fmt.Fprintln(p.in, size, callers, warm.Milliseconds(), length.Milliseconds())
	if err := p.line(patience+warm, "warm %d", &p.child); err != nil {
		return s, err
	}
	before, err := p.read()
	if err != nil {
		return s, err
	}
	fmt.Fprintln(p.in, "go")
	var calls, ns int64
	if err := p.line(patience+length, "%d %d", &calls, &ns); err != nil {
		return s, err
	}
	after, err := p.read()
	if err != nil {
		return s, err
	}
	fmt.Fprintln(p.in, "end")
	if calls == 0 {
		return s, errors.New("not a single call")
	}
	n := float64(calls)
	return sample{n / float64(ns) * 1e9, float64(after.cpu-before.cpu) / n / 1e3, float64(after.objects-before.objects) / n}, nil
}

// end ends the parent, and so its child.
func (p *pair) end() {
	p.in.Close()
	for {
		select {
		case _, more := <-p.lines:
			if more {
				continue
			}
		case <-time.After(5 * time.Second):
			p.cmd.Process.Kill()
			if p.child > 0 {
				unix.Kill(p.child, unix.SIGKILL)
			}
		}
		break
	}
	p.cmd.Wait()
}
