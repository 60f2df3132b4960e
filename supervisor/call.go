package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

// Reply is a worker's answer.
type Reply struct {
	From Target // with the generation that answered
	ipc.Message
}

// Call sends a command. To a worker it goes straight, up to what the worker
// accepts at once. Of a pool the least busy ready worker with room gets it; if
// none has, it waits in the pool's queue. ctx's deadline goes along. An error
// is one of this package's, or an *ipc.CallError that names the outcome.
func (s *Supervisor) Call(ctx context.Context, t Target, command string, m ipc.Message) (Reply, error) {
	return s.call(ctx, t, &order{command: command, m: m})
}

// CallStream is Call for an answer that may come in pieces. piece is called for
// each in order, on this goroutine, and holds the worker back meanwhile; its
// error cancels the command and is returned. A command of which a piece has
// been seen has started, and is not tried again.
func (s *Supervisor) CallStream(ctx context.Context, t Target, command string, m ipc.Message, piece func(from Target, p ipc.Piece) error) (Reply, error) {
	return s.call(ctx, t, &order{command: command, m: m, piece: piece})
}

// order is a command to be carried out.
type order struct {
	command string
	m       ipc.Message
	piece   func(from Target, p ipc.Piece) error // nil: no stream is wanted
	seen    bool                                 // a piece has come
	refused error                                // what piece has returned
}

func (s *Supervisor) call(ctx context.Context, t Target, o *order) (Reply, error) {
	if t.All || t.Pool == "*" {
		return Reply{}, fmt.Errorf("%w: %v names several; use CallAll", ErrNotOne, t)
	}
	if t.Slot != 0 {
		places, err := s.find(t)
		if err != nil {
			return Reply{}, err
		}
		return s.callPlace(ctx, places[0], t.Generation, o)
	}
	b, err := s.findPool(t)
	if err != nil {
		return Reply{}, err
	}
	begin := time.Now()
	r, err := s.callPool(ctx, b, o)
	b.stats.note(o.command, err, time.Since(begin))
	return r, err
}

// maxTries is how many workers a command to a pool is offered to.
const maxTries = 3

// callPool sends a command to a worker of the pool that has room. What
// certainly was not started is tried again on another; nothing else is.
func (s *Supervisor) callPool(ctx context.Context, b *board, o *order) (Reply, error) {
	if limit := b.config.Load().Dispatch.Timeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	var tried []*live
	var last Reply
	var lastErr error
	for {
		l, err := b.gate.enter(ctx, o.command, tried)
		if errors.Is(err, ipc.ErrUnavailable) && len(tried) > 0 { // there is no other: what this one said is why
			return last, lastErr
		}
		if err != nil {
			return Reply{}, err
		}
		last, lastErr = s.send(ctx, l, o)
		b.gate.leave(l)
		if tried = append(tried, l); len(tried) == maxTries || o.seen || !retriable(lastErr) {
			return last, lastErr
		}
	}
}

// retriable: the command certainly was not started, and another worker may do
// better.
func retriable(err error) bool {
	var ce *ipc.CallError
	if !errors.As(err, &ce) || ce.Started != ipc.StartedNo {
		return false
	}
	return ce.Code == ipc.ErrLost || ce.Code == ipc.ErrUnavailable || ce.Code == ipc.ErrOverloaded
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
			r.Reply, r.Err = s.callPlace(ctx, pl, t.Generation, &order{command: command, m: m})
			r.From = Target{Pool: pl.id.Pool, Slot: pl.id.N, Generation: r.From.Generation}
			done <- i
		}()
	}
	for range places {
		<-done
	}
	return replies, nil
}

func (s *Supervisor) callPlace(ctx context.Context, pl *place, generation uint64, o *order) (Reply, error) {
	begin := time.Now()
	l, err := s.serving(pl, generation, o.command)
	var r Reply
	if err == nil {
		r, err = s.send(ctx, l, o)
	}
	pl.board.stats.note(o.command, err, time.Since(begin))
	return r, err
}

// send has a ready worker, or what the configuration maps the command to, carry
// it out.
func (s *Supervisor) send(ctx context.Context, l *live, o *order) (Reply, error) {
	from := Target{Pool: l.id.Pool, Slot: l.id.N, Generation: l.id.Generation}
	var answer ipc.Message
	var err error
	if c, ok := l.board.config.Load().Commands[o.command]; ok {
		answer, err = s.mapped(ctx, l, o.command, c, o.m)
	} else if _, greeted := l.conn.Peer(); !greeted {
		err = &ipc.CallError{Code: ipc.ErrUnknownCommand, Started: ipc.StartedNo, Command: o.command,
			Message: "it is a plain worker, whose program does not speak brood's protocol; the configuration may map commands for it"}
	} else if o.piece == nil {
		answer, err = l.conn.Call(ctx, o.command, o.m)
	} else {
		answer, err = l.conn.CallStream(ctx, o.command, o.m, func(p ipc.Piece) error {
			o.seen = true
			o.refused = o.piece(from, p)
			return o.refused
		})
	}
	if o.refused != nil {
		l.answered(s)
		return Reply{From: from}, o.refused
	}
	var ce *ipc.CallError
	if !errors.As(err, &ce) || ce.Started != ipc.StartedNo {
		l.answered(s)
	}
	if ce != nil {
		named := *ce
		named.Target = from.String()
		return Reply{From: from}, &named
	}
	return Reply{From: from, Message: answer}, err
}

// serving is the process that may be sent a command, or why there is none.
func (s *Supervisor) serving(pl *place, generation uint64, command string) (*live, error) {
	v, l := pl.current()
	switch {
	case generation != 0 && generation != v.Generation:
		return nil, fmt.Errorf("%w: %s; name %v to reach whichever is", ErrStale, lifecycle.ID{Slot: v.Slot, Generation: generation}.Missed(v.Generation), v.Slot)
	case v.State != lifecycle.Ready || l == nil:
		return nil, &ipc.CallError{
			Target: v.Slot.String(), Command: command, Code: ipc.ErrUnavailable, Started: ipc.StartedNo, Message: notUp(v.State, v.Reason, v.RetryAt),
		}
	}
	return l, nil
}

// notUp says in words why a slot takes no commands.
func notUp(state State, reason string, retryAt time.Time) string {
	text := "it is " + string(state)
	if reason != "" {
		text += ": " + reason
	}
	if !retryAt.IsZero() {
		text += fmt.Sprintf("; the next try is in %v", time.Until(retryAt).Round(time.Millisecond))
	}
	return text
}

// Pong is what a worker answered to a ping.
type Pong struct {
	From Target
	RTT  time.Duration
	ipc.Pong
}

// Ping measures the round trip to one worker, or to the first ready one of a
// pool.
func (s *Supervisor) Ping(ctx context.Context, t Target) (Pong, error) {
	l, err := s.pingable(t)
	if err != nil {
		return Pong{}, err
	}
	from := Target{Pool: l.id.Pool, Slot: l.id.N, Generation: l.id.Generation}
	var ce *ipc.CallError
	if _, greeted := l.conn.Peer(); !greeted {
		ce = &ipc.CallError{Code: ipc.ErrUnknownCommand, Started: ipc.StartedNo, Message: "it is a plain worker, which answers no pings"}
	} else if rtt, p, err := l.conn.Ping(ctx); err == nil {
		return Pong{from, rtt, p}, nil
	} else if !errors.As(err, &ce) { // the connection had ended before
		ce = &ipc.CallError{Code: ipc.ErrLost, Message: err.Error(), Started: ipc.StartedNo}
	}
	ce.Target, ce.Command = from.String(), "ping"
	return Pong{From: from}, ce
}

func (s *Supervisor) pingable(t Target) (*live, error) {
	places, err := s.find(t)
	if err != nil {
		return nil, err
	}
	if t.Pool == "*" {
		return nil, fmt.Errorf("%w: * names all; name a pool or a worker", ErrNotOne)
	}
	for _, pl := range places {
		if l, err := s.serving(pl, t.Generation, "ping"); err == nil || t.Slot != 0 {
			return l, err
		}
	}
	return nil, &ipc.CallError{Target: t.String(), Command: "ping", Code: ipc.ErrUnavailable, Started: ipc.StartedNo, Message: "none of its workers is ready"}
}

// find is every slot that t names.
func (s *Supervisor) find(t Target) ([]*place, error) {
	if t.Pool == "*" {
		var all []*place
		for _, b := range s.boards() {
			all = append(all, *b.places.Load()...)
		}
		return all, nil
	}
	b, err := s.findPool(t)
	if err != nil {
		return nil, err
	}
	places := *b.places.Load()
	if t.Slot == 0 {
		return places, nil
	}
	if t.Slot > len(places) {
		return nil, fmt.Errorf("%w: pool %s has slots 1 to %d, there is no %s/%d", ErrNoTarget, b.name, len(places), b.name, t.Slot)
	}
	return places[t.Slot-1 : t.Slot], nil
}

func (s *Supervisor) findPool(t Target) (*board, error) {
	boards := s.boards()
	if t.Pool == "" && len(boards) == 1 {
		return boards[0], nil
	}
	names := make([]string, len(boards))
	for i, b := range boards {
		if b.name == t.Pool {
			return b, nil
		}
		names[i] = b.name
	}
	return nil, &NoPoolError{t.Pool, names}
}
