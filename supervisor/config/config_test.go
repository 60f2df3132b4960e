package config

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       File
	}{
		{"smallest", smallest, File{
			Pools:   []supervisor.Pool{{Name: "web", Command: []string{"./server"}}},
			Control: Control{Listen: []Listener{{Mode: 0o600, Role: "viewer", MaxRole: "admin"}}},
		}},
		{"everything", `
pools:
  web:
    command:
    - ./server
    - 8080
    - |
      two
      lines
    workers: 4
    min_ready: 2
    dir: /srv/app
    env: {A: 0x1F, B: true, C: 1.50, D: off, E: "", "F": 'it''s', G: 0660, 1: one}
    ready: {when: alive, timeout: 1m30s}
    health: {ping: 5s, timeout: 2s, failures: 7, action: observe}
    restart:
      when: on-failure
      backoff: 1s..1m
      stable: 20s
      budget: 5/10m
      give_up_codes: [78, 0, 255]
    stop: {signal: sigusr1, timeout: 250ms}
  b.1: {command: [b], workers: cpus}
control:
  listen:
    - {path: /run/x.sock, mode: "0660", group: 27, role: admin}
    - {max_role: viewer}
  access:
    - {role: admin, users: deploy}
    - {role: operator, users: [5, bob], groups: [ops], pools: [web, b.1], commands: flush}
  audit: /var/log/audit
  audit_required: true
`, File{
			Pools: []supervisor.Pool{{
				Name: "web", Command: []string{"./server", "8080", "two\nlines\n"}, Workers: 4, MinReady: 2, Dir: "/srv/app",
				Env: map[string]string{
					"A": "0x1F", "B": "true", "C": "1.50", "D": "off", "E": "", "F": "it's", "G": "0660", "1": "one",
				},
				Ready:  supervisor.Ready{When: supervisor.ReadyAlive, Timeout: 90 * time.Second},
				Health: supervisor.Health{Ping: 5 * time.Second, Timeout: 2 * time.Second, Failures: 7, Action: supervisor.ActionObserve},
				Restart: supervisor.Restart{
					When: supervisor.RestartOnFailure, BackoffMin: time.Second, BackoffMax: time.Minute, Stable: 20 * time.Second,
					Budget: 5, Window: 10 * time.Minute, GiveUpCodes: []int{78, 0, 255},
				},
				Stop: supervisor.Stop{Signal: syscall.SIGUSR1, Timeout: 250 * time.Millisecond},
			}, {
				Name: "b.1", Command: []string{"b"}, Workers: runtime.NumCPU(),
			}},
			Control: Control{
				Listen: []Listener{
					{Path: "/run/x.sock", Mode: 0o660, Group: "27", Role: "admin", MaxRole: "admin"},
					{Mode: 0o600, Role: "viewer", MaxRole: "viewer"},
				},
				Access: []Rule{
					{Role: "admin", Users: []string{"deploy"}},
					{Role: "operator", Users: []string{"5", "bob"}, Groups: []string{"ops"}, Pools: []string{"web", "b.1"}, Commands: []string{"flush"}},
				},
				Audit: "/var/log/audit", AuditRequired: true,
			},
		}},
		{"off and single", "\ufeff---\r\npools:\r\n  web:\r\n    command: [x]\r\n    health: {ping: off}\r\n    restart: {backoff: 3s, budget: off}\r\n...\r\n", File{
			Pools: []supervisor.Pool{{
				Name: "web", Command: []string{"x"},
				Health:  supervisor.Health{Ping: -1},
				Restart: supervisor.Restart{BackoffMin: 3 * time.Second, BackoffMax: 3 * time.Second, Budget: -1},
			}},
			Control: Control{Listen: []Listener{{Mode: 0o600, Role: "viewer", MaxRole: "admin"}}},
		}},
		{"sections with nothing in them", "pools:\n  web:\n    command: [x]\n    env:\n    ready:\n    health: {ping: 0s}\n    stop: {}\ncontrol:\n  access: []\n  listen:\n    mode: 0o640\n", File{
			Pools:   []supervisor.Pool{{Name: "web", Command: []string{"x"}, Env: map[string]string{}, Health: supervisor.Health{Ping: -1}}},
			Control: Control{Access: []Rule{}, Listen: []Listener{{Mode: 0o640, Role: "viewer", MaxRole: "admin"}}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse("brood.yaml", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

func TestExample(t *testing.T) {
	f, err := Parse("example", []byte(Example))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Pools) != 2 || f.Control.Listen[0].Group != "ops" {
		t.Errorf("got %+v", f)
	}
}

// Errors are typed, and there are as many as there are mistakes.
func TestErrorsAreTyped(t *testing.T) {
	_, err := Parse("b.yaml", []byte("pools:\n  web:\n    command: [x]\n    workers: 0\n    stop: {signal: TREM}\n"))
	all := unjoin(err)
	if len(all) != 2 {
		t.Fatalf("%d errors, want 2: %v", len(all), err)
	}
	var e *Error
	if !errors.As(all[1], &e) {
		t.Fatalf("%T", all[1])
	}
	want := Error{File: "b.yaml", Line: 5, Column: 20, Path: "pools.web.stop.signal", Problem: `there is no signal "TREM"; did you mean "TERM"?`}
	if *e != want {
		t.Errorf("got  %+v\nwant %+v", *e, want)
	}
	if !errors.As(err, &e) || e.Path != "pools.web.workers" {
		t.Errorf("errors.As of the whole gives %v, want the first error", e)
	}
}

func TestLoadSaysWhatTheSystemSaid(t *testing.T) {
	path := t.TempDir() + "/none.yaml"
	_, err := Load(path)
	if want := path + ": cannot be opened: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

func TestFileTooLarge(t *testing.T) {
	path := t.TempDir() + "/large.yaml"
	if err := os.WriteFile(path, []byte(strings.Repeat("# nothing\n", maxSize/10+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if want := path + ": is larger than 1024 KiB; that is no configuration"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Texts made to cost the parser much are refused before it sees them.
func TestHostileTextIsCheap(t *testing.T) {
	for name, text := range map[string]string{
		"wide":      "a:\n" + strings.Repeat("  b: c\n", maxSize/8),
		"flow":      strings.Repeat("[", maxSize),
		"flow maps": strings.Repeat("{a: ", 10_000),
		"dashes":    strings.Repeat("- ", 20_000),
		"questions": strings.Repeat("? ", 20_000),
		"colons":    strings.Repeat("a: ", 15_000),
		"indent":    indented(400),
		"tags":      "a: " + strings.Repeat("!!str ", 40_000),
		"anchors":   "a: " + strings.Repeat("&a ", 15_000),
		"laughs":    "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			if _, err := Parse("brood.yaml", []byte(text)); err == nil {
				t.Error("no error")
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func indented(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}
