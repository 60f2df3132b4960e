package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

// TestMain runs this binary as a worker when it is started as one: the first
// argument names which.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "as-worker" {
		kind := testWorkers[os.Args[2]]
		if kind == nil {
			log.Fatalf("no test worker %q", os.Args[2])
		}
		kind()
		os.Exit(0)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // of the workers, which would each take a second to exit
	before := measure()
	code := m.Run()
	if code == 0 {
		if err := settled(before); err != nil {
			fmt.Println("leak:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// testWorkers are the programs that this binary can be.
var testWorkers = map[string]func(){
	"echo": func() {
		var w worker.Worker
		handleCommon(&w)
		finish(w.Run(context.Background()))
	},
}

func handleCommon(w *worker.Worker) {
	w.Handle("echo", "say it again", func(_ context.Context, r *worker.Request) (any, error) { return r.Message, nil })
	w.Handle("pid", "its process id", func(context.Context, *worker.Request) (any, error) { return fmt.Sprint(os.Getpid()), nil })
	w.Handle("fail", "say no", func(context.Context, *worker.Request) (any, error) { return nil, errors.New("as asked") })
	w.Handle("hang", "until the caller gives up", func(ctx context.Context, _ *worker.Request) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	w.Handle("die", "exit at once with the code given", func(_ context.Context, r *worker.Request) (any, error) {
		var code int
		fmt.Sscan(strings.Join(r.Args(), ""), &code)
		os.Exit(code)
		return nil, nil
	})
}

func finish(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// asWorker is the command that runs this binary as a worker.
func asWorker(kind string) []string { return []string{os.Args[0], "as-worker", kind} }

// startAs starts this program as another one that the test speaks to, and ends it
// with the test.
func startAs(t *testing.T, kind string) (cmd *exec.Cmd, stdin io.WriteCloser, stdout io.Reader) {
	t.Helper()
	args := asWorker(kind)
	cmd = exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err = cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, stdin, stdout
}

// run starts a supervisor and has it stopped, and waited for, at the test's end.
func run(t testing.TB, cfg Config) *Supervisor {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: testWriter{t}})
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	t.Cleanup(func() {
		s.Shutdown(false)
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("the supervisor did not stop: %+v", s.Status())
		}
	})
	return s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// await follows the events until the status is as wanted.
func await(t testing.TB, s *Supervisor, what string, ok func(Status) bool) {
	t.Helper()
	limit := time.After(60 * time.Second)
	var seen uint64
	for {
		events, news := s.Events(seen)
		if ok(s.Status()) {
			return
		}
		if len(events) > 0 {
			seen = events[len(events)-1].Seq
			continue
		}
		select {
		case <-news:
		case <-limit:
			t.Fatalf("waited in vain for %s; status %+v", what, s.Status())
		}
	}
}

func allReady(st Status) bool {
	for _, p := range st.Pools {
		if p.Ready != p.Workers {
			return false
		}
	}
	return true
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestPoolServesCommandsAndComesBack(t *testing.T) {
	s := run(t, Config{Pools: []Pool{{Name: "web", Command: asWorker("echo"), Workers: 4}}})
	await(t, s, "all ready", allReady)
	r, err := s.Call(within(t, 5*time.Second), Target{Pool: "web", Slot: 2}, "echo", ipc.Text("hi"))
	if err != nil || string(r.Payload) != "hi" || r.From.String() != "web/2#1" {
		t.Fatalf("got %q from %v, %v", r.Payload, r.From, err)
	}
	_, err = s.Call(within(t, 5*time.Second), Target{Pool: "web", Slot: 3}, "die", ipc.Args("7"))
	if !errors.Is(err, ipc.ErrLost) {
		t.Fatalf("got %v, want lost", err)
	}
	await(t, s, "web/3 back", func(st Status) bool {
		w := st.Pools[0].Slots[2]
		return w.Ready && w.Generation == 2 && w.LastExit != nil && w.LastExit.Code == 7
	})
}

// discard is for tests in which failures are what is wanted.
func discard() hclog.Logger { return hclog.NewNullLogger() }
