package supervisor

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ptr is for fields of which nil means something else.
func ptr[T any](v T) *T { return &v }

// faults is what Validate finds in a pool that but for one change is sound.
func faults(t *testing.T, change func(*Pool)) []string {
	t.Helper()
	p := Pool{Name: "web", Command: []string{"true"}}
	change(&p)
	err := Config{Pools: []Pool{p}}.Validate()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("not joined: %v", err)
	}
	var fields []string
	for _, err := range joined.Unwrap() {
		var f *FieldError
		if !errors.As(err, &f) || f.Problem == "" {
			t.Errorf("no FieldError: %v", err)
			continue
		}
		fields = append(fields, f.Field)
	}
	return fields
}

func TestValidateNamesTheField(t *testing.T) {
	for _, c := range []struct {
		field  string // empty: it is sound
		change func(*Pool)
	}{
		{"", func(*Pool) {}},
		{"pools.1web", func(p *Pool) { p.Name = "1web" }},
		{"pools.a b", func(p *Pool) { p.Name = "a b" }},
		{"", func(p *Pool) { p.Name = strings.Repeat("x", 63) }},
		{"pools." + strings.Repeat("x", 64), func(p *Pool) { p.Name = strings.Repeat("x", 64) }},
		{"pools.web.command", func(p *Pool) { p.Command = nil }},
		{"pools.web.command", func(p *Pool) { p.Command = []string{""} }},
		{"pools.web.workers", func(p *Pool) { p.Workers = -1 }},
		{"pools.web.workers", func(p *Pool) { p.Workers = maxWorkers + 1 }},
		{"pools.web.min_ready", func(p *Pool) { p.MinReady = 2 }},
		{"", func(p *Pool) { p.Workers, p.MinReady = 2, 2 }},
		{"pools.web.env", func(p *Pool) { p.Env = map[string]string{"": "x"} }},
		{"pools.web.env", func(p *Pool) { p.Env = map[string]string{"A=B": "x"} }},
		{"pools.web.umask", func(p *Pool) { p.Umask = ptr[uint32](0o1000) }},
		{"pools.web.nice", func(p *Pool) { p.Nice = ptr(20) }},
		{"pools.web.oom_score_adj", func(p *Pool) { p.OOMScoreAdj = ptr(-1001) }},
		{"pools.web.limits.nofile", func(p *Pool) { p.Limits = map[string]Limit{"nofile": {2, 1}} }},
		{"pools.web.cgroup", func(p *Pool) { p.Cgroup.Memory = -1 }},
		{"pools.web.ready.when", func(p *Pool) { p.Ready.When = "soon" }},
		{"pools.web.ready.timeout", func(p *Pool) { p.Ready.Timeout = -1 }},
		{"pools.web.ready.log", func(p *Pool) { p.Ready.When = ReadyLog }},
		{"pools.web.ready.log", func(p *Pool) { p.Ready = Ready{When: ReadyLog, Log: "("} }},
		{"pools.web.ready.exec", func(p *Pool) { p.Ready.When = ReadyExec }},
		{"pools.web.ready.http", func(p *Pool) { p.Ready.When = ReadyHTTP }},
		{"pools.web.ready.tcp", func(p *Pool) { p.Ready.When = ReadyTCP }},
		{"pools.web.health.action", func(p *Pool) { p.Health.Action = "cry" }},
		{"pools.web.health.timeout", func(p *Pool) { p.Health.Timeout = -1 }},
		{"pools.web.health.failures", func(p *Pool) { p.Health.Failures = -1 }},
		{"pools.web.health.beat", func(p *Pool) { p.Health.Beat = -1 }},
		{"", func(p *Pool) { p.Health.Ping = -1 }},
		{"pools.web.restart.when", func(p *Pool) { p.Restart.When = "sometimes" }},
		{"pools.web.restart.backoff", func(p *Pool) { p.Restart.BackoffMin = -1 }},
		{"pools.web.restart.backoff", func(p *Pool) { p.Restart.BackoffMin, p.Restart.BackoffMax = 2, 1 }},
		{"", func(p *Pool) { p.Restart.BackoffMin = time.Hour }}, // the longest follows
		{"pools.web.restart.stable", func(p *Pool) { p.Restart.Stable = -1 }},
		{"pools.web.restart.budget", func(p *Pool) { p.Restart.Window = -1 }},
		{"", func(p *Pool) { p.Restart.Budget, p.Restart.Rate = -1, -1 }},
		{"pools.web.restart.give_up_codes", func(p *Pool) { p.Restart.GiveUpCodes = []int{256} }},
		{"pools.web.stop.timeout", func(p *Pool) { p.Stop.Timeout = -1 }},
		{"pools.web.rollout", func(p *Pool) { p.Rollout.Surge = -1 }},
		{"", func(p *Pool) { p.Rollout.Soak = -1 }},
		{"pools.web.recycle", func(p *Pool) { p.Recycle.Commands = -1 }},
		{"pools.web.recycle.jitter", func(p *Pool) { p.Recycle.Jitter = 1.5 }},
		{"pools.web.dispatch.concurrency", func(p *Pool) { p.Dispatch.Concurrency = -1 }},
		{"", func(p *Pool) { p.Dispatch.Queue, p.Dispatch.Timeout = -1, -1 }},
		{"pools.web.commands", func(p *Pool) { p.Commands = map[string]Command{"two words": {Signal: syscall.SIGHUP}} }},
		{"pools.web.commands.reopen", func(p *Pool) { p.Commands = map[string]Command{"reopen": {}} }},
		{"pools.web.commands.reopen", func(p *Pool) {
			p.Commands = map[string]Command{"reopen": {Signal: syscall.SIGHUP, Exec: []string{"true"}}}
		}},
		{"pools.web.after", func(p *Pool) { p.After = []string{"nobody"} }},
		{"pools.web.after", func(p *Pool) { p.After = []string{"web"} }},
	} {
		got := faults(t, c.change)
		want := []string{c.field}
		if c.field == "" {
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Every fault is reported at once, in the same order each time.
func TestValidateReportsAll(t *testing.T) {
	cfg := Config{Pools: []Pool{
		{Name: "a", Command: []string{"true"}, After: []string{"b"}, Env: map[string]string{"=x": "", "=y": "", "": ""}},
		{Name: "b", After: []string{"c"}, Stop: Stop{Timeout: -1}, Ready: Ready{Timeout: -1}},
		{Name: "c", Command: []string{"true"}, After: []string{"a"}},
		{Name: "d", Command: []string{"true"}},
		{Name: "d", Command: []string{"true"}},
	}}
	err := cfg.Validate()
	for _, want := range []string{
		"pools.a.after: it comes after itself: a after b after c after a", "pools.b.command: is missing",
		"pools.b.stop.timeout", "pools.b.ready.timeout", "pools.d: there are two pools of this name", `pools.a.env: "=y"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	for range 20 {
		if again := cfg.Validate(); again.Error() != err.Error() {
			t.Fatalf("another order:\n%v\n%v", err, again)
		}
	}
	if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "supervisor: ") {
		t.Errorf("New: %v", err)
	}
	if err := (Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "pools: there is none") {
		t.Errorf("no pool: %v", err)
	}
}

// What New makes of a Config is its own: the caller's is not written to, and a
// change to it has no effect.
func TestNewCopiesItsConfig(t *testing.T) {
	make := func() Config {
		return Config{Pools: []Pool{{
			Name: "web", Command: []string{"sleep", "1000"}, Env: map[string]string{"A": "1"},
			Restart: Restart{GiveUpCodes: []int{78}}, After: []string{},
		}}}
	}
	cfg := make()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg, make()) {
		t.Errorf("it was written to: %+v", cfg)
	}
	cfg.Pools[0].Command[0], cfg.Pools[0].Env["A"], cfg.Pools[0].Restart.GiveUpCodes[0] = "other", "2", 1
	p := s.boards()[0].config.Load()
	if p.Command[0] != "sleep" || p.Env["A"] != "1" || p.Restart.GiveUpCodes[0] != 78 {
		t.Errorf("it was read later: %+v", p)
	}
	if st := s.Status(); !st.Started.IsZero() || st.Pools[0].Slots[0].State != Stopped || st.Pools[0].Slots[0].Reason != "not started yet" {
		t.Errorf("before Run: %+v", st)
	}
}

// Each default is what the field's comment says.
func TestDefaults(t *testing.T) {
	got := Config{Pools: []Pool{{Name: "web"}}}.withDefaults().Pools[0]
	want := Pool{
		Name: "web", Workers: 1, MinReady: 1,
		Ready:    Ready{When: ReadyAuto, Timeout: 30 * time.Second},
		Health:   Health{Ping: 2 * time.Second, Timeout: time.Second, Failures: 3, Action: ActionRestart},
		Restart:  Restart{When: RestartAlways, BackoffMin: 100 * time.Millisecond, BackoffMax: 30 * time.Second, Stable: 10 * time.Second, Budget: 10, Window: time.Minute, Rate: 10, RateWindow: time.Second},
		Stop:     Stop{Signal: syscall.SIGTERM, Timeout: 10 * time.Second},
		Rollout:  Rollout{Surge: 1, Soak: time.Second},
		Recycle:  Recycle{Jitter: 0.1},
		Dispatch: Dispatch{Concurrency: 1, Queue: 128, Timeout: 30 * time.Second},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	long := Config{Pools: []Pool{{Name: "web", Restart: Restart{BackoffMin: time.Hour}}}}.withDefaults().Pools[0]
	if long.Restart.BackoffMax != time.Hour {
		t.Errorf("the longest wait is %v", long.Restart.BackoffMax)
	}
}
