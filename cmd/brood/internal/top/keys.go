package top

import (
	"time"

	tea "charm.land/bubbletea/v2"
)

// keys are what the help says, in its order.
var keys = [][2]string{
	{"↑ ↓ k j", "choose a worker; PgUp PgDn Home End too"},
	{"r", "restart it"},
	{"R", "restart its pool, one worker at a time"},
	{"s", "stop it, or start it if it is down"},
	{"+ -", "give its pool a worker more, or one less"},
	{"l", "show what it prints; again: hide it"},
	{"/", "show only workers whose line has this in it; Esc: all"},
	{"o O", "sort by the next column, the other way round"},
	{"p", "hold the picture"},
	{"q Ctrl-C", "leave"},
}

// key carries out a key, in the mode that the view is in.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	if name == "ctrl+c" {
		return m.quit()
	}
	if !m.saidAt.IsZero() {
		m.said = ""
	}
	switch {
	case m.ask != nil:
		return m.answer(name)
	case m.typing:
		m.edit(k)
		return nil
	case m.help:
		m.help = false
		return nil
	}
	switch name {
	case "q":
		return m.quit()
	case "?", "h":
		m.help = true
	case "p", "space":
		m.paused = !m.paused
	case "/":
		m.typing = true
	case "esc":
		if m.tail != nil {
			m.endTail()
		} else {
			m.filter = ""
		}
	case "o":
		m.sort = (m.sort + 1) % len(orders)
	case "O":
		m.reverse = !m.reverse
	case "l":
		return m.toggleTail()
	default:
		if cmd, ok := m.move(name); ok {
			return cmd
		}
		m.orderKey(name)
	}
	return nil
}

func (m *model) quit() tea.Cmd {
	m.endTail()
	return tea.Quit
}

// answer takes the key after a question: only y and Enter are a yes.
func (m *model) answer(name string) tea.Cmd {
	q := m.ask
	m.ask = nil
	if name == "y" || name == "Y" || name == "enter" {
		m.said, m.saidBad, m.saidAt = q.text[:len(q.text)-1]+" …", false, time.Time{}
		return q.do
	}
	m.say("left as it is", false)
	return nil
}

// edit edits the filter.
func (m *model) edit(k tea.KeyPressMsg) {
	switch k.String() {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	case "ctrl+u":
		m.filter = ""
	default:
		m.filter += k.Text
	}
}

// orderKey is a key that changes something.
func (m *model) orderKey(name string) {
	w, ok := m.current()
	if !ok {
		return
	}
	switch name {
	case "r":
		m.proposeOrder("restart", w.Target)
	case "R":
		m.proposeOrder("restart", w.Pool)
	case "s":
		verb := "stop"
		if w.Want == "down" || w.State == "failed" {
			verb = "start"
		}
		m.proposeOrder(verb, w.Target)
	case "+", "=":
		m.proposeScale(1)
	case "-":
		m.proposeScale(-1)
	}
}

// move chooses another worker; the log pane goes with it.
func (m *model) move(name string) (tea.Cmd, bool) {
	rows := m.rows()
	at, page := m.index(rows), m.tableHeight()
	switch name {
	case "up", "k":
		at--
	case "down", "j":
		at++
	case "pgup":
		at -= page
	case "pgdown":
		at += page
	case "home", "g":
		at = 0
	case "end", "G":
		at = len(rows) - 1
	default:
		return nil, false
	}
	if len(rows) == 0 {
		return nil, true
	}
	m.selected = rows[min(max(at, 0), len(rows)-1)].Target
	if m.tail != nil && m.tail.target != m.selected {
		return m.startTail(), true
	}
	return nil, true
}
