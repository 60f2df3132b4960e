package supervisor

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() { testWorkers["cramped"] = cramped }

// TestDescriptorsRunOut: without room for more descriptors a start fails with
// that as the reason, is tried again, and succeeds once there is room.
func TestDescriptorsRunOut(t *testing.T) {
	cmd := exec.Command(os.Args[0], "as-worker", "cramped")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "recovered\n") {
		t.Errorf("%v: %s", err, out)
	}
}

// cramped is a supervisor with too low a limit of open files for its workers.
func cramped() {
	before := measure()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		log.Fatal(err)
	}
	const workers = 8
	p := echoes(workers)
	p.Name, p.Command, p.Ready.When = "crowd", []string{"sleep", "1000"}, ReadyAlive
	s, err := New(Config{Pools: []Pool{p}})
	if err != nil {
		log.Fatal(err)
	}
	room := syscall.Rlimit{Cur: uint64(before.fds + 16), Max: old.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &room); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	wait := func(what string, ok func(Event) bool) {
		limit := time.After(time.Minute)
		for seen := uint64(0); ; {
			events, news := s.Events(seen)
			for _, e := range events {
				seen = e.Seq
				if ok(e) {
					return
				}
			}
			select {
			case <-news:
			case <-limit:
				log.Fatalf("waited in vain for %s: %+v", what, s.Status())
			}
		}
	}
	failed := 0
	wait("starts that fail", func(e Event) bool {
		if e.Kind == EventExit && strings.Contains(e.Text, "too many open files") {
			failed++
		}
		return failed >= 3*workers
	})
	for _, w := range s.Status().Pools[0].Slots {
		if w.Ready && w.Restarts > 0 && w.LastExit.Err == "" {
			log.Fatalf("a worker that was there has died: %+v", w)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		log.Fatal(err)
	}
	ready := map[int]bool{}
	wait("all ready", func(e Event) bool {
		if e.Kind == EventState {
			ready[e.Slot] = e.Text == string(IsReady)
		}
		for n := range workers {
			if !ready[n+1] {
				return false
			}
		}
		return true
	})
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	if err := settled(before); err != nil {
		log.Fatalf("left over: %v", err)
	}
	fmt.Println("recovered")
}
