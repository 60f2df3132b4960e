// Package orphans looks after processes that workers leave behind: a daemon
// that forked twice, the children of a worker that was killed. The supervisor
// becomes their parent, reaps them, and can find and kill those of one worker,
// so that nothing is left of it after a stop.
//
// The common case:
//
//	o, err := orphans.Start(orphans.Options{Leaders: leaders, Log: log})
//	if err != nil { … } // a nil *Orphans may be used: it does nothing
//	defer o.Close()
//
//	// Each worker is started with o.Env() in its environment and forked
//	// within leaders.Fork.
//	family := o.Family(orphans.Origin{Worker: "web/2", Generation: 7, Leader: pid})
//	family.Note()               // when its stop begins
//	left, err := family.End(ctx) // once it was reaped
//
// Promises:
//
//   - The exit status of a leader is never taken from who waits for it.
//   - Unless [Options].All says that the whole program is the supervisor's, a
//     child that this program may have started itself, with os/exec or
//     otherwise, is neither reaped nor killed. The price: a process without
//     any sign of whose it was, which came and went between two looks, stays a
//     zombie until the program ends.
//   - A process is signalled by pidfd and only after its start time was
//     compared, so a pid that was given to another hits nobody.
//   - While nobody dies and nobody is stopped it does nothing at all.
//
// It needs Linux 5.4 and /proc.
package orphans

import (
	"fmt"

	"github.com/hashicorp/go-hclog"
)

// Options say what Start works with.
type Options struct {
	// Leaders tells which children are waited for by somebody else. Required;
	// one for all of a program.
	Leaders *Leaders
	// All: every child that was not forked within Leaders.Fork is an orphan, to
	// be reaped when it dies and killed by KillAll. For a program that starts
	// processes in no other way, and for PID 1. False: only what certainly came
	// from a worker is touched.
	All bool
	// Log is told of processes that no worker can be named for. Nil: nobody is.
	Log hclog.Logger
	// Before is what the program before has handed over; nil: there was none, or
	// nothing was looked after there. The workers that go on are in Leaders already.
	Before *Saved
}

// Origin is one worker process, from which others may come.
type Origin struct {
	Worker     string // as in BROOD_WORKER: "web/2"
	Generation uint64 // as in BROOD_GENERATION
	Leader     int    // its pid, which is its process group too
	// Beside is the number from [Orphans.Beside] of a process that is started beside
	// the worker, whose name and generation it has; 0: it is the worker itself.
	Beside uint64
	// Cgroup is its own cgroup, as /proc/PID/cgroup spells it in the line "0::".
	// Empty: it has none of its own.
	Cgroup string
}

// Survivor is a process that lives on after the one it came from.
type Survivor struct {
	PID     int
	Start   uint64 // in clock ticks since boot; with the pid it names a process for good
	Name    string // comm, of at most 15 bytes; printable
	Cmdline string // the first 256 bytes, the words a space apart; printable
	// Worker and Generation say where it came from; empty and 0 where it can't
	// be told.
	Worker     string
	Generation uint64
	// Group: it is in the worker's own process group, so it was signalled along
	// with the worker, and may be just about to end.
	Group bool
}

// String is for messages: `4711 (cached) "cached --port 80"`.
func (s Survivor) String() string { return fmt.Sprintf("%d (%s) %q", s.PID, s.Name, s.Cmdline) }

// runKey names the variable by which a process that was started by a worker,
// or by something it started, is told from all others: BROOD_WORKER is also
// inherited by a supervisor that is a worker of another.
const runKey = "BROOD_RUN"

// besideSep is between the mark and the number of what is started beside a worker.
const besideSep = "."
