// Package lifecycle decides: what becomes of every slot when something
// happens. It is a pure step machine, (now, event) -> effects: it does no I/O,
// starts no goroutine and reads no clock; its one source of chance is handed
// in. The supervisor's loop feeds it and carries its effects out.
//
// What it holds (the laws):
//
//   - a slot never has two live processes, but for the one that a rollout has
//     started beside the old, or has put in its place while the old one goes;
//     an event of a generation that is not there changes nothing;
//   - a stop always ends: DRAIN, signal, SIGKILL, each with a deadline;
//   - what the operator wants (up, down) is kept apart from what is;
//   - a rollout has no more processes beside the old ones, and no more ready
//     ones missing, than its pool allows; it ends at the first that does not
//     become ready, what serves goes on serving, and a configuration that it
//     was to bring is taken back;
//   - no more of a pool's workers than one are recycled at once;
//   - restarts that nobody asked for keep within the slot's budget and within
//     the pool's rate; what an operator asks for is exempt from both;
//   - pools start after those they come after, and stop before them.
package lifecycle

import (
	"fmt"
	"syscall"
	"time"
)

// State is what a slot is doing.
type State string

const (
	Stopped  State = "stopped"  // nothing runs and nothing is meant to
	Starting State = "starting" // a process was ordered and is not ready yet
	Ready    State = "ready"    // it may be given work
	Stopping State = "stopping" // it has been asked to go, one way or another
	Backoff  State = "backoff"  // it died; the next try waits
	Failed   State = "failed"   // it died too often, or said not to try again
	Done     State = "done"     // it has done its work and is not to run again
)

// Want is what the operator wants of a slot.
type Want string

const (
	Up   Want = "up"
	Down Want = "down"
)

// Slot names a place in a pool.
type Slot struct {
	Pool string
	N    int
}

func (s Slot) String() string { return fmt.Sprintf("%s/%d", s.Pool, s.N) }

// ID names one process that is or was in a slot.
type ID struct {
	Slot
	Generation uint64
}

func (id ID) String() string { return fmt.Sprintf("%v#%d", id.Slot, id.Generation) }

// Missed says in words that it is not the generation that counts, which is there.
func (id ID) Missed(there uint64) string {
	switch now := (ID{id.Slot, there}); {
	case there == 0:
		return fmt.Sprintf("there has been no %v yet, nor any other", id)
	case id.Generation > there:
		return fmt.Sprintf("there has been no %v yet, %v is there", id, now)
	default:
		return fmt.Sprintf("%v is gone, %v is there", id, now)
	}
}

// Policy is what a pool's configuration asks for. All fields are set.
type Policy struct {
	Auto, Alive bool          // ready when: auto, alive
	Once        bool          // never ready: its exit is what is waited for, within Boot
	Probed      bool          // ready when the shell says so, by SaidReady; none of the three: hello
	Boot        time.Duration // from spawn to ready

	Ping        time.Duration // between pings; negative: none
	PingTimeout time.Duration
	Failures    int            // missed PONGs in a row that act
	Observe     bool           // they only tell
	Beat        time.Duration  // a beat older than this is as bad as a missed PONG; 0: none is looked at
	Watchdog    bool           // ready workers say Alive at least every Beat
	Dump        syscall.Signal // sent first to a hung worker; 0: none

	OnFailureOnly, Never   bool // restart when; neither: always
	BackoffMin, BackoffMax time.Duration
	Stable                 time.Duration
	Budget                 int // negative: no limit
	Window                 time.Duration
	GiveUp                 []int // exit codes

	StopSignal  syscall.Signal
	StopTimeout time.Duration

	// Of the whole pool.
	RestartEvery time.Duration // one restart that nobody asked for, on average; 0: no limit
	RestartBurst int           // so many at once; in any time t no more than Burst + t/Every
	Surge        int           // workers beside the configured number while a rollout is under way
	Unavailable  int           // ready workers that may be missing because of one; with Surge 0 at least 1
	Soak         time.Duration // a new worker must stay ready so long before the next is replaced
	Age          time.Duration // after which a worker is replaced, ± Jitter; 0: never
	Jitter       float64       // a share of Age, 0 to 1
	MinReady     int           // so many ready workers make the pool up, for those After it
}

const (
	// plainAlive is how long a plain worker must live to be ready.
	plainAlive = time.Second
	// parting is how long a worker that has closed its connection has to exit.
	parting = time.Second
	// killAgain is how often SIGKILL is repeated for a process that will not go.
	killAgain = 5 * time.Second
	// maxDump is the longest that a hung worker has to write its dump.
	maxDump = 5 * time.Second
	// recycleAgain is how long a worker stays at least whose replacement did not
	// come up.
	recycleAgain = time.Minute
)

// Exit is how a process ended.
type Exit struct {
	Generation uint64
	PID        int
	Code       int            // -1: by a signal, or never started
	Signal     syscall.Signal // 0: none
	Core       bool
	Err        string // it could not be started
	At         time.Time
	Uptime     time.Duration
}

// Failure reports whether the exit was anything but code 0.
func (e Exit) Failure() bool { return e.Code != 0 }

func (e Exit) String() string {
	switch {
	case e.Err != "":
		return e.Err
	case e.Signal != 0 && e.Core:
		return fmt.Sprintf("killed by %s (core dumped)", SignalName(e.Signal))
	case e.Signal != 0:
		return "killed by " + SignalName(e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// View is all there is to know of a slot at one moment.
type View struct {
	Slot
	State      State
	Want       Want
	Leaving    bool // the slot is gone once it is empty
	Since      time.Time
	Reason     string
	Generation uint64 // of the process that counts; 0: there was none
	Version    uint64 // of the configuration that it runs by
	PID        int    // 0: none runs
	Next       uint64 // generation that is to take its place; 0: none
	Old        uint64 // generation whose place it has taken and that is still there; 0: none
	Spawned    time.Time
	Greeted    bool // the process has said HELLO
	Suspect    bool // its last ping was missed
	Hung       bool // so many were missed that it counts as unresponsive
	Restarts   int
	RetryAt    time.Time // backoff: of the next try
	LastExit   *Exit
}
