package top

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
)

// fake is a supervisor that does as it is told and writes it down.
type fake struct {
	asked []string
	err   error
}

func (f *fake) StatusBrief(context.Context) (api.Status, error) { return status(), f.err }
func (f *fake) Order(_ context.Context, verb, target string) ([]api.Result, error) {
	f.asked = append(f.asked, verb+" "+target)
	return nil, f.err
}
func (f *fake) Scale(_ context.Context, pool string, n int) ([]api.Result, error) {
	f.asked = append(f.asked, fmt.Sprint("scale ", pool, " ", n))
	return nil, f.err
}
func (f *fake) Logs(ctx context.Context, target string, _ int, _ bool, each func(api.LogLine) error) error {
	f.asked = append(f.asked, "logs "+target)
	return each(api.LogLine{Target: target, Text: "\x1b[31ma line of " + target})
}

func status() api.Status {
	no := false
	up := func(n int, state string) api.Worker {
		return api.Worker{Target: fmt.Sprintf("web/%d", n), Pool: "web", Slot: n, Generation: 7, State: state, Want: "up", PID: 4710 + n,
			Alive: true, UptimeMS: 3_723_000, SDK: "brood-go", RSSBytes: int64(n) << 20, Served: uint64(100 * n)}
	}
	hung, failed := up(3, "ready"), up(4, "failed")
	hung.Responsive = &no
	failed.PID, failed.Reason = 0, "it exited with code 78, which is not tried again: its configuration is wrong, and it says so at length"
	return api.Status{Version: "1.0", PID: 42, Started: "2026-01-02T03:04:05Z", Health: "critical", Pools: []api.Pool{
		{Name: "web", Workers: 4, Ready: 2, Health: "critical", Slots: []api.Worker{up(1, "ready"), up(2, "ready"), hung, failed}},
	}}
}

// view is a model that has looked once.
func view(t *testing.T, f *fake) *model {
	t.Helper()
	m := newModel(context.Background(), Config{Source: f, Interval: time.Second})
	m.Update(m.Init()())
	return m
}

// press presses keys and carries out what comes of them.
func press(m *model, names ...string) {
	for _, name := range names {
		k := tea.KeyPressMsg{Text: name, Code: []rune(name)[0]}
		switch name {
		case "enter":
			k = tea.KeyPressMsg{Code: tea.KeyEnter}
		case "esc":
			k = tea.KeyPressMsg{Code: tea.KeyEscape}
		case "backspace":
			k = tea.KeyPressMsg{Code: tea.KeyBackspace}
		case "end":
			k = tea.KeyPressMsg{Code: tea.KeyEnd}
		}
		_, cmd := m.Update(k)
		for cmd != nil {
			msg := cmd()
			if _, ok := msg.(tea.QuitMsg); ok || msg == nil {
				return
			}
			_, cmd = m.Update(msg)
		}
	}
}

func screen(m *model) string { return strings.Join(m.lines(), "\n") }

// TestKeys: what each key asks of the supervisor, and that only a yes does.
func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		keys []string
		want []string
	}{
		{[]string{"r", "y"}, []string{"restart web/1"}},
		{[]string{"r", "n"}, nil},
		{[]string{"r", "r"}, nil},
		{[]string{"j", "R", "enter"}, []string{"restart web"}},
		{[]string{"j", "s", "y"}, []string{"stop web/2"}},
		{[]string{"end", "s", "y"}, []string{"start web/4"}},
		{[]string{"+", "y"}, []string{"scale web 5"}},
		{[]string{"-", "y"}, []string{"scale web 3"}},
		{[]string{"/", "h", "u", "n", "g", "enter", "r", "y"}, []string{"restart web/3"}},
		{[]string{"/", "r", "y", "esc", "r", "y"}, []string{"restart web/1"}},
		{[]string{"o", "r", "y"}, []string{"restart web/3"}}, // hung is worst
		{[]string{"o", "o", "o", "o", "O", "r", "y"}, []string{"restart web/1"}},
		{[]string{"l", "j", "l"}, []string{"logs web/1", "logs web/2"}},
		{[]string{"?", "r", "y"}, nil}, // the first key leaves the help
		{[]string{"/", "z", "enter", "r", "+", "l", "j"}, nil},
	} {
		f := &fake{}
		m := view(t, f)
		press(m, tt.keys...)
		if !slices.Equal(f.asked, tt.want) {
			t.Errorf("%q: %q, want %q", tt.keys, f.asked, tt.want)
		}
	}
}

// TestEverySizeFits: at any size each line fits and there are as many as the
// screen has, in every mode.
func TestEverySizeFits(t *testing.T) {
	for _, keys := range [][]string{{}, {"?"}, {"l"}, {"/", "w"}, {"r"}, {"j", "r", "y"}} {
		m := view(t, &fake{})
		press(m, keys...)
		for width := leastWidth; width < 140; width += 7 {
			for height := leastHeight; height < 40; height += 5 {
				m.Update(tea.WindowSizeMsg{Width: width, Height: height})
				lines := m.lines()
				if len(lines) != height {
					t.Errorf("%q %d×%d: %d lines", keys, width, height, len(lines))
				}
				for _, line := range lines {
					if term.Width(line) > width && !slices.Contains(keys, "?") {
						t.Errorf("%q %d×%d: %q", keys, width, height, line)
					}
				}
			}
		}
	}
}

func TestScreen(t *testing.T) {
	f := &fake{}
	m := view(t, f)
	for _, want := range []string{"brood 1.0, pid 42", "web 2/4 critical", "> web/1#7", "1h2m", "hung", "failed", "2.0M"} {
		if !strings.Contains(screen(m), want) {
			t.Errorf("%q is not on the screen:\n%s", want, screen(m))
		}
	}
	press(m, "end")
	if !strings.Contains(screen(m), "it exited with code 78") {
		t.Errorf("the chosen worker's note is not there:\n%s", screen(m))
	}
	press(m, "l")
	if text := screen(m); !strings.Contains(text, `\x1b[31ma line of web/4`) || strings.Contains(text, "\x1b") {
		t.Errorf("the log pane:\n%q", text)
	}
	f.err = errors.New("no supervisor: it is away")
	m.Update(m.look()())
	if text := screen(m); !strings.Contains(text, "trying again: no supervisor") || !strings.Contains(text, "web/1#7") {
		t.Errorf("a supervisor that has gone:\n%s", text)
	}
	f.err = nil
	m.Update(m.look()())
	if strings.Contains(screen(m), "trying again") {
		t.Errorf("one that is back:\n%s", screen(m))
	}
}

// TestSaid: what became of an order gives way to the keys, of which the last two are
// those that whoever knows no other needs.
func TestSaid(t *testing.T) {
	f := &fake{}
	m := view(t, f)
	said := func(want string, keys bool) {
		t.Helper()
		if text := m.foot(); strings.Contains(text, want) == keys || strings.HasSuffix(text, "? help  q quit") != keys {
			t.Errorf("got %q, want %q: %v", text, want, !keys)
		}
	}
	press(m, "r", "y")
	said("restart web/1: done", false)
	press(m, "j")
	said("restart web/1: done", true)
	press(m, "r", "y")
	m.saidAt = m.saidAt.Add(-saidTime)
	said("restart web/2: done", true)
	press(m, "r", "n")
	said("left as it is", false)

	f.err = errors.New("no supervisor: it is away")
	press(m, "r", "y")
	m.saidAt = m.saidAt.Add(-saidTime)
	said("it is away", false)
	press(m, "k")
	said("it is away", true)

	press(m, "r")
	m.Update(tea.KeyPressMsg{Text: "y", Code: 'y'}) // it is under way
	press(m, "j")
	said("restart web/1 …", false)
}

// TestAlarm: what is critical stands out.
func TestAlarm(t *testing.T) {
	m := view(t, &fake{})
	m.cfg.Color = true
	for _, want := range []string{"\x1b[1;31mweb 2/4 critical", "\x1b[1;31mhung", "\x1b[1;31mfailed"} {
		if text := screen(m); !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
}

func TestHistory(t *testing.T) {
	h := &history{}
	at := time.Unix(0, 0)
	for i, served := range []uint64{0, 10, 30, 30, 5, 6} { // a supervisor that begins anew counts anew
		h.add(at.Add(time.Duration(i)*time.Second), api.Worker{Served: served, RSSBytes: 1 << 20})
	}
	if want := []float64{10, 20, 0, 1}; !slices.Equal(h.rate, want) {
		t.Errorf("%v, want %v", h.rate, want)
	}
	if got := blocks(h.rate, 6, true); got != "  ▄█▁▁" {
		t.Errorf("%q", got)
	}
	if got := blocks(h.rss, 3, false); got != "███" {
		t.Errorf("what does not change: %q", got)
	}
	for range 100 {
		h.rss = keep(h.rss, 1)
	}
	if len(h.rss) != keptSamples {
		t.Errorf("%d samples are kept", len(h.rss))
	}
}
