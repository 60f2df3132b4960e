package supervisor

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/listen"
	"example.com/brood/supervisor/internal/probe"
	"example.com/brood/supervisor/internal/process"
)

// Config is what a supervisor runs. New copies it; the caller's value is never
// written to.
type Config struct {
	// Pools are the groups of workers; at least one, names unique.
	Pools []Pool
	// Log takes the supervisor's own words. nil: nothing is logged.
	Log hclog.Logger
	// Stdout and Stderr take what the workers print, line by line, prefixed with
	// the slot ("web/2 | "). nil: the output is read and thrown away. A slow
	// writer never holds a worker up: lines are dropped, counted and told.
	Stdout, Stderr io.Writer
	// Socket is the path handed to workers as BROOD_SOCKET. Empty: not set.
	Socket string
	// Reaper says that this program starts processes in no other way, or is PID 1:
	// every child that is not a worker is then taken for something a worker has
	// left behind, reaped when it dies, and killed at the end. False: only what
	// certainly came from a worker is.
	Reaper bool
	// Handler answers the calls that workers make to the supervisor. nil: they
	// end in ipc.ErrUnknownCommand.
	Handler ipc.Handler
	// Handover is what the program before has handed over (see [Supervisor.Upgrade]).
	// Run then goes on with its workers; pools that differ from Pools are changed as
	// by Reload, and stay as they are where that fails. nil: there was none.
	Handover *handover.In
}

// Pool is a named group of equal workers.
type Pool struct {
	// Name is how targets call it: a letter, then letters, digits, '_', '-' or
	// '.', at most 63 in all.
	Name string
	// Command is the program and its arguments. A program without a slash is
	// looked up in the worker's PATH, a relative one from Dir.
	Command []string
	// Workers is how many slots the pool has. 0: 1.
	Workers int
	// MinReady is how many ready workers health asks for before it calls the
	// pool critical. 0: 1.
	MinReady int
	// Dir is the working directory. Empty: the supervisor's own.
	Dir string
	// Env is added to the supervisor's environment; a key here wins. EnvFile
	// names files of KEY=value lines, read at each start; Env wins over them.
	Env     map[string]string
	EnvFile []string
	// CleanEnv leaves only PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_*, TZ and
	// TERM of the supervisor's environment.
	CleanEnv bool

	// User and Group are whom the workers run as, names or numbers. Empty: the
	// supervisor's own; User alone: that user's groups. A worker that can't become
	// so does not start.
	User, Group string
	Umask       *uint32          // nil: the supervisor's own
	Limits      map[string]Limit // setrlimit(2), by name: nofile, core, …
	Nice        *int             // -20 to 19. nil: the supervisor's own
	OOMScoreAdj *int             // -1000 to 1000, proc(5). nil: the supervisor's own
	NoNewPrivs  bool             // PR_SET_NO_NEW_PRIVS, prctl(2)
	// Cgroup limits each worker with a cgroup of its own, where this system lets
	// the supervisor make one. Zero: none is made.
	Cgroup Cgroup

	// Listen names sockets that the supervisor opens once and hands to every
	// worker: "tcp://127.0.0.1:8080", "unix:///run/app.sock?mode=0660&group=www".
	// They are passed as sd_listen_fds(3) says, in the order of their names.
	Listen map[string]string

	Ready    Ready
	Health   Health
	Restart  Restart
	Stop     Stop
	Rollout  Rollout
	Recycle  Recycle
	Dispatch Dispatch
	// Commands are carried out by a signal or a program instead of the worker.
	Commands map[string]Command
	// After names pools that must be up before this one is started, and that are
	// stopped after it.
	After []string
}

// ReadyWhen names what makes a worker ready.
type ReadyWhen string

const (
	// ReadyAuto: READY if the worker says HELLO, else alive for a second.
	ReadyAuto ReadyWhen = "auto"
	// ReadyHello: only READY on the socketpair counts.
	ReadyHello ReadyWhen = "hello"
	// ReadyAlive: alive for a second.
	ReadyAlive ReadyWhen = "alive"
	// ReadyNotify: READY=1 on the socket NOTIFY_SOCKET, sd_notify(3).
	ReadyNotify ReadyWhen = "notify"
	// ReadyLog: a line of its output matches Ready.Log.
	ReadyLog ReadyWhen = "log"
	// ReadyExec, ReadyHTTP, ReadyTCP: a check that the supervisor makes goes well.
	ReadyExec ReadyWhen = "exec"
	ReadyHTTP ReadyWhen = "http"
	ReadyTCP  ReadyWhen = "tcp"
	// ReadyExit: it is not to become ready but to end, by exit code 0 within
	// Ready.Timeout, which makes its slot done. Restart.When is not RestartAlways.
	ReadyExit ReadyWhen = "exit"
)

// Ready says when a starting worker may be given work.
type Ready struct {
	When    ReadyWhen     // empty: ReadyAuto
	Timeout time.Duration // from spawn to ready, else it is replaced. 0: 30s

	Log  string   // a regular expression, RE2. ReadyLog
	Exec []string // a program; exit code 0 is ready. ReadyExec
	HTTP string   // "http://127.0.0.1:8080/healthz" or "unix:/run/app.sock:/healthz"; 2xx and 3xx are ready. ReadyHTTP
	TCP  string   // "127.0.0.1:8080" or "unix:/run/app.sock"; a connection is ready. ReadyTCP
}

// probed: readiness is found out by the supervisor, not said on the socketpair.
func (r Ready) probed() bool {
	switch r.When {
	case ReadyNotify, ReadyLog, ReadyExec, ReadyHTTP, ReadyTCP:
		return true
	}
	return false
}

// Limit is a resource limit of setrlimit(2). math.MaxUint64 is no limit.
type Limit struct{ Soft, Hard uint64 }

// Cgroup is what a worker may have, cgroups(7). 0: no limit.
type Cgroup struct {
	Memory int64 // bytes
	PIDs   int64 // processes and threads
}

// HealthAction names what is done about an unresponsive worker.
type HealthAction string

const (
	// ActionRestart replaces the worker: the stop signal, then SIGKILL.
	ActionRestart HealthAction = "restart"
	// ActionObserve only tells.
	ActionObserve HealthAction = "observe"
)

// Health says how a ready worker is watched. Only a worker that has said HELLO
// is pinged.
type Health struct {
	Ping     time.Duration // between pings. 0: 2s. Negative: no pings
	Timeout  time.Duration // how long a PONG may take. 0: 1s
	Failures int           // missed PONGs in a row that act. 0: 3
	Action   HealthAction  // empty: ActionRestart
	// Beat is how old the beat of a worker may be that has one; an older one
	// counts as a missed PONG. 0: it is not looked at.
	Beat time.Duration
	// Dump is sent to a hung worker, alone, before it is stopped, so that it
	// tells where it hangs. 0: none.
	Dump syscall.Signal
}

// RestartWhen names the exits after which a slot is filled again.
type RestartWhen string

const (
	RestartAlways    RestartWhen = "always"     // any exit
	RestartOnFailure RestartWhen = "on-failure" // any exit but code 0; after that the slot is done
	RestartNever     RestartWhen = "never"      // none; the slot is done, or failed if the exit was one
)

// Restart says whether and when a slot is filled again after an exit nobody
// asked for.
type Restart struct {
	When RestartWhen // empty: RestartAlways
	// The first restart after a stable run waits for nothing. The second waits
	// BackoffMin, every further one twice as long, up to BackoffMax, each
	// ±25 %. 0: 100ms and 30s.
	BackoffMin, BackoffMax time.Duration
	// Stable is how long a worker must have been ready for the count of
	// failures to begin anew. 0: 10s.
	Stable time.Duration
	// Budget is how many restarts one slot may have within Window before it is
	// failed. 0: 10 in 1m. Negative: no limit. A start by hand is exempt.
	Budget int
	Window time.Duration
	// Rate is how many restarts that nobody asked for the whole pool may have
	// within RateWindow; more of them wait. As many as there are workers may come
	// at once. 0: 10 in 1s, or a tenth of the workers if that is more. Negative:
	// no limit.
	Rate       int
	RateWindow time.Duration
	// GiveUpCodes are exit codes that mean "do not try again": failed at once.
	GiveUpCodes []int
}

// Stop says how a worker is stopped: DRAIN if it has said HELLO, then Signal,
// then SIGKILL to its process group.
type Stop struct {
	Signal syscall.Signal // 0: SIGTERM
	// Timeout is from the begin of the stop to SIGKILL. A worker that has said
	// HELLO gets three quarters of it to drain before the signal. 0: 10s.
	Timeout time.Duration
}

// Rollout says how the workers of a pool are replaced by a restart of several,
// a reload or recycling.
type Rollout struct {
	// Surge is how many new workers may be started beside those they are to
	// replace, which serve on until the new one is ready. Unavailable is how many
	// may be stopped before the new one is ready. Both 0: Surge is 1.
	Surge, Unavailable int
	// Soak is how long a new worker must stay ready before the next is replaced.
	// 0: 1s. Negative: no time.
	Soak time.Duration
}

// Recycle says when a worker has done its share and is replaced. Never more
// than one rollout of a pool is under way.
type Recycle struct {
	Commands int           // so many answered. 0: never
	Age      time.Duration // ready for so long, ± Jitter. 0: never
	Memory   int64         // bytes resident. 0: never
	Jitter   float64       // a share of Age, 0 to 1, so that a pool does not recycle in step. 0: 0.1. Negative: none
}

// Dispatch says how commands to the pool, rather than to one worker, are given
// out.
type Dispatch struct {
	Concurrency int           // commands at once for each worker. 0: 1
	Queue       int           // commands that may wait. 0: 128. Negative: none
	Timeout     time.Duration // for waiting and answer together. 0: 30s. Negative: the caller's alone
}

// Command is what a command is mapped to: one of the two is set.
type Command struct {
	Signal syscall.Signal // for the worker
	// Exec is a program that is run beside the worker, in its directory and with
	// its environment, and BROOD_PID. The command's words are added as arguments,
	// another payload is its standard input. What it prints is the answer.
	Exec []string
}

// FieldError is one thing wrong with a Config.
type FieldError struct {
	Field   string // where: "pools.web.stop.timeout"
	Problem string // what, and what to do
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// maxPoolName bounds the name of a pool, in bytes.
const maxPoolName = 63

// isPoolName: it is a letter, then letters, digits, '_', '-' or '.'.
func isPoolName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && ('0' <= c && c <= '9' || c == '_' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return name != "" && len(name) <= maxPoolName
}

// maxWorkers bounds one pool: more processes than Linux has pids by default
// is a typing error.
const maxWorkers = 32768

// Validate reports everything that is wrong with c, joined, each as a
// *[FieldError]. It does not look at the file system.
func (c Config) Validate() error {
	var errs []error
	if len(c.Pools) == 0 {
		errs = append(errs, &FieldError{"pools", "there is none; name at least one with a command"})
	}
	seen := map[string]bool{}
	errs = append(errs, c.validateOrder()...)
	errs = append(errs, c.validateListen()...)
	for _, p := range c.Pools {
		if seen[p.Name] {
			errs = append(errs, &FieldError{"pools." + p.Name, "there are two pools of this name"})
		}
		seen[p.Name] = true
		errs = append(errs, p.validate()...)
	}
	return errors.Join(errs...)
}

func (p Pool) validate() []error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &FieldError{"pools." + p.Name + field, fmt.Sprintf(format, args...)})
	}
	if !isPoolName(p.Name) {
		bad("", "a pool's name is a letter, then letters, digits, '_', '-' or '.', at most %d in all; got %q", maxPoolName, p.Name)
	}
	if len(p.Command) == 0 || p.Command[0] == "" {
		bad(".command", "is missing: the program to run and its arguments, as a list")
	}
	if p.Workers < 0 || p.Workers > maxWorkers {
		bad(".workers", "must be 1 to %d, got %d", maxWorkers, p.Workers)
	}
	if p.MinReady < 0 || p.MinReady > max(p.Workers, 1) {
		bad(".min_ready", "must be 0 to the number of workers (%d), got %d", max(p.Workers, 1), p.MinReady)
	}
	for _, k := range slices.Sorted(maps.Keys(p.Env)) {
		if !validEnvKey(k) {
			bad(".env", "%q is no name of an environment variable", k)
		}
	}
	oneOf(bad, ".ready.when", p.Ready.When, "", ReadyAuto, ReadyHello, ReadyAlive, ReadyNotify, ReadyLog, ReadyExec, ReadyHTTP, ReadyTCP, ReadyExit)
	if p.Ready.When == ReadyExit && (p.Restart.When == "" || p.Restart.When == RestartAlways) {
		bad(".ready.when", "exit is for programs that end; set restart.when to on-failure or never")
	}
	oneOf(bad, ".health.action", p.Health.Action, "", ActionRestart, ActionObserve)
	oneOf(bad, ".restart.when", p.Restart.When, "", RestartAlways, RestartOnFailure, RestartNever)
	for _, d := range []struct {
		field string
		d     time.Duration
	}{
		{".ready.timeout", p.Ready.Timeout}, {".health.timeout", p.Health.Timeout},
		{".restart.backoff", min(p.Restart.BackoffMin, p.Restart.BackoffMax)}, {".restart.stable", p.Restart.Stable},
		{".restart.budget", p.Restart.Window}, {".stop.timeout", p.Stop.Timeout},
	} {
		if d.d < 0 {
			bad(d.field, "must not be negative, got %v", d.d)
		}
	}
	if p.Health.Failures < 0 {
		bad(".health.failures", "must not be negative, got %d", p.Health.Failures)
	}
	if lo, hi := p.Restart.BackoffMin, p.Restart.BackoffMax; hi > 0 && lo > hi {
		bad(".restart.backoff", "the shortest wait (%v) is longer than the longest (%v)", lo, hi)
	}
	p.validateMore(bad)
	for _, code := range p.Restart.GiveUpCodes {
		if code < 0 || code > 255 {
			bad(".restart.give_up_codes", "an exit code is 0 to 255, got %d", code)
		}
	}
	return errs
}

// validateMore is the part about commands and rollouts.
func (p Pool) validateMore(bad func(string, string, ...any)) {
	if p.Rollout.Surge < 0 || p.Rollout.Unavailable < 0 {
		bad(".rollout", "surge and unavailable must not be negative, got %d and %d", p.Rollout.Surge, p.Rollout.Unavailable)
	}
	if p.Recycle.Commands < 0 || p.Recycle.Age < 0 || p.Recycle.Memory < 0 {
		bad(".recycle", "commands, age and memory must not be negative")
	}
	if p.Recycle.Jitter > 1 {
		bad(".recycle.jitter", "must be at most 100%%, got %v", p.Recycle.Jitter)
	}
	if p.Dispatch.Concurrency < 0 {
		bad(".dispatch.concurrency", "must not be negative, got %d", p.Dispatch.Concurrency)
	}
	if p.Health.Beat < 0 {
		bad(".health.beat", "must not be negative, got %v", p.Health.Beat)
	}
	if p.Umask != nil && *p.Umask > 0o777 {
		bad(".umask", "must be 0 to 0777, got %#o", *p.Umask)
	}
	if p.Nice != nil && (*p.Nice < -20 || *p.Nice > 19) {
		bad(".nice", "must be -20 to 19, got %d", *p.Nice)
	}
	if p.OOMScoreAdj != nil && (*p.OOMScoreAdj < -1000 || *p.OOMScoreAdj > 1000) {
		bad(".oom_score_adj", "must be -1000 to 1000, got %d", *p.OOMScoreAdj)
	}
	p.validateSystem(bad)
	if p.Cgroup.Memory < 0 || p.Cgroup.PIDs < 0 {
		bad(".cgroup", "memory and pids must not be negative")
	}
	p.validateReady(bad)
	for _, name := range slices.Sorted(maps.Keys(p.Commands)) {
		c := p.Commands[name]
		switch {
		case !ipc.ValidName(name):
			bad(".commands", "%q is no name of a command: 1 to 255 printable ASCII characters without spaces", name)
		case (c.Signal != 0) == (len(c.Exec) > 0):
			bad(".commands."+name, "needs either a signal or a program")
		}
	}
}

// validateReady: each way to become ready needs what it looks at.
func (p Pool) validateReady(bad func(string, string, ...any)) {
	var err error
	r := p.Ready
	switch r.When {
	case ReadyLog:
		_, err = probe.ParseLine(r.Log)
	case ReadyExec:
		if len(r.Exec) == 0 {
			err = errors.New("needs a program whose exit code 0 means ready")
		}
	case ReadyHTTP:
		_, err = probe.ParseHTTP(r.HTTP)
	case ReadyTCP:
		_, err = probe.ParseTCP(r.TCP)
	}
	if err != nil {
		bad(".ready."+string(r.When), "%v", err)
	}
}

// validateSystem: what is handed to the system must be known to it.
func (p Pool) validateSystem(bad func(string, string, ...any)) {
	for _, name := range slices.Sorted(maps.Keys(p.Limits)) {
		l := p.Limits[name]
		if _, ok := process.LimitNames[name]; !ok {
			bad(".limits."+name, "there is no such limit on this system")
		} else if l.Soft > l.Hard {
			bad(".limits."+name, "the soft limit (%d) is above the hard one (%d)", l.Soft, l.Hard)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Listen)) {
		if _, err := listen.Parse(p.Listen[name]); err != nil {
			bad(".listen."+name, "%v", err)
		}
		if name == "" || strings.ContainsAny(name, ":\x00") {
			bad(".listen", "%q is no name of a socket: LISTEN_FDNAMES has colons between them", name)
		}
	}
}

// validateListen: two sockets can't have one address.
func (c Config) validateListen() []error {
	var errs []error
	first := map[string]wanted{}
	for _, w := range wantedBy(c.Pools...) {
		if o, taken := first[w.key]; taken && o.field() != w.field() {
			errs = append(errs, &FieldError{w.field(), "this is the address of " + o.field() + " already; choose another"})
			continue
		}
		first[w.key] = w
	}
	return errs
}

// validateOrder looks at what pools come after which.
func (c Config) validateOrder() []error {
	var errs []error
	after := map[string][]string{}
	for _, p := range c.Pools {
		after[p.Name] = p.After
	}
	for _, p := range c.Pools {
		for _, name := range p.After {
			if _, ok := after[name]; !ok {
				errs = append(errs, &FieldError{"pools." + p.Name + ".after", fmt.Sprintf("there is no pool %q", name)})
			}
		}
		if path := circle(after, p.Name, p.Name, map[string]bool{}); path != nil {
			errs = append(errs, &FieldError{"pools." + p.Name + ".after", "it comes after itself: " + strings.Join(path, " after ")})
		}
	}
	return errs
}

// circle is a way from a pool to home, or nil. What was looked at once leads
// nowhere.
func circle(after map[string][]string, at, home string, seen map[string]bool) []string {
	seen[at] = true
	for _, next := range after[at] {
		if next == home {
			return []string{at, home}
		}
		if !seen[next] {
			if way := circle(after, next, home, seen); way != nil {
				return append([]string{at}, way...)
			}
		}
	}
	return nil
}

func oneOf[T ~string](bad func(string, string, ...any), field string, got T, allowed ...T) {
	if !slices.Contains(allowed, got) {
		bad(field, "must be one of %q, got %q", allowed[1:], got)
	}
}

func validEnvKey(k string) bool {
	if k == "" {
		return false
	}
	for i := range len(k) {
		if k[i] == '=' || k[i] == 0 {
			return false
		}
	}
	return true
}

// withDefaults returns a copy of c in which no zero stands for something else.
func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Stdout == nil {
		c.Stdout = io.Discard
	}
	if c.Stderr == nil {
		c.Stderr = io.Discard
	}
	c.Pools = slices.Clone(c.Pools)
	for i := range c.Pools {
		c.Pools[i] = c.Pools[i].withDefaults()
	}
	return c
}

func (p Pool) withDefaults() Pool {
	p.Command = slices.Clone(p.Command)
	p.Env = maps.Clone(p.Env)
	p.EnvFile = slices.Clone(p.EnvFile)
	p.Limits = maps.Clone(p.Limits)
	p.Listen = maps.Clone(p.Listen)
	p.Ready.Exec = slices.Clone(p.Ready.Exec)
	p.Restart.GiveUpCodes = slices.Clone(p.Restart.GiveUpCodes)
	def(&p.Workers, 1)
	def(&p.MinReady, 1)
	def(&p.Ready.When, ReadyAuto)
	def(&p.Ready.Timeout, 30*time.Second)
	def(&p.Health.Ping, 2*time.Second)
	def(&p.Health.Timeout, time.Second)
	def(&p.Health.Failures, 3)
	def(&p.Health.Action, ActionRestart)
	def(&p.Restart.When, RestartAlways)
	def(&p.Restart.BackoffMin, 100*time.Millisecond)
	def(&p.Restart.BackoffMax, max(30*time.Second, p.Restart.BackoffMin))
	def(&p.Restart.Stable, 10*time.Second)
	def(&p.Restart.Budget, 10)
	def(&p.Restart.Window, time.Minute)
	def(&p.Restart.Rate, max(10, p.Workers/10))
	def(&p.Restart.RateWindow, time.Second)
	if p.Rollout.Surge == 0 && p.Rollout.Unavailable == 0 {
		p.Rollout.Surge = 1
	}
	def(&p.Rollout.Soak, time.Second)
	def(&p.Recycle.Jitter, 0.1)
	def(&p.Dispatch.Concurrency, 1)
	def(&p.Dispatch.Queue, 128)
	def(&p.Dispatch.Timeout, 30*time.Second)
	p.Commands = maps.Clone(p.Commands)
	for name, c := range p.Commands {
		c.Exec = slices.Clone(c.Exec)
		p.Commands[name] = c
	}
	p.After = slices.Clone(p.After)
	def(&p.Stop.Signal, syscall.SIGTERM)
	def(&p.Stop.Timeout, 10*time.Second)
	return p
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
