package supervisor

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/ipc"
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
	// Handler answers the calls that workers make to the supervisor. nil: they
	// end in ipc.ErrUnknownCommand.
	Handler ipc.Handler
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
	// Env is added to the supervisor's environment; a key here wins.
	Env map[string]string

	Ready   Ready
	Health  Health
	Restart Restart
	Stop    Stop
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
)

// Ready says when a starting worker may be given work.
type Ready struct {
	When    ReadyWhen     // empty: ReadyAuto
	Timeout time.Duration // from spawn to ready, else it is replaced. 0: 30s
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

// FieldError is one thing wrong with a Config.
type FieldError struct {
	Field   string // where: "pools.web.stop.timeout"
	Problem string // what, and what to do
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

var poolName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,62}$`)

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
	if !poolName.MatchString(p.Name) {
		bad("", "a pool's name is a letter, then letters, digits, '_', '-' or '.', at most 63 in all; got %q", p.Name)
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
	for k := range p.Env {
		if !validEnvKey(k) {
			bad(".env", "%q is no name of an environment variable", k)
		}
	}
	oneOf(bad, ".ready.when", p.Ready.When, "", ReadyAuto, ReadyHello, ReadyAlive)
	oneOf(bad, ".health.action", p.Health.Action, "", ActionRestart, ActionObserve)
	oneOf(bad, ".restart.when", p.Restart.When, "", RestartAlways, RestartOnFailure, RestartNever)
	for field, d := range map[string]time.Duration{
		".ready.timeout": p.Ready.Timeout, ".health.timeout": p.Health.Timeout,
		".restart.backoff": min(p.Restart.BackoffMin, p.Restart.BackoffMax), ".restart.stable": p.Restart.Stable,
		".restart.budget": p.Restart.Window, ".stop.timeout": p.Stop.Timeout,
	} {
		if d < 0 {
			bad(field, "must not be negative, got %v", d)
		}
	}
	if p.Health.Failures < 0 {
		bad(".health.failures", "must not be negative, got %d", p.Health.Failures)
	}
	if lo, hi := p.Restart.BackoffMin, p.Restart.BackoffMax; hi > 0 && lo > hi {
		bad(".restart.backoff", "the shortest wait (%v) is longer than the longest (%v)", lo, hi)
	}
	for _, code := range p.Restart.GiveUpCodes {
		if code < 0 || code > 255 {
			bad(".restart.give_up_codes", "an exit code is 0 to 255, got %d", code)
		}
	}
	return errs
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
