// Package top is `brood top`: a live full-screen view of the workers. The model
// is bubbletea's: Update alone changes it, View alone draws it, and what takes
// time is a command that comes back as a message. All it knows it has asked of
// the supervisor, so it goes on when that is gone and comes back.
package top

import (
	"context"
	"errors"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"example.com/brood/supervisor/control/api"
)

// Source is what the view asks; *client.Client is one.
type Source interface {
	StatusBrief(ctx context.Context) (api.Status, error)
	Order(ctx context.Context, verb, target string) ([]api.Result, error)
	Scale(ctx context.Context, pool string, n int) ([]api.Result, error)
	Logs(ctx context.Context, target string, lines int, follow bool, each func(api.LogLine) error) error
}

// Config is how the view is set up.
type Config struct {
	Source   Source
	Target   string        // shows only what begins with it; empty: all
	Interval time.Duration // between two looks
	Color    bool
}

// Run shows the view until q or Ctrl-C.
func Run(ctx context.Context, c Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newModel(ctx, c)
	_, err := tea.NewProgram(m, tea.WithContext(ctx)).Run()
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// The times that things may take.
const (
	lookTime  = 3 * time.Second  // the supervisor to say its status
	orderTime = 60 * time.Second // workers to come to what was asked
	saidTime  = 5 * time.Second  // people to read that it is done
)

// What is drawn on a smaller screen is as if it were so large; the rest is cut.
const leastWidth, leastHeight = 24, 8

// Messages.
type (
	tickMsg   struct{} // it is time to look
	statusMsg struct {
		st  api.Status
		err error
		at  time.Time
	}
	doneMsg struct { // an order came back
		what string
		err  error
	}
	logMsg struct {
		id    int // of the tail that it belongs to
		lines []api.LogLine
		err   error // the tail has ended
	}
)

// question is an order that waits for a yes.
type question struct {
	text string
	do   tea.Cmd
}

type model struct {
	cfg           Config
	ctx           context.Context // ends with the program; commands are given it
	width, height int

	st      api.Status
	lookErr error // of the last look; nil: st is what is
	looked  bool
	paused  bool
	history map[string]*history // by target

	selected string // a target
	offset   int    // the first row shown
	sort     int
	reverse  bool
	filter   string
	typing   bool // the filter
	help     bool
	ask      *question
	said     string // what became of the last order; empty: a key was pressed since
	saidBad  bool
	saidAt   time.Time // zero: the order is under way

	tail *tail // of the log pane; nil: there is none
}

func newModel(ctx context.Context, c Config) *model {
	return &model{cfg: c, ctx: ctx, width: 80, height: 24, history: map[string]*history{}, filter: c.Target}
}

func (m *model) Init() tea.Cmd { return m.look() }

// look asks for the status. The next tick comes only after the answer.
func (m *model) look() tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, lookTime)
		defer cancel()
		st, err := m.cfg.Source.StatusBrief(ctx)
		return statusMsg{st, err, time.Now()}
	}
}

func (m *model) later() tea.Cmd {
	return tea.Tick(m.cfg.Interval, func(time.Time) tea.Msg { return tickMsg{} })
}

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(msg.Width, leastWidth), max(msg.Height, leastHeight)
	case tickMsg:
		if m.paused {
			return m, m.later()
		}
		return m, m.look()
	case statusMsg:
		m.take(msg)
		return m, m.later()
	case doneMsg:
		if msg.err != nil {
			m.say(msg.what+": "+msg.err.Error(), true)
		} else {
			m.say(msg.what+": done", false)
		}
		return m, nil
	case logMsg:
		return m, m.takeLog(msg)
	case tea.KeyPressMsg:
		return m, m.key(msg)
	}
	return m, nil
}

// say puts text into the place of the keys, for a while.
func (m *model) say(text string, bad bool) { m.said, m.saidBad, m.saidAt = text, bad, time.Now() }

// saying reports whether the place is still taken: what is bad stays until a key is
// pressed.
func (m *model) saying() bool {
	return m.said != "" && (m.saidAt.IsZero() || m.saidBad || time.Since(m.saidAt) < saidTime)
}

// take learns a status.
func (m *model) take(msg statusMsg) {
	m.lookErr, m.looked = msg.err, true
	if msg.err != nil {
		return
	}
	anew := m.st.Started != msg.st.Started
	m.st = msg.st
	there := map[string]bool{}
	for _, p := range m.st.Pools {
		for _, w := range p.Slots {
			there[w.Target] = true
			h := m.history[w.Target]
			if h == nil || anew {
				h = &history{}
				m.history[w.Target] = h
			}
			h.add(msg.at, w)
		}
	}
	for target := range m.history {
		if !there[target] {
			delete(m.history, target)
		}
	}
}

// order is a command that carries out what was asked.
func (m *model) order(what string, do func(context.Context) ([]api.Result, error)) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(m.ctx, orderTime)
		defer cancel()
		_, err := do(ctx)
		return doneMsg{what, err}
	}
}

// propose asks for a yes first: a key is pressed by mistake easily.
func (m *model) propose(what string, do func(context.Context) ([]api.Result, error)) {
	m.ask = &question{what + "?", m.order(what, do)}
}

func (m *model) proposeOrder(verb, target string) {
	m.propose(verb+" "+target, func(ctx context.Context) ([]api.Result, error) { return m.cfg.Source.Order(ctx, verb, target) })
}

func (m *model) proposeScale(by int) {
	w, ok := m.current()
	if !ok {
		return
	}
	for _, p := range m.st.Pools {
		if n := p.Workers + by; p.Name == w.Pool && n >= 1 {
			m.propose(fmt.Sprintf("scale %s from %d to %d", p.Name, p.Workers, n), func(ctx context.Context) ([]api.Result, error) {
				return m.cfg.Source.Scale(ctx, p.Name, n)
			})
		}
	}
}
