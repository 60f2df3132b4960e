package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

func init() {
	testWorkers["flood-lines"] = func() { flood(bytes.Repeat([]byte("a line of no great length\n"), 1000)) }
	testWorkers["flood-bytes"] = func() { flood(bytes.Repeat([]byte{'x'}, 26000)) }
}

// flood is a worker that prints as fast as it can, and says how much it has.
func flood(piece []byte) {
	var printed atomic.Int64
	var w worker.Worker
	handleCommon(&w)
	w.Handle("printed", "how many bytes", func(context.Context, *worker.Request) (any, error) { return fmt.Sprint(printed.Load()), nil })
	go func() {
		for {
			n, err := os.Stdout.Write(piece)
			printed.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	finish(w.Run(context.Background()))
}

// pool is echoes under another name, of another kind of worker.
func pool(name, kind string, n int) Pool {
	p := echoes(n)
	p.Name, p.Command = name, asWorker(kind)
	return p
}

// poll looks again and again until ok, for what no event tells.
func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-again.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// printed is how much a flooding worker has printed. That it says so means
// that it is commanded all the same.
func printed(t *testing.T, s *Supervisor, pool string) int {
	t.Helper()
	r, err := s.Call(within(t, time.Minute), Target{Pool: pool}, "printed", ipc.Message{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(r.Payload))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// heap is the bytes of this program that are in use, garbage left out.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// mostGrowth is what a flood may add to the heap: two sinks with two full
// queues each are 4 MiB, the buffers being read into and a little rest.
const mostGrowth = 8 << 20

// A worker that prints without end, in lines or not, is drained: it is never
// held up, what it prints is passed on or dropped and counted, and none of it
// is kept.
func TestFloodsOfOutputStayBounded(t *testing.T) {
	s := run(t, Config{
		Pools:  []Pool{pool("lines", "flood-lines", 1), pool("bytes", "flood-bytes", 1), pool("quiet", "echo", 1)},
		Stdout: io.Discard,
	})
	await(t, s, "all ready", allReady)
	before := heap()
	const enough = 64 << 20
	for _, p := range []string{"lines", "bytes"} {
		poll(t, "a flood of "+p, func() bool { return printed(t, s, p) > enough })
	}
	if _, err := s.Call(within(t, time.Minute), Target{Pool: "quiet"}, "echo", ipc.Text("there")); err != nil {
		t.Error(err)
	}
	if now := heap(); now > before+mostGrowth {
		t.Errorf("heap of %d KiB, before %d KiB", now>>10, before>>10)
	}
}

// TestStuckSinkHoldsNobodyUp: whoever reads the supervisor's output does not,
// and the workers go on as if nothing were. What is lost is counted, and told
// where it is missing.
func TestStuckSinkHoldsNobodyUp(t *testing.T) {
	r, w := io.Pipe() // not read for now
	s := run(t, Config{Pools: []Pool{pool("lines", "flood-lines", 1)}, Stdout: w})
	await(t, s, "all ready", allReady)
	const enough = 32 << 20
	poll(t, "a flood", func() bool { return printed(t, s, "lines") > enough })
	before := heap()
	poll(t, "more of it", func() bool { return printed(t, s, "lines") > 2*enough })
	if now := heap(); now > before+mostGrowth {
		t.Errorf("heap of %d KiB, before %d KiB", now>>10, before>>10)
	}
	const line = len("a line of no great length\n")
	if drops := s.Status().Pools[0].Slots[0].LogDrops; drops < (2*enough-8<<20)/uint64(line) {
		t.Errorf("%d lines dropped are counted", drops)
	}
	told := make(chan string, 1)
	go func() { // and now it is
		defer r.Close()
		var text []byte
		buf := make([]byte, 64<<10)
		for {
			n, err := r.Read(buf)
			text = append(text, buf[:n]...)
			if i := bytes.Index(text, []byte("[brood: ")); i >= 0 && bytes.IndexByte(text[i:], '\n') > 0 {
				notice, _, _ := bytes.Cut(text[i:], []byte{'\n'})
				told <- string(notice)
				return
			}
			if err != nil {
				told <- err.Error()
				return
			}
		}
	}()
	if notice := <-told; !strings.HasSuffix(notice, " lines dropped here: the output was not read fast enough]") {
		t.Errorf("told %q", notice)
	}
}

// A sink that is stuck for good does not keep Run from ending.
func TestStuckSinkAtTheEnd(t *testing.T) {
	_, w := io.Pipe()
	stop := begin(t, Config{Pools: []Pool{pool("lines", "flood-lines", 1)}, Stdout: w}, func(s *Supervisor) {
		await(t, s, "all ready", allReady)
		poll(t, "a flood", func() bool { return s.Status().Pools[0].Slots[0].LogDrops > 0 })
	})
	stop()
	w.Close() // lets go of the sink's goroutine, before the leaks are counted
}

// begin runs a supervisor for as long as during takes, and returns what stops
// it and waits until Run has returned.
func begin(t *testing.T, cfg Config, during func(*Supervisor)) (stop func()) {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(cancel)
	during(s)
	return func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("Run does not return: %+v", s.Status())
		}
	}
}

// The last words of a worker that dies at once are there, whole and in order,
// before its exit is told.
func TestLastWordsAreKept(t *testing.T) {
	script := "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line $i; echo err $i >&2; done; exit 3"
	var out bytes.Buffer // written by the sink until Run has ended
	cfg := Config{Stdout: &out, Pools: []Pool{{
		Name: "job", Command: []string{"sh", "-c", script}, Restart: Restart{When: RestartNever},
	}}}
	begin(t, cfg, func(s *Supervisor) {
		await(t, s, "its end", func(st Status) bool { return st.Pools[0].Slots[0].State == HasFailed })
		exit := s.Status().Pools[0].Slots[0].LastExit
		if exit.Code != 3 || len(exit.Stderr) != 10 || exit.Stderr[0] != "err 491" || exit.Stderr[9] != "err 500" {
			t.Errorf("%+v", exit)
		}
	})()
	var want strings.Builder
	for i := range 500 {
		fmt.Fprintf(&want, "job/1 | line %d\n", i+1)
	}
	if out.String() != want.String() {
		t.Errorf("%d bytes of %d; the end is %q", out.Len(), want.Len(), out.String()[max(0, out.Len()-50):])
	}
}
