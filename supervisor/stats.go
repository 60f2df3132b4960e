package supervisor

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

// What a pool has done since it is there: commands by name and outcome, and ends
// of processes by cause. All of it is bounded, whatever callers and workers say.

// LatencyBounds are the upper bounds of the histogram of a command's duration.
// What takes longer than the last is in none.
var LatencyBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// Outcomes of commands, in the order of [CommandStats.Outcomes].
var Outcomes = [...]string{"ok", "error", "lost", "timeout", "canceled", "overloaded", "unavailable"}

// keptCommands is how many names of commands a pool counts by themselves.
const keptCommands = 64

// OtherCommands is the name that commands are counted under which no worker has,
// or that come when a pool has counted 64 names.
const OtherCommands = "_other"

// CommandStats is how the commands of one name have gone.
type CommandStats struct {
	Command  string
	Outcomes [len(Outcomes)]uint64
	Buckets  [len(LatencyBounds)]uint64 // each by itself
	Count    uint64
	Sum      time.Duration
}

// ExitCount is how often processes have ended by one cause.
type ExitCount struct {
	Cause string // exit, signal, or spawn: it could not be started
	Code  string // of exit: the exit code; of signal: its name
	N     uint64
}

// poolStats belongs to a board.
type poolStats struct {
	mu       sync.RWMutex
	commands map[string]*commandStats
	exits    map[ExitCount]uint64 // N is 0 in the key

	oomKills atomic.Uint64
}

type commandStats struct {
	outcomes [len(Outcomes)]atomic.Uint64
	buckets  [len(LatencyBounds)]atomic.Uint64
	count    atomic.Uint64
	sum      atomic.Int64 // ns
}

// note counts one command, from when it came until its outcome.
func (p *poolStats) note(command string, err error, took time.Duration) {
	outcome := outcomeOf(err)
	if outcome < 0 {
		return
	}
	c := p.of(command, !errors.Is(err, ipc.ErrUnknownCommand) && !errors.Is(err, ipc.ErrUnavailable) && !errors.Is(err, ipc.ErrOverloaded))
	c.outcomes[outcome].Add(1)
	if i, _ := slices.BinarySearch(LatencyBounds[:], took); i < len(c.buckets) {
		c.buckets[i].Add(1)
	}
	c.sum.Add(int64(took))
	c.count.Add(1)
}

// outcomeOf is the index into Outcomes; below 0: it was no command to a worker.
func outcomeOf(err error) int {
	var ce *ipc.CallError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ce):
		return slices.Index(Outcomes[:], string(ce.Outcome()))
	case errors.Is(err, ErrStale), errors.Is(err, ErrNoTarget), errors.Is(err, ErrNotOne):
		return -1
	case errors.Is(err, context.DeadlineExceeded):
		return slices.Index(Outcomes[:], string(ipc.ErrTimeout))
	}
	return slices.Index(Outcomes[:], string(ipc.ErrCanceled)) // who wanted the pieces did not take them
}

// of is where a command is counted. One that has not been counted by its name yet
// is so only if it is known that it reached a worker: callers can make names up.
func (p *poolStats) of(command string, known bool) *commandStats {
	p.mu.RLock()
	c := p.commands[command]
	p.mu.RUnlock()
	if c != nil {
		return c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !known || len(p.commands) >= keptCommands {
		command = OtherCommands
	}
	if c = p.commands[command]; c == nil {
		c = &commandStats{}
		if p.commands == nil {
			p.commands = map[string]*commandStats{}
		}
		p.commands[command] = c
	}
	return c
}

// exit counts the end of a process.
func (p *poolStats) exit(e ExitStatus) {
	key := ExitCount{Cause: "exit"}
	switch {
	case e.Err != "":
		key.Cause = "spawn"
	case e.Signal != 0:
		key.Cause, key.Code = "signal", lifecycle.SignalName(e.Signal)
	default:
		key.Code = strconv.Itoa(e.Code)
	}
	if e.OOM {
		p.oomKills.Add(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exits == nil {
		p.exits = map[ExitCount]uint64{}
	}
	p.exits[key]++
}

// PoolCounts is what a pool has done.
type PoolCounts struct {
	Pool     string
	Commands []CommandStats // by name
	Exits    []ExitCount    // by cause and code
	OOMKills uint64         // of these, probably by the kernel for want of memory
}

// Counts is what each pool has done since it is there.
func (s *Supervisor) Counts() []PoolCounts {
	boards := s.boards()
	all := make([]PoolCounts, len(boards))
	for i, b := range boards {
		all[i] = b.stats.counts(b.name)
	}
	return all
}

func (p *poolStats) counts(pool string) PoolCounts {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := PoolCounts{Pool: pool, OOMKills: p.oomKills.Load()}
	for name, c := range p.commands {
		st := CommandStats{Command: name, Sum: time.Duration(c.sum.Load())}
		for i := range c.outcomes {
			st.Outcomes[i] = c.outcomes[i].Load()
		}
		for i := range c.buckets {
			st.Buckets[i] = c.buckets[i].Load()
		}
		st.Count = c.count.Load() // last: no bucket can be above it
		out.Commands = append(out.Commands, st)
	}
	for key, n := range p.exits {
		key.N = n
		out.Exits = append(out.Exits, key)
	}
	slices.SortFunc(out.Commands, func(a, b CommandStats) int { return strings.Compare(a.Command, b.Command) })
	slices.SortFunc(out.Exits, func(a, b ExitCount) int { return strings.Compare(a.Cause+"\x00"+a.Code, b.Cause+"\x00"+b.Code) })
	return out
}
