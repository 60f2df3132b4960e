package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/ipc"
)

func init() {
	testWorkers["doomed"] = doomed
	testWorkers["stubborn"] = func() {
		signal.Ignore(syscall.SIGTERM)
		<-time.After(24 * time.Hour)
	}
}

// doomed is a supervisor that prints its workers' pids once all are ready, and
// runs until it is killed.
func doomed() {
	sdk := echoes(5)
	alive := Ready{When: ReadyAlive, Timeout: time.Minute}
	s, err := New(Config{Pools: []Pool{
		sdk,
		{Name: "plain", Command: []string{"sleep", "1000"}, Workers: 5, Ready: alive},
		{Name: "stubborn", Command: asWorker("stubborn"), Ready: alive},
	}})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for seen := uint64(0); ; {
			events, news := s.Events(seen)
			if st := s.Status(); allReady(st) {
				var pids []int
				for _, p := range st.Pools {
					for _, w := range p.Slots {
						pids = append(pids, w.PID)
					}
				}
				_ = json.NewEncoder(os.Stdout).Encode(pids)
				return
			}
			if len(events) > 0 {
				seen = events[len(events)-1].Seq
				continue
			}
			<-news
		}
	}()
	log.Fatal(s.Run(context.Background()))
}

// end is a process that is waited for by its pidfd, so that no other can be
// mistaken for it.
type end struct {
	pid   int
	pidfd int
}

func watchEnd(t *testing.T, pid int) end {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("process %d: %v", pid, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return end{pid, fd}
}

// await waits for the end; false: it did not come.
func (e end) await(d time.Duration) bool {
	for limit := time.Now().Add(d); ; {
		left := max(time.Until(limit), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(e.pidfd), Events: unix.POLLIN}}, int(left/time.Millisecond))
		if err != unix.EINTR {
			return err == nil && n == 1
		}
	}
}

// TestDeadSupervisorLeavesNoWorkers: SIGKILL gives the supervisor no chance to
// stop anybody. Those that speak brood see EOF, all others die by
// PR_SET_PDEATHSIG, whatever they ignore and even if they are stopped.
func TestDeadSupervisorLeavesNoWorkers(t *testing.T) {
	cmd, _, stdout := startAs(t, "doomed")
	var pids []int
	if err := json.NewDecoder(stdout).Decode(&pids); err != nil || len(pids) != 11 {
		t.Fatalf("pids %v, %v", pids, err)
	}
	var ends []end
	for _, pid := range pids {
		ends = append(ends, watchEnd(t, pid))
	}
	for _, i := range []int{1, 6} { // one that speaks brood and one that does not
		if err := unix.Kill(pids[i], unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	died := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, e := range ends {
		if !e.await(time.Minute) {
			_ = unix.PidfdSendSignal(e.pidfd, unix.SIGKILL, nil, 0)
			t.Errorf("process %d is still there", e.pid)
		}
	}
	if d := time.Since(died); d > time.Second {
		t.Errorf("the last worker went %v after its supervisor was killed", d)
	}
}

// TestPdeathsigThread: the thread that asks for a worker may end at any time,
// and takes none with it.
func TestPdeathsigThread(t *testing.T) {
	const n = 4
	s := run(t, Config{Pools: []Pool{echoes(n)}})
	await(t, s, "all ready", allReady)
	asked := func(f func(Target)) {
		var storm sync.WaitGroup
		for i := range 10 * n {
			storm.Go(func() {
				runtime.LockOSThread() // never unlocked: the thread ends here
				f(Target{Pool: "web", Slot: 1 + i%n})
			})
		}
		storm.Wait()
	}
	ctx := within(t, 2*time.Minute)
	asked(func(to Target) {
		if _, err := s.Stop(ctx, to); err != nil {
			t.Error(err)
		}
	})
	asked(func(to Target) {
		if _, err := s.Start(ctx, to); err != nil {
			t.Error(err)
		}
	})
	await(t, s, "all ready", allReady)
	generations := map[int]uint64{}
	for _, w := range s.Status().Pools[0].Slots {
		generations[w.Slot] = w.Generation
	}
	asked(func(to Target) {
		if _, err := s.Call(ctx, to, "echo", ipc.Text("there")); err != nil {
			t.Error(err)
		}
	})
	events, _ := s.Events(0)
	for _, e := range events {
		if e.Kind == EventExit && (e.Generation == generations[e.Slot] || e.Text[:len("exit code 0")] != "exit code 0") {
			t.Errorf("%s/%d#%d: %s", e.Pool, e.Slot, e.Generation, e.Text)
		}
	}
}

// output is a pipe for Config.Stdout and what reads its lines.
func output(t *testing.T) (*os.File, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return w, bufio.NewReader(r)
}

// pidIn reads a line that is a worker's word for a pid.
func pidIn(t *testing.T, r *bufio.Reader, prefix string) int {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscanf(line, prefix+" | %d", &pid); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return pid
}

// TestGrandchildHoldingStdout: Wait must not hang while a grandchild of another
// session holds stdout, stderr and the connection. When the stop is told to be
// done it has gone too.
func TestGrandchildHoldingStdout(t *testing.T) {
	w, lines := output(t)
	s := run(t, Config{Stdout: w, Pools: []Pool{{
		Name: "daemon", Ready: Ready{When: ReadyAlive, Timeout: time.Minute},
		Command: []string{"sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000"},
	}}})
	grandchild := pidIn(t, lines, "daemon/1")
	e := watchEnd(t, grandchild)
	await(t, s, "all ready", allReady)
	results, err := s.Stop(within(t, time.Minute), Target{Pool: "daemon", Slot: 1})
	if err != nil || results[0].Outcome != OutcomeDone {
		t.Fatalf("%+v, %v", results, err)
	}
	if !e.await(0) {
		t.Error("the grandchild is left")
	}
}

// What is left of a worker's group dies with it, whatever it ignores.
func TestGroupDiesWithItsWorker(t *testing.T) {
	w, lines := output(t)
	s := run(t, Config{Stdout: w, Pools: []Pool{{
		Name: "family", Ready: Ready{When: ReadyAlive, Timeout: time.Minute},
		Command: []string{"sh", "-c", `sh -c 'trap "" TERM; echo $$; while :; do sleep 1000; done' & wait`},
	}}})
	member := watchEnd(t, pidIn(t, lines, "family/1"))
	await(t, s, "all ready", allReady)
	results, err := s.Stop(within(t, time.Minute), Target{Pool: "family", Slot: 1})
	if err != nil || results[0].Outcome != OutcomeDone || results[0].Slot.LastExit.Signal != syscall.SIGTERM {
		t.Fatalf("%+v, %v", results, err)
	}
	if !member.await(time.Minute) {
		t.Error("a member of the group is left")
	}
}
