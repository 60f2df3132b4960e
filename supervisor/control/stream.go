package control

import (
	"context"
	"errors"
	"slices"
	"sync"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// doStream sends a command and gives emit each piece of the answer as it comes,
// and at last one line for each worker that says how it ended. emit holds the
// worker back as long as it takes; its error cancels the command. With all it is
// every worker of t, whose pieces come mixed.
//
// An error is of a command that nobody was asked to carry out, or emit's.
func (s *Server) doStream(ctx context.Context, c *caller, t supervisor.Target, name string, m ipc.Message, all bool, emit func(api.Piece) error) error {
	if t = s.meant(c, t); all {
		t = everyone(t)
	}
	return s.do(c, ask{verbCommand, scopePool, t, name}, func() error {
		if all {
			return s.streamAll(ctx, t, name, m, emit)
		}
		return s.streamOne(ctx, t, name, m, emit)
	})
}

// streamOne: what the worker answered, if only that it can't, is told in the last
// line, and then returned for the audit.
func (s *Server) streamOne(ctx context.Context, t supervisor.Target, name string, m ipc.Message, emit func(api.Piece) error) error {
	reply, err := s.cfg.Supervisor.CallStream(ctx, t, name, m, func(from supervisor.Target, p ipc.Piece) error {
		return emit(pieceJSON(from, p))
	})
	if err != nil && reply.From.Slot == 0 {
		return err
	}
	if told := emit(lastJSON(reply, err)); told != nil {
		return told
	}
	return asTold(err)
}

// toldError is one that the answer has said, so that only the audit and the metrics
// are still to be told.
type toldError struct{ err error }

func asTold(err error) error {
	if err == nil {
		return nil
	}
	return &toldError{err}
}

// badness is the outcomes of commands, from bad to worst, as the exit code of brood
// send has them. One that is not in here comes before all.
var badness = []string{
	api.CodeError, api.CodeUnavailable, api.CodeStale, api.CodeNotFound, api.CodeTimeout, api.CodeLost, api.CodeOverloaded,
}

// worseOf is the worse of two outcomes, the first of equals; nil is none.
func worseOf(a, b error) error {
	if b == nil || a != nil && slices.Index(badness, outcomeOf(a)) >= slices.Index(badness, outcomeOf(b)) {
		return a
	}
	return b
}

func (e *toldError) Error() string { return e.err.Error() }
func (e *toldError) Unwrap() error { return e.err }

// streamAll ends when all have; the first error of emit ends all. The worst of what
// the last lines have told is returned for the audit.
func (s *Server) streamAll(ctx context.Context, t supervisor.Target, name string, m ipc.Message, emit func(api.Piece) error) error {
	st, err := s.cfg.Supervisor.Select(t)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var worst error // of the workers, behind mu
	one := func(p api.Piece, outcome error) error {
		mu.Lock()
		defer mu.Unlock()
		worst = worseOf(worst, outcome)
		if err := context.Cause(ctx); err != nil && errors.Is(err, errGone) {
			return err
		}
		if err := emit(p); err != nil {
			cancel(errGone)
			return err
		}
		return nil
	}
	var wg sync.WaitGroup
	var failed error
	var once sync.Once
	for _, p := range st.Pools {
		for _, w := range p.Slots {
			wg.Go(func() {
				to := w.Target()
				to.Generation = t.Generation
				reply, err := s.cfg.Supervisor.CallStream(ctx, to, name, m, func(from supervisor.Target, p ipc.Piece) error {
					return one(pieceJSON(from, p), nil)
				})
				if reply.From.Slot == 0 {
					reply.From = to
				}
				if told := one(lastJSON(reply, err), err); told != nil {
					once.Do(func() { failed = told })
				}
			})
		}
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	return asTold(worst)
}

// errGone: who wanted the pieces does not take them any more.
var errGone = errors.New("the client has gone")

func pieceJSON(from supervisor.Target, p ipc.Piece) api.Piece {
	out := api.Piece{Worker: from.String(), Name: p.Name}
	out.Codec, out.Data = value(p.Message)
	return out
}

// lastJSON is the last line of a worker.
func lastJSON(reply supervisor.Reply, err error) api.Piece {
	out := api.Piece{Worker: reply.From.String(), Outcome: "ok"}
	if err == nil {
		if len(reply.Payload) > 0 {
			out.Codec, out.Result = value(reply.Message)
		}
		return out
	}
	p := problemOf(err)
	out.Outcome, out.Problem = p.Code, &p
	var ce *ipc.CallError
	if errors.As(err, &ce) {
		out.Outcome = string(ce.Outcome())
	}
	return out
}
