package config

import (
	"os"
	"syscall"
	"time"

	"example.com/brood/supervisor"
)

// The table of keys. A row makes its key known to the reader, to the hints for
// unknown keys and to the JSON Schema; docs/config.md wants a row too. The
// defaults are those of package supervisor, as they are written in a file.

type (
	pool     = supervisor.Pool
	ready    = supervisor.Ready
	health   = supervisor.Health
	restart  = supervisor.Restart
	stop     = supervisor.Stop
	duration = time.Duration
)

const (
	defaultMode os.FileMode = 0o600
	defaultRole             = "viewer"
)

var fileKeys = []key[File]{
	row("pools", "", byName(poolKeys, poolNamePattern, func(p *pool, name string) { p.Name = name }), func(f *File, v []pool) { f.Pools = v },
		"The groups of workers, by name. A name is a letter, then letters, digits, '_', '-' or '.', at most 63 in all.").needed(),
	row("control", "", section(controlKeys), func(f *File, v Control) { f.Control = v },
		"The control socket."),
}

var poolKeys = []key[pool]{
	row("command", "", commandLine, func(p *pool, v []string) { p.Command = v },
		"The program and its arguments. A program without a slash is looked up in the worker's PATH, a relative one from dir.").needed(),
	row("workers", "1", workerCount, func(p *pool, v int) { p.Workers = v },
		"How many workers the pool has, or \"cpus\" for as many as there are processors."),
	row("min_ready", "1", whole(1, 0), func(p *pool, v int) { p.MinReady = v },
		"How many ready workers the pool must have, else it is critical."),
	row("dir", "", text, func(p *pool, v string) { p.Dir = v },
		"The working directory; a relative one is taken from the supervisor's. Left out: the supervisor's."),
	row("env", "", environment, func(p *pool, v map[string]string) { p.Env = v },
		"Variables added to the supervisor's environment. Values are taken as they are written."),
	row("ready", "", section(readyKeys), func(p *pool, v ready) { p.Ready = v },
		"When a starting worker may be given work."),
	row("health", "", section(healthKeys), func(p *pool, v health) { p.Health = v },
		"How a ready worker is watched. Only workers that have said HELLO are pinged."),
	row("restart", "", section(restartKeys), func(p *pool, v restart) { p.Restart = v },
		"Whether and when a worker that ended by itself is replaced."),
	row("stop", "", section(stopKeys), func(p *pool, v stop) { p.Stop = v },
		"How a worker is stopped: drained if it has said HELLO, then signalled, then killed."),
}

var readyKeys = []key[ready]{
	row("when", "auto", word(supervisor.ReadyAuto, supervisor.ReadyHello, supervisor.ReadyAlive), func(r *ready, v supervisor.ReadyWhen) { r.When = v },
		"What makes a worker ready. auto: its READY if it says HELLO, else alive for a second; hello: only its READY; alive: alive for a second."),
	row("timeout", "30s", positive, func(r *ready, v duration) { r.Timeout = v },
		"How long a worker may take to become ready, else it is replaced."),
}

var healthKeys = []key[health]{
	row("ping", "2s", pingEvery, func(h *health, v duration) { h.Ping = v },
		"The time between pings, or off (0s is the same)."),
	row("timeout", "1s", positive, func(h *health, v duration) { h.Timeout = v },
		"How long the answer to a ping may take."),
	row("failures", "3", whole(1, 0), func(h *health, v int) { h.Failures = v },
		"How many pings in a row must go unanswered before the action is taken."),
	row("action", "restart", word(supervisor.ActionRestart, supervisor.ActionObserve), func(h *health, v supervisor.HealthAction) { h.Action = v },
		"What is done about a worker that does not answer. restart: it is replaced; observe: it is only told."),
}

var restartKeys = []key[restart]{
	row("when", "always", word(supervisor.RestartAlways, supervisor.RestartOnFailure, supervisor.RestartNever), func(r *restart, v supervisor.RestartWhen) { r.When = v },
		"After which exits a worker is replaced. always: any; on-failure: any but code 0; never: none."),
	row("backoff", "100ms..30s", waits, func(r *restart, v span) { r.BackoffMin, r.BackoffMax = v.min, v.max },
		"The shortest and the longest wait before a restart; each is twice the one before. A single duration is both."),
	row("stable", "10s", positive, func(r *restart, v duration) { r.Stable = v },
		"How long a worker must have been ready for the waits to begin anew."),
	row("budget", "10/1m", rate, func(r *restart, v allowance) { r.Budget, r.Window = v.n, v.per },
		"How many restarts one slot may have in how long before it is given up, or off for no limit."),
	row("give_up_codes", "[]", listOf("exit codes, such as [78]", whole(0, 255)), func(r *restart, v []int) { r.GiveUpCodes = v },
		"Exit codes after which a worker is not tried again."),
}

var stopKeys = []key[stop]{
	row("signal", "TERM", signalName, func(s *stop, v syscall.Signal) { s.Signal = v },
		"The signal that asks a worker to end, by name, with or without SIG."),
	row("timeout", "10s", positive, func(s *stop, v duration) { s.Timeout = v },
		"The time from the begin of the stop to SIGKILL. A worker that has said HELLO gets three quarters of it to drain before the signal."),
}

var controlKeys = []key[Control]{
	row("socket", "", socketPath, func(c *Control, v string) { c.Socket = v },
		"The socket's path. Left out: $BROOD_SOCKET, or the place for the user that the supervisor runs as."),
	row("mode", `"0600"`, fileMode, func(c *Control, v os.FileMode) { c.Mode = v },
		"The mode of the socket file, octal. Who may write to it may connect."),
	row("group", "", text, func(c *Control, v string) { c.Group = v },
		"The group of the socket file, a name or a number. Left out: the supervisor's."),
	row("role", defaultRole, word("viewer", "operator", "admin"), func(c *Control, v string) { c.Role = v },
		"The highest role of those whom the mode lets in. Root and the supervisor's own user are always admin."),
}
