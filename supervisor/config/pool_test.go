package config

import (
	"math"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/internal/process"
)

// one is the only pool of a file with these lines, from which name and command
// are taken away.
func one(t *testing.T, lines string) supervisor.Pool {
	t.Helper()
	f, err := Parse("brood.yaml", []byte(with(lines)))
	if err != nil {
		t.Fatal(err)
	}
	p := f.Pools[0]
	p.Name, p.Command = "", nil
	return p
}

func TestParsePool(t *testing.T) {
	const MiB = 1 << 20
	for _, c := range []struct {
		name, lines string
		want        supervisor.Pool
	}{
		{"environment", "env_file: /etc/default/app\nclean_env: true", supervisor.Pool{EnvFile: []string{"/etc/default/app"}, CleanEnv: true}},
		{"environments", "env_file: [a, b]\nclean_env: false", supervisor.Pool{EnvFile: []string{"a", "b"}}},
		{"identity", "user: www-data\ngroup: 33\numask: 0027\nnice: -5\noom_score_adj: 0\nno_new_privs: True", supervisor.Pool{
			User: "www-data", Group: "33", Umask: new(uint32(0o27)), Nice: new(-5), OOMScoreAdj: new(0), NoNewPrivs: true,
		}},
		{"umask of nothing", "umask: '000'\nnice: 0", supervisor.Pool{Umask: new(uint32(0)), Nice: new(0)}},
		{"limits", "limits: {nofile: 65536, core: unlimited, nproc: 100/200, data: 1GiB, cpu: 60s, stack: 8MiB/unlimited, rttime: 200ms/1s, fsize: 0}", supervisor.Pool{
			Limits: map[string]supervisor.Limit{
				"nofile": {Soft: 65536, Hard: 65536}, "core": {Soft: math.MaxUint64, Hard: math.MaxUint64}, "nproc": {Soft: 100, Hard: 200},
				"data": {Soft: 1024 * MiB, Hard: 1024 * MiB}, "cpu": {Soft: 60, Hard: 60}, "stack": {Soft: 8 * MiB, Hard: math.MaxUint64},
				"rttime": {Soft: 200_000, Hard: 1_000_000}, "fsize": {},
			},
		}},
		{"cgroup", "cgroup: {memory: 512MiB, pids: 100}", supervisor.Pool{Cgroup: supervisor.Cgroup{Memory: 512 * MiB, PIDs: 100}}},
		{"listen", "listen: {http: \"tcp://127.0.0.1:8080\", admin: 'unix:///run/app.sock?mode=0660&group=www', any: 'tcp://:0', any2: 'tcp://:0'}", supervisor.Pool{
			Listen: map[string]string{"http": "tcp://127.0.0.1:8080", "admin": "unix:///run/app.sock?mode=0660&group=www", "any": "tcp://:0", "any2": "tcp://:0"},
		}},
		{"ready: notify", "ready: {when: notify}", supervisor.Pool{Ready: supervisor.Ready{When: supervisor.ReadyNotify}}},
		{"ready: log", "ready: {when: log, log: '^listening on [0-9]+$', timeout: 1m}", supervisor.Pool{
			Ready: supervisor.Ready{When: supervisor.ReadyLog, Log: "^listening on [0-9]+$", Timeout: time.Minute},
		}},
		{"ready: exec", "ready: {exec: [./check, -q]}", supervisor.Pool{Ready: supervisor.Ready{When: supervisor.ReadyExec, Exec: []string{"./check", "-q"}}}},
		{"ready: http", "ready: {http: \"http://127.0.0.1:8080/healthz\"}", supervisor.Pool{
			Ready: supervisor.Ready{When: supervisor.ReadyHTTP, HTTP: "http://127.0.0.1:8080/healthz"},
		}},
		{"ready: http by a socket", "ready: {http: unix:/run/app.sock:/healthz}", supervisor.Pool{
			Ready: supervisor.Ready{When: supervisor.ReadyHTTP, HTTP: "unix:/run/app.sock:/healthz"},
		}},
		{"ready: tcp", "ready: {tcp: '[::1]:8080'}", supervisor.Pool{Ready: supervisor.Ready{When: supervisor.ReadyTCP, TCP: "[::1]:8080"}}},
		{"ready: tcp by a socket", "ready: {tcp: 'unix:/run/app.sock'}", supervisor.Pool{Ready: supervisor.Ready{When: supervisor.ReadyTCP, TCP: "unix:/run/app.sock"}}},
		{"health", "health: {beat: 10s, dump: sigquit}", supervisor.Pool{Health: supervisor.Health{Beat: 10 * time.Second, Dump: syscall.SIGQUIT}}},
		{"health off", "health: {ping: off, beat: off}", supervisor.Pool{Health: supervisor.Health{Ping: -1}}},
		{"rate", "restart: {rate: 5/2s}", supervisor.Pool{Restart: supervisor.Restart{Rate: 5, RateWindow: 2 * time.Second}}},
		{"rate off", "restart: {rate: off}", supervisor.Pool{Restart: supervisor.Restart{Rate: -1}}},
		{"rollout", "rollout: {surge: 2, unavailable: 1, soak: 30s}", supervisor.Pool{Rollout: supervisor.Rollout{Surge: 2, Unavailable: 1, Soak: 30 * time.Second}}},
		{"rollout in place", "rollout: {surge: 0, unavailable: 1, soak: 0s}", supervisor.Pool{Rollout: supervisor.Rollout{Unavailable: 1, Soak: -1}}},
		{"rollout in place, shorter", "rollout: {unavailable: 1, soak: off}", supervisor.Pool{Rollout: supervisor.Rollout{Unavailable: 1, Soak: -1}}},
		{"rollout beside", "rollout: {unavailable: 0}", supervisor.Pool{}},
		{"recycle", "recycle: {commands: 1000, age: 24h, memory: 512MiB, jitter: 25%}", supervisor.Pool{
			Recycle: supervisor.Recycle{Commands: 1000, Age: 24 * time.Hour, Memory: 512 * MiB, Jitter: 0.25},
		}},
		{"recycle never", "recycle: {commands: 0, age: 0s, memory: 0}", supervisor.Pool{}},
		{"dispatch", "dispatch: {concurrency: 4, queue: 10, timeout: 1m}", supervisor.Pool{Dispatch: supervisor.Dispatch{Concurrency: 4, Queue: 10, Timeout: time.Minute}}},
		{"dispatch off", "dispatch: {queue: 0, timeout: off}", supervisor.Pool{Dispatch: supervisor.Dispatch{Queue: -1, Timeout: -1}}},
		{"dispatch of nothing", "dispatch: {timeout: 0s}", supervisor.Pool{Dispatch: supervisor.Dispatch{Timeout: -1}}},
		{"commands", "commands: {reopen: {signal: USR1}, rotate: {exec: [./rotate.sh, now]}, pause: {signal: STOP}, a.b: {signal: HUP}}", supervisor.Pool{
			Commands: map[string]supervisor.Command{
				"reopen": {Signal: syscall.SIGUSR1}, "rotate": {Exec: []string{"./rotate.sh", "now"}},
				"pause": {Signal: syscall.SIGSTOP}, "a.b": {Signal: syscall.SIGHUP},
			},
		}},
		{"sections with nothing in them", "limits:\ncgroup:\nlisten:\nrollout:\nrecycle: {}\ndispatch:\ncommands:\nafter: []", supervisor.Pool{
			Listen: map[string]string{}, Commands: map[string]supervisor.Command{}, After: []string{},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := one(t, c.lines); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// No jitter at all is told from the default.
func TestNoJitter(t *testing.T) {
	if j := one(t, "recycle: {jitter: 0%}").Recycle.Jitter; j >= 0 {
		t.Errorf("0%% is read as %v", j)
	}
	if j := one(t, "recycle: {jitter: 100%}").Recycle.Jitter; j != 1 {
		t.Errorf("100%% is read as %v", j)
	}
}

// The pool of the design, and what it comes after.
func TestDesignExample(t *testing.T) {
	f, err := Parse("brood.yaml", []byte(`
pools:
  web:
    command: ["./server", "--verbose"]
    workers: 4                    # or "cpus"
    dir: /srv/app
    env: {MODE: production}
    user: www-data
    listen: {http: "tcp://127.0.0.1:8080"}   # opened once, handed to every worker (LISTEN_FDS)
    ready:  {when: auto, timeout: 30s}       # auto | hello | notify | alive | log | exec | http | tcp
    health: {ping: 2s, timeout: 1s, failures: 3, beat: 0s, action: restart}
    restart: {when: always, backoff: 100ms..30s, stable: 10s, budget: 10/1m, give_up_codes: [78]}
    stop:   {signal: TERM, timeout: 10s}
    recycle: {commands: 0, age: 0s, memory: 0, jitter: 10%}
    rollout: {surge: 1, unavailable: 0, soak: 1s}
    dispatch: {concurrency: 1, queue: 128, timeout: 30s}
    commands: {reopen: {signal: USR1}}
    after: [cache]
  cache: {command: ["./cache"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	const s = time.Second
	want := supervisor.Pool{
		Name: "web", Command: []string{"./server", "--verbose"}, Workers: 4, Dir: "/srv/app",
		Env: map[string]string{"MODE": "production"}, User: "www-data", Listen: map[string]string{"http": "tcp://127.0.0.1:8080"},
		Ready:  supervisor.Ready{When: supervisor.ReadyAuto, Timeout: 30 * s},
		Health: supervisor.Health{Ping: 2 * s, Timeout: s, Failures: 3, Action: supervisor.ActionRestart},
		Restart: supervisor.Restart{
			When: supervisor.RestartAlways, BackoffMin: s / 10, BackoffMax: 30 * s, Stable: 10 * s, Budget: 10, Window: time.Minute, GiveUpCodes: []int{78},
		},
		Stop:     supervisor.Stop{Signal: syscall.SIGTERM, Timeout: 10 * s},
		Recycle:  supervisor.Recycle{Jitter: 0.1},
		Rollout:  supervisor.Rollout{Surge: 1, Soak: s},
		Dispatch: supervisor.Dispatch{Concurrency: 1, Queue: 128, Timeout: 30 * s},
		Commands: map[string]supervisor.Command{"reopen": {Signal: syscall.SIGUSR1}},
		After:    []string{"cache"},
	}
	if !reflect.DeepEqual(f.Pools[0], want) {
		t.Errorf("got  %+v\nwant %+v", f.Pools[0], want)
	}
}

// Every limit that the spawn knows has a key. Some systems know fewer than Linux.
func TestLimitsAreTheSpawns(t *testing.T) {
	keys := allKeys(t)
	for name := range process.LimitNames {
		if _, ok := keys["limits."+name]; !ok {
			t.Errorf("limits.%s is no key", name)
		}
	}
	if unlimited != uint64(process.Unlimited) {
		t.Errorf("unlimited is %d for the spawn", uint64(process.Unlimited))
	}
}

// Every field of a pool can be set in a file.
func TestEveryFieldHasAKey(t *testing.T) {
	var walk func(of reflect.Type, path string)
	names := map[string]string{ // of fields that are not called as their key
		"Name": "", "Restart.BackoffMin": "restart.backoff", "Restart.BackoffMax": "restart.backoff",
		"Restart.Window": "restart.budget", "Restart.RateWindow": "restart.rate", "Restart.GiveUpCodes": "restart.give_up_codes",
		"MinReady": "min_ready", "EnvFile": "env_file", "CleanEnv": "clean_env", "OOMScoreAdj": "oom_score_adj", "NoNewPrivs": "no_new_privs",
	}
	keys := allKeys(t)
	walk = func(of reflect.Type, path string) {
		for i := range of.NumField() {
			f := of.Field(i)
			key, named := names[path+f.Name]
			if !named {
				key = strings.ToLower(path + f.Name)
			}
			if _, ok := keys[key]; !ok && key != "" {
				t.Errorf("the field %s has no key %s", path+f.Name, key)
			}
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, path+f.Name+".")
			}
		}
	}
	walk(reflect.TypeFor[supervisor.Pool](), "")
}
