// Package api holds the JSON types of the control socket's HTTP API. The
// server and the client both import it; it imports nothing.
//
// Times are RFC 3339 in UTC, durations are whole milliseconds unless the name
// says otherwise. A field that does not apply is absent.
package api

// Status answers GET /v1/status.
type Status struct {
	Version string `json:"version"` // of brood
	PID     int    `json:"pid"`     // of the supervisor
	Started string `json:"started"` // when the supervisor began
	Health  string `json:"health"`  // ok | degraded | critical
	Pools   []Pool `json:"pools"`   // that the caller may see
	// Trouble is what is wrong with the supervisor itself, for people.
	Trouble []string `json:"trouble,omitempty"`
}

// Pool is one pool and its slots.
type Pool struct {
	Name     string   `json:"name"`
	Workers  int      `json:"workers"`   // configured
	Ready    int      `json:"ready"`     // ready now
	MinReady int      `json:"min_ready"` // below this the pool is critical
	Queued   int      `json:"queued"`    // commands that wait for a worker
	Health   string   `json:"health"`    // ok | degraded | critical
	Slots    []Worker `json:"slots,omitempty"`
}

// Worker is one slot and the process in it.
type Worker struct {
	Target     string `json:"target"` // web/2
	Pool       string `json:"pool"`
	Slot       int    `json:"slot"`
	Generation uint64 `json:"generation"` // of the newest process; 0: there was none yet
	State      string `json:"state"`      // stopped | starting | ready | stopping | backoff | failed | done
	Want       string `json:"want"`       // up | down
	PID        int    `json:"pid,omitempty"`

	Alive       bool  `json:"alive"`                 // there is a process
	Ready       bool  `json:"ready"`                 // it said so, or its rule did
	Responsive  *bool `json:"responsive,omitempty"`  // it answers pings; absent: it is not pinged
	Progressing *bool `json:"progressing,omitempty"` // its beat moves; absent: it has none

	Reason    string    `json:"reason,omitempty"`      // why the state is what it is, for people
	Since     string    `json:"since"`                 // when the slot came into this state
	Started   string    `json:"started,omitempty"`     // when the process was spawned
	UptimeMS  int64     `json:"uptime_ms,omitempty"`   // of the process
	RetryInMS int64     `json:"retry_in_ms,omitempty"` // backoff: until the next try
	Restarts  int       `json:"restarts"`              // since the supervisor began
	Status    string    `json:"status,omitempty"`      // the worker's own words
	Inflight  int       `json:"inflight"`              // commands it is at work on
	PingUS    int64     `json:"ping_us,omitempty"`     // last round trip, microseconds
	SDK       string    `json:"sdk,omitempty"`         // what the worker speaks; absent: a plain worker
	Commands  []Command `json:"commands,omitempty"`    // what it can be sent
	LogDrops  uint64    `json:"log_drops,omitempty"`   // lines of output that were dropped
	RSSBytes  int64     `json:"rss_bytes,omitempty"`   // resident memory, seconds old at the most; absent: not known
	CPUMS     int64     `json:"cpu_ms,omitempty"`      // processor time of the process, as old
	Served    uint64    `json:"commands_total"`        // commands that ended in this slot since the supervisor began
	LastExit  *Exit     `json:"last_exit,omitempty"`
	// While the worker is being replaced: the generation that is to take its
	// place, and the one that has lost it and is still there.
	Next uint64 `json:"next,omitempty"`
	Old  uint64 `json:"old,omitempty"`
	// Exits is the ends of processes in this slot, newest first, at most 10. Only
	// GET /v1/workers/{p}/{n} has it.
	Exits []Exit `json:"exits,omitempty"`
}

// Command is one that a worker registered.
type Command struct {
	Name string `json:"name"`
	Help string `json:"help,omitempty"`
}

// Exit is how a process ended.
type Exit struct {
	Generation uint64 `json:"generation"`
	PID        int    `json:"pid,omitempty"`
	Code       *int   `json:"code,omitempty"`   // absent: ended by a signal, or never started
	Signal     string `json:"signal,omitempty"` // SIGKILL
	Core       bool   `json:"core,omitempty"`
	OOM        bool   `json:"oom,omitempty"`   // a guess: the kernel killed it for want of memory
	Error      string `json:"error,omitempty"` // it could not be started
	At         string `json:"at"`
	UptimeMS   int64  `json:"uptime_ms"`
	Text       string `json:"text"` // the above in words
	// Stderr is the last lines that it printed there, oldest first, at most 10. Who
	// may not read the logs of the pool is not given them.
	Stderr []string `json:"stderr,omitempty"`
}

// Health answers GET /v1/health and /v1/health/{target}: with status 200 when
// Health is ok or degraded, else with 503.
type Health struct {
	Health string       `json:"health"` // ok | degraded | critical
	Ready  int          `json:"ready"`
	Wanted int          `json:"wanted"`
	Text   string       `json:"text"` // one line for people and monitors
	Pools  []PoolHealth `json:"pools,omitempty"`
}

// PoolHealth is one pool's part of Health.
type PoolHealth struct {
	Name     string `json:"name"`
	Health   string `json:"health"`
	Ready    int    `json:"ready"`
	Wanted   int    `json:"wanted"`
	MinReady int    `json:"min_ready"`
	Text     string `json:"text"`
}

// Ping answers POST /v1/workers/{p}/{n}/ping.
type Ping struct {
	Target     string `json:"target"`
	Generation uint64 `json:"generation"`
	PingUS     int64  `json:"ping_us"`
	Inflight   int    `json:"inflight"`
	OldestMS   int64  `json:"oldest_ms,omitempty"`
	Status     string `json:"status,omitempty"`
}

// Result is one slot's part in the answer to an order. Of a reload that goes on, or was
// refused, it is a whole pool's, which has no state.
type Result struct {
	Target     string `json:"target"`
	Outcome    string `json:"outcome"` // done | unchanged | failed | timeout | accepted (nobody waited)
	State      string `json:"state,omitempty"`
	Generation uint64 `json:"generation,omitempty"` // absent: nothing was started there yet
	PID        int    `json:"pid,omitempty"`
	Text       string `json:"text,omitempty"` // why not, when it is not done
	// Stderr is the last lines of the process that failed, oldest first.
	Stderr []string `json:"stderr,omitempty"`
}

// Results answers start, stop, restart and scale.
type Results struct {
	Results []Result `json:"results"`
}

// Reply is one worker's answer among those of ?all=true.
type Reply struct {
	Target  string `json:"target"`
	Outcome string `json:"outcome"`           // ok | error | lost | timeout | canceled | overloaded | unavailable
	Codec   string `json:"codec,omitempty"`   // json | text | bytes (bytes are base64)
	Result  any    `json:"result,omitempty"`  // outcome ok
	Error   string `json:"error,omitempty"`   // else
	Started string `json:"started,omitempty"` // lost: yes | no | unknown
}

// Replies answers a command with ?all=true: one reply a slot.
type Replies struct {
	Replies []Reply `json:"replies"`
}

// Workers answers GET /v1/workers.
type Workers struct {
	Workers []Worker `json:"workers"`
}

// Pools answers GET /v1/pools.
type Pools struct {
	Pools []Pool `json:"pools"`
}

// Change is what a reload does, or would do, to a pool.
type Change struct {
	Pool    string   `json:"pool"`
	Kind    string   `json:"kind"`              // unchanged | add | remove | scale | inplace | roll
	Fields  []string `json:"fields,omitempty"`  // that differ
	Workers []int    `json:"workers,omitempty"` // before and after, where they differ
	Results []Result `json:"results,omitempty"` // of each slot that was touched
	// Reverted: the pool was left as it was, or taken back to that.
	Reverted bool `json:"reverted,omitempty"`
}

// Reload answers POST /v1/reload.
type Reload struct {
	DryRun  bool     `json:"dry_run"`
	Changes []Change `json:"changes"`
}

// Whoami answers GET /v1/whoami.
type Whoami struct {
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups,omitempty"`
	PID    int    `json:"pid,omitempty"`
	User   string `json:"user,omitempty"`
	Role   string `json:"role"`   // none | viewer | operator | admin; the highest of those below
	Reason string `json:"reason"` // which rule gave the role
	Socket string `json:"socket,omitempty"`
	// Where rules narrow the role: the roles in parts, and the one everywhere.
	Narrowed   []NarrowRole `json:"narrowed,omitempty"`
	Everywhere string       `json:"everywhere,omitempty"`
}

// Rights is the roles in words, such as "viewer; operator of web for flush".
func (w Whoami) Rights() string {
	if len(w.Narrowed) == 0 {
		return w.Role
	}
	var text string
	if w.Everywhere != "none" {
		text = w.Everywhere
	}
	for _, n := range w.Narrowed {
		if text != "" {
			text += "; "
		}
		text += n.Role
		for i, pool := range n.Pools {
			text += lead(i, " of ") + pool
		}
		for i, command := range n.Commands {
			text += lead(i, " for ") + command
		}
	}
	return text
}

// lead stands before a word of a list, word before the first.
func lead(i int, word string) string {
	if i == 0 {
		return word
	}
	return ", "
}

// NarrowRole is a role in some pools, or for some commands, only.
type NarrowRole struct {
	Role     string   `json:"role"`
	Pools    []string `json:"pools,omitempty"`    // absent: all
	Commands []string `json:"commands,omitempty"` // absent: whatever the role covers
}

// Version answers GET /v1/version.
type Version struct {
	Version  string `json:"version"`
	Protocol [2]int `json:"protocol"` // versions of the worker protocol, lowest and highest
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

// Upgrade answers POST /v1/upgrade, from the program that has taken the place of
// the one that was asked.
type Upgrade struct {
	Version string `json:"version"` // of the brood that answers
	Before  string `json:"before"`  // of the one that was asked
	PID     int    `json:"pid"`     // of the supervisor, the same as before
}

// Problem is an RFC 9457 problem document, application/problem+json.
type Problem struct {
	Type    string `json:"type"`   // urn:brood:problem:CODE
	Title   string `json:"title"`  // the code in words, always the same
	Status  int    `json:"status"` // the HTTP status
	Detail  string `json:"detail"` // what, where and what to do
	Code    string `json:"code"`   // stable; one of the Code constants
	Target  string `json:"target,omitempty"`
	Worker  string `json:"worker,omitempty"` // who answered: web/2#7
	Command string `json:"command,omitempty"`
	Error   string `json:"error,omitempty"`   // code error: the worker's own code
	Details any    `json:"details,omitempty"` // code error: what the worker sent along
	Started string `json:"started,omitempty"` // yes | no | unknown
	// Results is what became of each slot, for code failed, and timeout of an order.
	Results []Result `json:"results,omitempty"`
	// Changes is the same for a reload.
	Changes []Change `json:"changes,omitempty"`
}

// Codes of problems. An outcome other than ok is the code of the same name.
const (
	CodeError       = "error"       // 500 the worker said no
	CodeLost        = "lost"        // 502 the worker died
	CodeTimeout     = "timeout"     // 504 no answer in time; it may still be running
	CodeCanceled    = "canceled"    // 499 the caller hung up
	CodeOverloaded  = "overloaded"  // 503 no room
	CodeUnavailable = "unavailable" // 503 the target is not up
	CodeFailed      = "failed"      // 500 a slot did not come to what was asked, or the supervisor did not
	CodeBadRequest  = "bad_request" // 400
	CodeDenied      = "denied"      // 403
	CodeNotFound    = "not_found"   // 404 no such pool, worker, command or page
	CodeBadMethod   = "bad_method"  // 405
	CodeStale       = "stale"       // 409 that generation is not there
	CodeConflict    = "conflict"    // 409 the supervisor is stopping, or the request names no one pool
	CodeTooLarge    = "too_large"   // 413
	CodeInternal    = "internal"    // 500 a fault of brood
)
