package control

import (
	"context"
	"errors"
	"io"
	"time"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// What goes on: events and the workers' output, for a caller in either tongue. A
// follower is given what comes in the order in which it came, and is told of what
// it has missed by being slow.

// eventQuery is which events are wanted.
type eventQuery struct {
	since  uint64            // those after it
	last   int               // instead of since: to begin with, so many of the last. Negative: not said
	target supervisor.Target // whose
	all    bool              // everybody's: there is no target
	sees   func(pool string) bool
}

// eventsFor is q with what the caller may see.
func (s *Server) eventsFor(c *caller, q eventQuery) (eventQuery, error) {
	a := ask{verb: verbEvents, scope: scopeSeen}
	if !q.all {
		q.target = s.meant(c, q.target)
		a = ask{verb: verbEvents, scope: scopePool, target: q.target}
	}
	err := s.do(c, a, func() error { return s.eventTarget(q) })
	q.sees = s.sees(c, verbEvents)
	return q, err
}

// eventTarget is an error for a target that there neither is nor was.
func (s *Server) eventTarget(q eventQuery) error {
	if q.all {
		return nil
	}
	_, err := s.cfg.Supervisor.Select(q.target)
	if errors.Is(err, supervisor.ErrStale) {
		return nil // what has happened to it is history, not wrong
	}
	if errors.Is(err, supervisor.ErrNoTarget) {
		events, _ := s.cfg.Supervisor.Events(0)
		for _, e := range events {
			if e.Pool == q.target.Pool && (q.target.Slot == 0 || e.Slot == q.target.Slot) {
				return nil
			}
		}
	}
	return err
}

func (q eventQuery) wants(e supervisor.Event) bool {
	t := q.target
	switch {
	case !q.sees(e.Pool):
		return false
	case q.all, t.Pool == "*":
		return true
	case e.Pool != t.Pool, t.Slot != 0 && e.Slot != t.Slot:
		return false
	}
	return t.Generation == 0 || e.Generation == t.Generation
}

// take is the events that are there, and what to ask with the next time. news is
// closed when there may be more; over: there never will be.
func (s *Server) take(q *eventQuery) (out api.Events, news <-chan struct{}, over bool) {
	select {
	case <-s.cfg.Supervisor.Done():
		over = true
	default:
	}
	if q.since > s.cfg.Supervisor.LastEvent() { // of a supervisor that was here before
		q.since = 0
	}
	events, news := s.cfg.Supervisor.Events(q.since)
	if len(events) > 0 && q.last < 0 {
		out.Missed = events[0].Seq - q.since - 1
	}
	out.Events = []api.Event{}
	for _, e := range events {
		if q.wants(e) {
			out.Events = append(out.Events, eventJSON(e))
		}
		q.since = e.Seq
	}
	if q.last >= 0 {
		out.Events = out.Events[max(0, len(out.Events)-q.last):]
		q.last = -1
	}
	out.Next = q.since
	return out, news, over
}

func eventJSON(e supervisor.Event) api.Event {
	return api.Event{
		Seq: e.Seq, At: stamp(e.At), Target: supervisor.Target{Pool: e.Pool, Slot: e.Slot}.String(),
		Generation: e.Generation, Kind: string(e.Kind), Text: e.Text,
	}
}

// doEvents is the events that are wanted; where there are none it waits for one,
// at most as long as wait says and ctx lasts.
func (s *Server) doEvents(ctx context.Context, c *caller, q eventQuery, wait time.Duration) (api.Events, error) {
	q, err := s.eventsFor(c, q)
	if err != nil {
		return api.Events{}, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if wait > 0 {
		var end func()
		ctx, end = s.following(ctx, c)
		defer end()
	}
	for {
		out, news, over := s.take(&q)
		if len(out.Events) > 0 || out.Missed > 0 || over || wait == 0 {
			return out, nil
		}
		select {
		case <-news:
		case <-timer.C:
			return out, nil
		case <-ctx.Done():
			if isEnded(ctx) {
				return out, nil
			}
			return out, ctx.Err()
		}
	}
}

// followEvents gives each event to emit until ctx ends, emit returns an error, a hold
// ends it, which is errHeld, or no event will come any more, which is nil. A missed of
// more than 0 comes before the events. Each keepAlive without one emit is called with
// nothing.
func (s *Server) followEvents(ctx context.Context, c *caller, q eventQuery, emit func(api.Events) error) error {
	q, err := s.eventsFor(c, q)
	if err != nil {
		return err
	}
	ctx, end := s.following(ctx, c)
	defer end()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	if err := emit(api.Events{Next: q.since}); err != nil {
		return err
	}
	for {
		out, news, over := s.take(&q)
		if len(out.Events) > 0 || out.Missed > 0 {
			if err := emit(out); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-news:
		case <-alive.C:
			if err := emit(api.Events{Next: q.since}); err != nil {
				return err
			}
		case <-ctx.Done():
			if isEnded(ctx) {
				return errHeld
			}
			return ctx.Err()
		}
	}
}

// keepAlive is how often a follower hears something, so that either end notices
// when the other has gone.
const keepAlive = 15 * time.Second

// logAsk is c's ask for the output of t; all: of whatever the caller may see.
func (s *Server) logAsk(c *caller, t supervisor.Target, all bool) (ask, supervisor.Target) {
	if all {
		return ask{verb: verbLogs, scope: scopeSeen}, supervisor.Target{Pool: "*", All: true}
	}
	t = s.meant(c, t)
	return ask{verb: verbLogs, scope: scopePool, target: t}, t
}

// doLogs is the last lines that the workers of t have printed.
func (s *Server) doLogs(c *caller, t supervisor.Target, all bool, lines int) (out []supervisor.LogLine, err error) {
	a, t := s.logAsk(c, t, all)
	err = s.do(c, a, func() error {
		out, err = s.cfg.Supervisor.Logs(t, lines)
		return err
	})
	return visible(out, s.sees(c, verbLogs)), err
}

// followLogs gives the last lines to emit and then each as it comes, until ctx
// ends, emit returns an error, a hold ends it, which is errHeld, or no line will come
// any more, which is nil. Each keepAlive without one emit is called with nothing.
func (s *Server) followLogs(ctx context.Context, c *caller, t supervisor.Target, all bool, lines int, emit func([]supervisor.LogLine) error) error {
	a, t := s.logAsk(c, t, all)
	var f *supervisor.LogFollower
	err := s.do(c, a, func() (err error) {
		f, err = s.cfg.Supervisor.FollowLogs(t, lines)
		return err
	})
	if err != nil {
		return err
	}
	sees := s.sees(c, verbLogs)
	ctx, end := s.following(ctx, c)
	defer end()
	if err := emit(nil); err != nil {
		return err
	}
	for {
		round, cancel := context.WithTimeout(ctx, keepAlive)
		out, err := f.Next(round)
		cancel()
		switch {
		case err == nil:
		case isEnded(ctx):
			return errHeld
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
		case errors.Is(err, io.EOF), errors.Is(err, supervisor.ErrNoTarget):
			return nil
		default:
			return err
		}
		if out = visible(out, sees); len(out) == 0 && err == nil {
			continue
		}
		if err := emit(out); err != nil {
			return err
		}
	}
}

func visible(lines []supervisor.LogLine, sees func(string) bool) []supervisor.LogLine {
	kept := lines[:0]
	for _, l := range lines {
		if sees(l.Pool) {
			kept = append(kept, l)
		}
	}
	return kept
}

func lineJSON(l supervisor.LogLine) api.LogLine {
	if l.Dropped > 0 {
		return api.LogLine{Target: l.Target().String(), Dropped: l.Dropped}
	}
	out := api.LogLine{At: stamp(l.At), Target: l.Target().String(), Generation: l.Generation, Stream: "stdout", Text: l.Text}
	if l.Stderr {
		out.Stream = "stderr"
	}
	return out
}
