package ipc

import (
	"context"
	"sync"
	"time"
)

// Handler answers the peer's calls. Each runs in its own goroutine, but for
// those of Config.Inline. ctx ends when the caller cancels, its time is up, the
// connection ends or the handler returns. An error that is, or wraps, a
// *[CallError] or a [Code] keeps its code, one that wraps ctx's own is sent as
// [ErrCanceled] or [ErrTimeout], any other as [ErrFailed].
//
// call.Payload is the handler's until it returns: what it keeps for longer it
// copies. It may return it, or a part of it, as the answer. The answer's
// payload belongs to the connection.
//
// The *Call of an inline handler is the connection's, which has the next call
// in it as soon as the handler returns: it must not be kept, nor be left with a
// goroutine that lives on.
type Handler func(ctx context.Context, call *Call) (Message, error)

// Call is a call from the peer.
type Call struct {
	Command string
	Message

	conn    *Conn
	serving *serving // nil once it is answered; guarded by Conn.mu
	inline  bool     // the reader is at it: it must not wait
	ctx     callContext
}

// callContext is a handler's context. It costs no more than it is used for: a
// channel when Done is asked for, and no timer of its own.
type callContext struct {
	parent   context.Context // the connection's, which says why
	deadline time.Time

	mu   sync.Mutex
	done chan struct{} // nil until somebody asks for it
	err  error
}

func (x *callContext) Deadline() (time.Time, bool) { return x.deadline, !x.deadline.IsZero() }

func (x *callContext) Value(key any) any { return x.parent.Value(key) }

func (x *callContext) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

func (x *callContext) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.err != nil {
			close(x.done)
		}
	}
	return x.done
}

// end ends it with err, unless it has ended before.
func (x *callContext) end(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return
	}
	x.err = err
	if x.done != nil {
		close(x.done)
	}
}

var _ context.Context = (*callContext)(nil)
