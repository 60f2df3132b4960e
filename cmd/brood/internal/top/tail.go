package top

import (
	"context"
	"errors"

	tea "charm.land/bubbletea/v2"

	"example.com/brood/supervisor/control/api"
)

// tail is the log pane: the last lines of one worker, as they come.
type tail struct {
	id     int
	target string
	lines  []api.LogLine
	err    error
	stop   context.CancelFunc
	news   chan api.LogLine // closed when there are no more
	ended  error            // set before news is closed
}

// keptLines are more than a screen has.
const keptLines = 500

func (m *model) toggleTail() tea.Cmd {
	if m.tail != nil {
		m.endTail()
		return nil
	}
	return m.startTail()
}

func (m *model) endTail() {
	if m.tail != nil {
		m.tail.stop()
		m.tail = nil
	}
}

// tails numbers them, so that lines of one that was left are known as such.
var tails int

// startTail follows the chosen worker's output in a goroutine that ends with
// the tail's context.
func (m *model) startTail() tea.Cmd {
	m.endTail()
	w, ok := m.current()
	if !ok {
		return nil
	}
	ctx, stop := context.WithCancel(m.ctx)
	tails++
	t := &tail{id: tails, target: w.Target, stop: stop, news: make(chan api.LogLine, 64)}
	m.tail = t
	go func() {
		t.ended = m.cfg.Source.Logs(ctx, t.target, 100, true, func(l api.LogLine) error {
			select {
			case t.news <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		close(t.news)
	}()
	return t.wait()
}

// wait is a command that comes back with the next lines.
func (t *tail) wait() tea.Cmd {
	return func() tea.Msg {
		msg := logMsg{id: t.id}
		line, ok := <-t.news
		for ok {
			msg.lines = append(msg.lines, line)
			select {
			case line, ok = <-t.news:
			default:
				return msg
			}
		}
		msg.err = t.ended
		if msg.err == nil {
			msg.err = errors.New("the log has ended")
		}
		return msg
	}
}

func (m *model) takeLog(msg logMsg) tea.Cmd {
	t := m.tail
	if t == nil || t.id != msg.id {
		return nil
	}
	t.lines = append(t.lines, msg.lines...)
	if extra := len(t.lines) - keptLines; extra > 0 {
		t.lines = append(t.lines[:0], t.lines[extra:]...)
	}
	if t.err = msg.err; t.err != nil {
		return nil
	}
	return t.wait()
}
