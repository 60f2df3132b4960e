// Package bench measures brood beside floors and peers, each claim in one run
// on one machine. What it prints are medians and ratios.
package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor"
)

// Rounds of each figure; its median is what counts.
const rounds = 5

// built compiles the C programs once.
func built(b *testing.B) (child, floor string) {
	b.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("brood-bench-%d", os.Getpid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"child", "floor"} {
		out := filepath.Join(dir, name)
		if _, err := os.Stat(out); err == nil {
			continue
		}
		cc := exec.Command("gcc", "-O2", "-static", "-Wall", "-o", out, "c/"+name+".c")
		if text, err := cc.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, text)
		}
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "child"), filepath.Join(dir, "floor")
}

// marks is the FIFO on which children say when their main began.
type marks struct {
	path string
	file *os.File
}

// mark is one of them: nanoseconds of CLOCK_MONOTONIC, and who.
type mark struct {
	at  int64
	pid int
}

func newMarks(b *testing.B) *marks {
	b.Helper()
	path := filepath.Join(b.TempDir(), "marks")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // both ends, so that there is never an EOF
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return &marks{path, f}
}

func (m *marks) next(b *testing.B) mark {
	b.Helper()
	var buf [16]byte
	if err := m.file.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(m.file, buf[:]); err != nil {
		b.Fatal(err)
	}
	return mark{int64(binary.NativeEndian.Uint64(buf[:])), int(binary.NativeEndian.Uint64(buf[8:]))}
}

func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}

// floorRun starts n children from bare C and returns the milliseconds until the
// last was in main, and to stop them.
func floorRun(b *testing.B, floor, child string, n int) (start, stop float64) {
	b.Helper()
	m := newMarks(b)
	cmd := exec.Command(floor, "start", strconv.Itoa(n), child)
	cmd.Env = []string{"MARK=" + m.path}
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var last int64
	for range n {
		last = max(last, m.next(b).at)
	}
	lines := bufio.NewScanner(out)
	number := func() float64 {
		if !lines.Scan() {
			b.Fatal("the floor ended early")
		}
		v, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return float64(v)
	}
	start = (float64(last) - number()) / 1e6
	fmt.Fprintln(in)
	stop = number() / 1e6
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return start, stop
}

// figures are those of one run of brood.
type figures struct{ start, stop, rss, threads, fds, idle float64 }

// TestMain runs this binary as the supervisor to be measured when it is started
// as one, so that what is measured is a process of its own.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		supervise(os.Args[2], os.Args[3])
		return
	}
	os.Exit(m.Run())
}

// supervise runs n workers until a line comes on stdin, and prints when it began
// and ended.
func supervise(child, count string) {
	n, err := strconv.Atoi(count)
	if err != nil {
		panic(err)
	}
	s, err := supervisor.New(supervisor.Config{Reaper: true, Pools: []supervisor.Pool{{ // as brood run
		Name: "web", Command: []string{child}, Workers: n, Restart: supervisor.Restart{Budget: -1, Rate: -1, Stable: time.Nanosecond},
	}}})
	if err != nil {
		panic(err)
	}
	begin := monotonic()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	seen := awaitReady(s, n)
	fmt.Println(begin, monotonic())
	go tellReady(s, seen)
	fmt.Scanln()
	begin = monotonic()
	s.Shutdown(false)
	if err := <-ended; err != nil {
		panic(err)
	}
	fmt.Println(begin, monotonic())
}

// tellReady prints a line for each worker that becomes ready.
func tellReady(s *supervisor.Supervisor, seen uint64) {
	for {
		events, news := s.Events(seen)
		for _, e := range events {
			seen = e.Seq
			if e.Kind == supervisor.EventState && e.Text == "ready" {
				fmt.Println("ready")
			}
		}
		select {
		case <-news:
		case <-s.Done():
			return
		}
	}
}

// awaitReady waits until every worker has become ready. It counts events: a
// look at the status of a thousand, a thousand times, would be measured too.
func awaitReady(s *supervisor.Supervisor, n int) (seen uint64) {
	for ready := 0; ; {
		events, news := s.Events(seen)
		for _, e := range events {
			seen = e.Seq
			if e.Kind == supervisor.EventState && e.Text == "ready" {
				ready++
			}
		}
		if ready == n {
			return seen
		}
		if len(events) == 0 {
			<-news
		}
	}
}

// supervised is a measured supervisor at work.
type supervised struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startSupervised(b *testing.B, child string, n int, env ...string) (*supervised, float64) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	s := &supervised{cmd: exec.Command(self, "supervise", child, strconv.Itoa(n))}
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	s.lines = bufio.NewScanner(out)
	return s, s.span(b)
}

// span is the milliseconds between the two times of a line.
func (s *supervised) span(b *testing.B) float64 {
	b.Helper()
	var begin, end int64
	for s.lines.Scan() && s.lines.Text() == "ready" {
	}
	if _, err := fmt.Sscan(s.lines.Text(), &begin, &end); err != nil {
		b.Fatal(err)
	}
	return float64(end-begin) / 1e6
}

func (s *supervised) stop(b *testing.B) float64 {
	b.Helper()
	fmt.Fprintln(s.in)
	ms := s.span(b)
	if err := s.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return ms
}

// status is a number of /proc/PID/status.
func (s *supervised) status(b *testing.B, key string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			v, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return v
		}
	}
	b.Fatalf("no %s", key)
	return 0
}

// cpu is the seconds of processor time the supervisor has used.
func (s *supervised) cpu(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// idleTime is how long a pool's supervisor is watched doing nothing but ping.
const idleTime = 10 * time.Second

func broodRun(b *testing.B, child string, n int, idle bool) figures {
	b.Helper()
	s, start := startSupervised(b, child, n)
	f := figures{start: start}
	if idle {
		before := s.cpu(b)
		time.Sleep(idleTime) // a measurement over time, not a wait for a state
		f.idle = 100 * (s.cpu(b) - before) / idleTime.Seconds()
	}
	f.rss, f.threads = s.status(b, "VmRSS"), s.status(b, "Threads")
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	f.fds = float64(len(fds))
	f.stop = s.stop(b)
	return f
}

// BenchmarkThousandWorkers starts and stops 1,000 workers that speak the
// protocol, each with its socketpair and two pipes, beside bare C that vforks
// the same program.
func BenchmarkThousandWorkers(b *testing.B) {
	child, floor := built(b)
	const n = 1000
	for b.Loop() {
		var start, stop, cStart, cStop []float64
		var f figures
		for i := range rounds {
			cs, ct := floorRun(b, floor, child, n)
			f = broodRun(b, child, n, i == rounds-1)
			cStart, cStop = append(cStart, cs), append(cStop, ct)
			start, stop = append(start, f.start), append(stop, f.stop)
		}
		base := broodRun(b, child, 1, false)
		b.ReportMetric(median(start), "start-ms")
		b.ReportMetric(median(cStart), "c-start-ms")
		b.ReportMetric(median(start)/median(cStart), "start/c")
		b.ReportMetric(median(stop), "stop-ms")
		b.ReportMetric(median(cStop), "c-stop-ms")
		b.ReportMetric(median(stop)/median(cStop), "stop/c")
		b.ReportMetric(f.rss, "rss-KiB")
		b.ReportMetric((f.rss-base.rss)/(n-1), "rss-KiB/worker")
		b.ReportMetric(f.threads, "threads")
		b.ReportMetric(f.fds, "fds")
		b.ReportMetric(f.idle, "idle-cpu-%")
	}
}

// restartTimes kills the newest child so many times and returns the
// milliseconds until the next was in its main. settled waits until that one may
// be killed: a worker that was never ready is not restarted at once.
func restartTimes(b *testing.B, m *marks, victim mark, times int, settled func()) (all []float64, last mark) {
	b.Helper()
	for range times {
		begin := monotonic()
		if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		victim = m.next(b)
		all = append(all, float64(victim.at-begin)/1e6)
		settled()
	}
	return all, victim
}

// BenchmarkRestart is the time from the kill of a worker to the next process
// in its main, beside bare C's waitpid and vfork.
func BenchmarkRestart(b *testing.B) {
	child, floor := built(b)
	const times = 100
	for b.Loop() {
		m := newMarks(b)
		keep := exec.Command(floor, "keep", child)
		keep.Env = []string{"MARK=" + m.path}
		if err := keep.Start(); err != nil {
			b.Fatal(err)
		}
		all, last := restartTimes(b, m, m.next(b), times, func() {})
		c := median(all)
		keep.Process.Kill()
		keep.Wait()
		_ = syscall.Kill(last.pid, syscall.SIGKILL) // which nobody keeps any more
		b.ReportMetric(c, "c-ms")
		for _, n := range []int{1, 1000} {
			m := newMarks(b)
			s, _ := startSupervised(b, child, n, "MARK="+m.path)
			var victim mark
			for range n {
				victim = m.next(b)
			}
			all, _ := restartTimes(b, m, victim, times, func() {
				if !s.lines.Scan() || s.lines.Text() != "ready" {
					b.Fatal("the worker did not become ready")
				}
			})
			ms := median(all)
			s.stop(b)
			b.ReportMetric(ms, fmt.Sprintf("with-%d-ms", n))
			b.ReportMetric(ms/c, fmt.Sprintf("with-%d/c", n))
		}
	}
}
