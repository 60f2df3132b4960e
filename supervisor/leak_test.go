package supervisor

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// usage counts what a supervisor must give back.
type usage struct{ goroutines, fds, children int }

func measure() usage {
	if r, w, err := os.Pipe(); err == nil { // the runtime's poller makes its own descriptors at the first use
		r.Close()
		w.Close()
	}
	c := make(chan os.Signal, 1) // and package os/signal its goroutine
	signal.Notify(c, syscall.SIGCHLD)
	signal.Stop(c)
	u := usage{goroutines: runtime.NumGoroutine()}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.fds = len(fds)
	}
	u.children = len(children())
	return u
}

// children are this process's children, zombies included.
func children() []string {
	var all []string
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		b, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		all = append(all, strings.Fields(string(b))...)
	}
	return all
}

// settled waits for everything to be given back: what closes a descriptor or
// ends a goroutine may run a moment after it was asked to.
func settled(before usage) error {
	var now usage
	for end := time.Now().Add(time.Minute); time.Now().Before(end); runtime.Gosched() {
		now = measure()
		if now.goroutines <= before.goroutines && now.fds <= before.fds && now.children <= before.children {
			return nil
		}
	}
	stacks := make([]byte, 64<<10)
	return fmt.Errorf("before %+v, now %+v\n%s", before, now, stacks[:runtime.Stack(stacks, true)])
}
