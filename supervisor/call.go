package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

// Reply is a worker's answer.
type Reply struct {
	From Target // with the generation that answered
	ipc.Message
}

// Call sends a command to one worker: the one that t names, or the least busy
// ready one of the pool that t names. ctx's deadline goes along. An error is
// one of this package's, or an *ipc.CallError that names the outcome.
func (s *Supervisor) Call(ctx context.Context, t Target, command string, m ipc.Message) (Reply, error) {
	if t.All {
		return Reply{}, fmt.Errorf("%w: %v names several; use CallAll", ErrNotOne, t)
	}
	pl, err := s.pick(t)
	if err != nil {
		return Reply{}, err
	}
	return s.call(ctx, pl, t.Generation, command, m)
}

// AllReply is one worker's part of CallAll.
type AllReply struct {
	Reply // From is set in any case
	Err   error
}

// CallAll sends a command to every slot that t names, at once, and gathers an
// answer or an error from each, in the order of the slots.
func (s *Supervisor) CallAll(ctx context.Context, t Target, command string, m ipc.Message) ([]AllReply, error) {
	t.All = t.All || t.Slot == 0
	places, err := s.find(t)
	if err != nil {
		return nil, err
	}
	replies := make([]AllReply, len(places))
	done := make(chan int, len(places))
	for i, pl := range places {
		go func() {
			r := &replies[i]
			r.Reply, r.Err = s.call(ctx, pl, t.Generation, command, m)
			r.From = Target{Pool: pl.pool.config.Name, Slot: pl.slot, Generation: r.From.Generation}
			done <- i
		}()
	}
	for range places {
		<-done
	}
	return replies, nil
}

func (s *Supervisor) call(ctx context.Context, pl *place, generation uint64, command string, m ipc.Message) (Reply, error) {
	l, err := s.serving(pl, generation, command)
	if err != nil {
		return Reply{}, err
	}
	from := Target{Pool: l.id.Pool, Slot: l.id.N, Generation: l.id.Generation}
	answer, err := l.conn.Call(ctx, command, m)
	var ce *ipc.CallError
	if errors.As(err, &ce) {
		named := *ce
		named.Target = from.String()
		return Reply{From: from}, &named
	}
	return Reply{From: from, Message: answer}, err
}

// serving is the process that may be sent a command, or why there is none.
func (s *Supervisor) serving(pl *place, generation uint64, command string) (*live, error) {
	v, l := pl.view.Load(), pl.live.Load()
	refuse := func(code ipc.Code, format string, args ...any) (*live, error) {
		return nil, &ipc.CallError{
			Target: v.Slot.String(), Command: command, Code: code, Started: ipc.StartedNo, Message: fmt.Sprintf(format, args...),
		}
	}
	switch {
	case generation != 0 && generation != v.Generation:
		return nil, fmt.Errorf("%w: %v#%d is gone, %v#%d is there; name %v to reach whichever is", ErrStale, v.Slot, generation, v.Slot, v.Generation, v.Slot)
	case v.State != lifecycle.Ready || l == nil || l.id.Generation != v.Generation:
		return refuse(ipc.ErrUnavailable, "%s", notUp(v))
	case !v.Greeted:
		return refuse(ipc.ErrUnknownCommand, "it is a plain worker, which takes no commands: its program does not speak brood's protocol")
	}
	return l, nil
}

// notUp says in words why a slot takes no commands.
func notUp(v *lifecycle.View) string {
	text := "it is " + string(v.State)
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	if !v.RetryAt.IsZero() {
		text += fmt.Sprintf("; the next try is in %v", time.Until(v.RetryAt).Round(time.Millisecond))
	}
	return text
}

// Pong is what a worker answered to a ping.
type Pong struct {
	From Target
	RTT  time.Duration
	ipc.Pong
}

// Ping measures the round trip to one worker.
func (s *Supervisor) Ping(ctx context.Context, t Target) (Pong, error) {
	pl, err := s.pick(t)
	if err != nil {
		return Pong{}, err
	}
	l, err := s.serving(pl, t.Generation, "ping")
	if err != nil {
		return Pong{}, err
	}
	from := Target{Pool: l.id.Pool, Slot: l.id.N, Generation: l.id.Generation}
	rtt, p, err := l.conn.Ping(ctx)
	var ce *ipc.CallError
	if errors.As(err, &ce) {
		ce.Target, ce.Command = from.String(), "ping"
	}
	return Pong{from, rtt, p}, err
}

// find is every slot that t names.
func (s *Supervisor) find(t Target) ([]*place, error) {
	if t.Pool == "*" {
		var all []*place
		for _, b := range s.pools {
			all = append(all, b.places...)
		}
		return all, nil
	}
	b, err := s.findPool(t)
	if err != nil {
		return nil, err
	}
	if t.Slot == 0 {
		return b.places, nil
	}
	if t.Slot > len(b.places) {
		return nil, fmt.Errorf("%w: pool %s has slots 1 to %d, there is no %s/%d", ErrNoTarget, b.config.Name, len(b.places), b.config.Name, t.Slot)
	}
	return b.places[t.Slot-1 : t.Slot], nil
}

func (s *Supervisor) findPool(t Target) (*poolBoard, error) {
	if t.Pool == "" && len(s.pools) == 1 {
		return s.pools[0], nil
	}
	names := make([]string, len(s.pools))
	for i, b := range s.pools {
		if b.config.Name == t.Pool {
			return b, nil
		}
		names[i] = b.config.Name
	}
	if t.Pool == "" {
		return nil, fmt.Errorf("%w: there are several pools: say which of %s", ErrNotOne, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("%w: there is no pool %q; the pools are %s", ErrNoTarget, t.Pool, strings.Join(names, ", "))
}

// pick is the one slot for a command to t: of a pool, the least busy that is
// ready.
func (s *Supervisor) pick(t Target) (*place, error) {
	places, err := s.find(t)
	if err != nil {
		return nil, err
	}
	if t.Slot != 0 {
		return places[0], nil
	}
	if t.Pool == "*" {
		return nil, fmt.Errorf("%w: * names all; name a pool or a worker", ErrNotOne)
	}
	var best *place
	least := 0
	for _, pl := range places {
		v, l := pl.view.Load(), pl.live.Load()
		if v.State != lifecycle.Ready || l == nil || l.id.Generation != v.Generation {
			continue
		}
		busy := 0
		if v.Greeted {
			busy = l.conn.Open()
		}
		if best == nil || busy < least {
			best, least = pl, busy
		}
	}
	if best == nil {
		return nil, &ipc.CallError{
			Target: t.String(), Code: ipc.ErrUnavailable, Started: ipc.StartedNo,
			Message: fmt.Sprintf("none of its %d workers is ready; see `brood status`", len(places)),
		}
	}
	return best, nil
}
