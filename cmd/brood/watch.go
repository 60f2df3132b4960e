package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/client"
)

// status --watch: what status prints, again and again. A terminal is given back
// as it was; a pipe gets one after the other, with an empty line between, or a
// line of JSON each.

// shortestWatch bounds how often is looked.
const shortestWatch = 100 * time.Millisecond

// watch looks every interval until it is interrupted. Where the supervisor goes,
// it waits for the next one.
func (s *statusFlags) watch(c *client.Client, out func() term.Out, target string) error {
	ctx, stop := untilInterrupt()
	defer stop()
	began, err := supervisorAge(ctx, c)
	if err != nil {
		return afterInterrupt(ctx, err)
	}
	screen := &screen{out: out, json: s.out.json()}
	defer screen.close()
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		show, err := s.lookInTime(ctx, c, target)
		if err == nil {
			err = screen.draw(show)
		}
		switch {
		case ctx.Err() != nil:
			return nil // Ctrl-C is how it ends
		case gone(err):
			if began, err = awaitSupervisor(ctx, c, began, func(bool) {}); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *statusFlags) lookInTime(ctx context.Context, c *client.Client, target string) (func(term.Out) error, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.look(ctx, c, target)
}

// screen is where a view is drawn again and again.
type screen struct {
	out   func() term.Out // as it is now: windows change their size
	json  bool
	begun bool
	taken bool // a terminal's, which is to be given back
}

// What a terminal is told, ECMA-48 and xterm's private modes: the other screen,
// no cursor, long lines are cut; and back.
const (
	takeScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	giveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	toTop      = "\x1b[H"
	clearLine  = "\x1b[K"
	clearBelow = "\x1b[J"
)

// draw shows a view in the place of the one before, or after it.
func (s *screen) draw(show func(term.Out) error) error {
	o := s.out()
	to := o.Writer
	var text bytes.Buffer // one write for each view
	o.Writer = &text
	if err := show(o); err != nil {
		return err
	}
	first := !s.begun
	s.begun = true
	switch {
	case !s.json && o.Terminal && os.Getenv("TERM") != "dumb":
		begin := toTop
		if first {
			begin, s.taken = takeScreen+toTop, true
		}
		_, err := io.WriteString(to, begin+inPlace(text.String(), o.Height)+clearBelow)
		return err
	case !s.json && !first:
		if _, err := fmt.Fprintln(to); err != nil {
			return err
		}
	}
	_, err := text.WriteTo(to)
	return err
}

// close gives the terminal back.
func (s *screen) close() {
	if s.taken {
		_, _ = io.WriteString(s.out(), giveScreen) // it may have gone
	}
}

// inPlace is text that covers what stood in its lines before. Where it is higher
// than the screen its last line says how much is missing; below it is room for a
// line of standard error.
func inPlace(text string, height int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if n := len(lines) - (height - 1); n > 0 && height > 2 {
		lines = append(lines[:height-2], fmt.Sprintf("… %d more lines; `brood top` scrolls", n+1))
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(clearLine + line + "\r\n") // cleared first: behind a full line it would take the last character
	}
	return b.String()
}
