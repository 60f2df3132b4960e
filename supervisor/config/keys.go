package config

import (
	"os"
	"sync"
	"syscall"
	"time"

	"example.com/brood/supervisor"
)

// The table of keys. A row makes its key known to the reader, to the hints for
// unknown keys and to the JSON Schema; docs/config.md wants a row too. The
// defaults are those of package supervisor, as they are written in a file. It is
// functions, so that it costs only those who read a file.

type (
	pool     = supervisor.Pool
	limits   = map[string]supervisor.Limit
	cgroup   = supervisor.Cgroup
	ready    = supervisor.Ready
	health   = supervisor.Health
	restart  = supervisor.Restart
	stop     = supervisor.Stop
	rollout  = supervisor.Rollout
	recycle  = supervisor.Recycle
	dispatch = supervisor.Dispatch
	command  = supervisor.Command
	duration = time.Duration
	signal   = syscall.Signal
)

const (
	defaultMode    os.FileMode = 0o600
	defaultRole                = "viewer"
	defaultMaxRole             = "admin"
)

// wholeFile is what a file takes.
var wholeFile = sync.OnceValue(func() kind[File] { return section(fileKeys()) })

func fileKeys() []key[File] {
	return []key[File]{
		row("pools", "", byName(poolKeys(), poolNamePattern, func(p *pool, name string) { p.Name = name }), func(f *File, v []pool) { f.Pools = v },
			"The groups of workers, by name. A name is a letter, then letters, digits, '_', '-' or '.', at most 63 in all.").needed(),
		row("control", "", section(controlKeys()), func(f *File, v Control) { f.Control = v },
			"The control socket."),
	}
}

func poolKeys() []key[pool] {
	return []key[pool]{
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
		row("env_file", "", texts, func(p *pool, v []string) { p.EnvFile = v },
			"Files of KEY=value lines, read at each start of a worker. The later one of two wins, and env over all."),
		row("clean_env", "false", truth, func(p *pool, v bool) { p.CleanEnv = v },
			"Leaves only PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_*, TZ and TERM of the supervisor's environment."),
		row("user", "", account, func(p *pool, v string) { p.User = v },
			"Whom the workers run as, a name or a number. Left out: the supervisor's own user."),
		row("group", "", account, func(p *pool, v string) { p.Group = v },
			"The group the workers run as, a name or a number. Left out: the user's groups."),
		row("umask", "", umask, func(p *pool, v uint32) { p.Umask = &v },
			"The permissions that files made by the workers do not get, octal. Left out: the supervisor's."),
		row("limits", "", section(limitKeys()), func(p *pool, v limits) { p.Limits = v },
			"Resource limits of each worker, setrlimit(2): an amount, unlimited, or soft/hard. Left out: the supervisor's."),
		row("nice", "", whole(-20, 19), func(p *pool, v int) { p.Nice = &v },
			"How far the workers step back for others: -20 (not at all) to 19. Left out: as the supervisor."),
		row("oom_score_adj", "", whole(-1000, 1000), func(p *pool, v int) { p.OOMScoreAdj = &v },
			"How soon a worker is killed when memory runs out: -1000 (never) to 1000. Left out: as the supervisor."),
		row("no_new_privs", "false", truth, func(p *pool, v bool) { p.NoNewPrivs = v },
			"Programs with set-user-ID bits or capabilities give a worker nothing more, prctl(2)."),
		row("cgroup", "", section(cgroupKeys()), func(p *pool, v cgroup) { p.Cgroup = v },
			"What each worker and all that comes from it may have together, cgroups(7)."),
		row("listen", "", mapOf(listenAddress, listenNamePattern, listenName), func(p *pool, v map[string]string) { p.Listen = v },
			"Sockets by name, opened once by the supervisor and handed to every worker, sd_listen_fds(3)."),
		row("ready", "", checked(section(readyKeys()), checkReady), func(p *pool, v ready) { p.Ready = v },
			"When a starting worker may be given work."),
		row("health", "", section(healthKeys()), func(p *pool, v health) { p.Health = v },
			"How a ready worker is watched. Only workers that have said HELLO are pinged."),
		row("restart", "", section(restartKeys()), func(p *pool, v restart) { p.Restart = v },
			"Whether and when a worker that ended by itself is replaced."),
		row("stop", "", section(stopKeys()), func(p *pool, v stop) { p.Stop = v },
			"How a worker is stopped: drained if it has said HELLO, then signalled, then killed."),
		row("rollout", "", checked(section(rolloutKeys()), checkRollout), func(p *pool, v rollout) { p.Rollout = v },
			"How several workers are replaced: by a restart of the pool, a reload, or recycling."),
		row("recycle", "", section(recycleKeys()), func(p *pool, v recycle) { p.Recycle = v },
			"When a worker has done its share and is replaced."),
		row("dispatch", "", section(dispatchKeys()), func(p *pool, v dispatch) { p.Dispatch = v },
			"How commands to the pool, rather than to one worker, are given out."),
		row("commands", "", mapOf(checked(section(mappedKeys()), checkMapped), commandNamePattern, commandName), func(p *pool, v map[string]command) { p.Commands = v },
			"Commands that a signal or a program carries out instead of the worker, by name."),
		row("after", "", listOf("names of pools, such as [cache]", text), func(p *pool, v []string) { p.After = v },
			"Pools that must be up before this one is started, and that are stopped after it."),
	}
}

func cgroupKeys() []key[cgroup] {
	return []key[cgroup]{
		row("memory", "", someBytes, func(c *cgroup, v int64) { c.Memory = v },
			"Memory; a worker that needs more is killed. Left out: no limit."),
		row("pids", "", whole(1, 0), func(c *cgroup, v int) { c.PIDs = int64(v) },
			"Processes and threads; more can't be started. Left out: no limit."),
	}
}

func readyKeys() []key[ready] {
	return []key[ready]{
		row("when", "auto", word(supervisor.ReadyAuto, supervisor.ReadyHello, supervisor.ReadyNotify, supervisor.ReadyAlive, supervisor.ReadyLog, supervisor.ReadyExec, supervisor.ReadyHTTP, supervisor.ReadyTCP, supervisor.ReadyExit), func(r *ready, v supervisor.ReadyWhen) { r.When = v },
			"What makes a worker ready. auto: its READY if it says HELLO, else alive for a second; hello: only its READY; notify: READY=1, sd_notify(3); alive: alive for a second; log, exec, http, tcp: what the key of that name says; exit: it never is, but ends with code 0 within the timeout, and its slot is done. Left out, it is the one whose key is there."),
		row("timeout", "30s", positive, func(r *ready, v duration) { r.Timeout = v },
			"How long a worker may take to become ready, or with exit to end; else it is replaced."),
		row("log", "", pattern, func(r *ready, v string) { r.Log = v },
			"A regular expression (RE2): a line of its output that matches makes a worker ready."),
		row("exec", "", commandLine, func(r *ready, v []string) { r.Exec = v },
			"A program and its arguments: exit code 0 makes a worker ready."),
		row("http", "", probeURL, func(r *ready, v string) { r.HTTP = v },
			"A URL such as http://127.0.0.1:8080/healthz or unix:/run/app.sock:/healthz: an answer of 2xx or 3xx makes a worker ready."),
		row("tcp", "", probeAddress, func(r *ready, v string) { r.TCP = v },
			"An address such as 127.0.0.1:8080 or unix:/run/app.sock: a connection makes a worker ready."),
	}
}

func healthKeys() []key[health] {
	return []key[health]{
		row("ping", "2s", orOff(-1, "2s"), func(h *health, v duration) { h.Ping = v },
			"The time between pings, or off (0s is the same)."),
		row("timeout", "1s", positive, func(h *health, v duration) { h.Timeout = v },
			"How long the answer to a ping may take."),
		row("failures", "3", whole(1, 0), func(h *health, v int) { h.Failures = v },
			"How many pings in a row must go unanswered before the action is taken."),
		row("action", "restart", word(supervisor.ActionRestart, supervisor.ActionObserve), func(h *health, v supervisor.HealthAction) { h.Action = v },
			"What is done about a worker that does not answer. restart: it is replaced; observe: it is only told."),
		row("beat", "0s", orOff(0, "5s"), func(h *health, v duration) { h.Beat = v },
			"How old a worker's beat may be; an older one counts as an unanswered ping. 0s or off: it is not looked at."),
		row("dump", "", dumpSignal(), func(h *health, v signal) { h.Dump = v },
			"The signal that has a hung worker tell where it hangs, before it is stopped. Left out: none."),
	}
}

func restartKeys() []key[restart] {
	return []key[restart]{
		row("when", "always", word(supervisor.RestartAlways, supervisor.RestartOnFailure, supervisor.RestartNever), func(r *restart, v supervisor.RestartWhen) { r.When = v },
			"After which exits a worker is replaced. always: any; on-failure: any but code 0; never: none."),
		row("backoff", "100ms..30s", waits, func(r *restart, v span) { r.BackoffMin, r.BackoffMax = v.min, v.max },
			"The shortest and the longest wait before a restart; each is twice the one before. A single duration is both."),
		row("stable", "10s", positive, func(r *restart, v duration) { r.Stable = v },
			"How long a worker must have been ready for the waits to begin anew."),
		row("budget", "10/1m", perTime, func(r *restart, v allowance) { r.Budget, r.Window = v.n, v.per },
			"How many restarts one slot may have in how long before it is given up, or off for no limit."),
		row("rate", "10/1s", perTime, func(r *restart, v allowance) { r.Rate, r.RateWindow = v.n, v.per },
			"How many restarts the whole pool may have in how long before more of them wait, or off for no limit. Left out: a tenth of the workers in 1s if that is more than 10."),
		row("give_up_codes", "[]", listOf("exit codes, such as [78]", whole(0, 255)), func(r *restart, v []int) { r.GiveUpCodes = v },
			"Exit codes after which a worker is not tried again."),
	}
}

func stopKeys() []key[stop] {
	return []key[stop]{
		row("signal", "TERM", stopSignal(), func(s *stop, v signal) { s.Signal = v },
			"The signal that asks a worker to end, by name, with or without SIG."),
		row("timeout", "10s", positive, func(s *stop, v duration) { s.Timeout = v },
			"The time from the begin of the stop to SIGKILL. A worker that has said HELLO gets three quarters of it to drain before the signal."),
	}
}

func rolloutKeys() []key[rollout] {
	return []key[rollout]{
		row("surge", "1", whole(0, 0), func(r *rollout, v int) { r.Surge = orNone(v) },
			"How many new workers may be started beside those they are to replace. Left out: 1, or 0 if unavailable is set."),
		row("unavailable", "0", whole(0, 0), func(r *rollout, v int) { r.Unavailable = v },
			"How many workers may be stopped before the new one is ready."),
		row("soak", "1s", orOff(-1, "1s"), func(r *rollout, v duration) { r.Soak = v },
			"How long a new worker must stay ready before the next is replaced, or off (0s is the same)."),
	}
}

func recycleKeys() []key[recycle] {
	return []key[recycle]{
		row("commands", "0", whole(0, 0), func(r *recycle, v int) { r.Commands = v },
			"How many commands a worker answers before it is replaced. 0: any number."),
		row("age", "0s", orOff(0, "24h"), func(r *recycle, v duration) { r.Age = v },
			"How long a worker is ready before it is replaced. 0s or off: for ever."),
		row("memory", "0", bytesOrZero, func(r *recycle, v int64) { r.Memory = v },
			"How much memory a worker has resident before it is replaced. 0: any amount."),
		row("jitter", "10%", percent, func(r *recycle, v float64) { r.Jitter = jitter(v) },
			"How far the age differs from worker to worker, so that a pool does not recycle in step."),
	}
}

func dispatchKeys() []key[dispatch] {
	return []key[dispatch]{
		row("concurrency", "1", whole(1, 0), func(d *dispatch, v int) { d.Concurrency = v },
			"How many commands a worker is given at once."),
		row("queue", "128", whole(0, 0), func(d *dispatch, v int) { d.Queue = orNone(v) },
			"How many commands may wait for a worker with room. 0: none, they are refused at once."),
		row("timeout", "30s", orOff(-1, "30s"), func(d *dispatch, v duration) { d.Timeout = v },
			"The time for waiting and answer together, or off for the caller's alone (0s is the same)."),
	}
}

func mappedKeys() []key[command] {
	return []key[command]{
		row("signal", "", anySignal(), func(c *command, v signal) { c.Signal = v },
			"The signal that the worker is sent, by name, with or without SIG."),
		row("exec", "", commandLine, func(c *command, v []string) { c.Exec = v },
			"The program and its arguments that are run beside the worker; the command's words are added."),
	}
}

func controlKeys() []key[Control] {
	return []key[Control]{
		row("listen", "", sockets(section(listenKeys())), func(c *Control, v []Listener) { c.Listen = v },
			"The socket, or a list of several, each with its own mode and role."),
		row("access", "", listOf("rules", section(ruleKeys())), func(c *Control, v []Rule) { c.Access = v },
			"Rules that give roles to users and groups. Whom several name has what they give together; root and the supervisor's own user are always admin."),
		row("audit", "", text, func(c *Control, v string) { c.Audit = v },
			"The file that every change is written down in, one JSON object a line. Left out: the log."),
		row("audit_required", "false", truth, func(c *Control, v bool) { c.AuditRequired = v },
			"Whether changes are refused while they can't be written down."),
		row("max_connections", "1024", whole(8, 0), func(c *Control, v int) { c.MaxConnections = v },
			"How many connections there may be at once; a quarter of the open files allowed to the supervisor bounds it."),
		row("max_per_user", "256", whole(1, 0), func(c *Control, v int) { c.MaxPerUser = v },
			"How many connections one user may have at once; root and the supervisor's own user have no such limit."),
	}
}

func listenKeys() []key[Listener] {
	return []key[Listener]{
		row("path", "", socketPath, func(l *Listener, v string) { l.Path = v },
			"The socket's path. Left out: $BROOD_SOCKET, or the place for the user that the supervisor runs as."),
		row("mode", `"0600"`, fileMode, func(l *Listener, v os.FileMode) { l.Mode = v },
			"The mode of the socket file, octal. Who may write to it may connect."),
		row("group", "", account, func(l *Listener, v string) { l.Group = v },
			"The group of the socket file, a name or a number. Left out: the supervisor's."),
		row("role", defaultRole, word(roles...), func(l *Listener, v string) { l.Role = v },
			"The role of those whom the mode lets in and no rule of access names."),
		row("max_role", defaultMaxRole, word(roles[1:]...), func(l *Listener, v string) { l.MaxRole = v },
			"The highest role that anybody has through this socket, root included."),
	}
}

func ruleKeys() []key[Rule] {
	return []key[Rule]{
		row("role", "", word(roles...), func(r *Rule, v string) { r.Role = v },
			"The role. viewer: status, health, events, metrics. operator: also commands, logs, start, stop, restart, scale. admin: also reload, upgrade, shutdown. none: nothing, whatever the listener gives.").needed(),
		row("users", "", names(account), func(r *Rule, v []string) { r.Users = v },
			"The users who have it, by name or number."),
		row("groups", "", names(account), func(r *Rule, v []string) { r.Groups = v },
			"The groups whose members have it, by name or number. The kernel knows the groups of a caller; it need not be the main one."),
		row("pools", "", names(text), func(r *Rule, v []string) { r.Pools = v },
			"The pools that it is for. Left out: all, and what concerns none."),
		row("commands", "", names(commandWord), func(r *Rule, v []string) { r.Commands = v },
			"The commands that may be sent, and nothing else that changes anything. Left out: whatever the role covers."),
	}
}
