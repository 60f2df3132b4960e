package ipc

import "context"

// Call is a call from the peer.
type Call struct {
	Command string
	Message
	conn    *Conn
	serving *serving
}

// Handler answers the peer's calls. Each runs in its own goroutine. ctx ends
// when the caller cancels, its time is up, or the connection ends. An error
// that is, or wraps, a *[CallError] or a [Code] keeps its code, one that wraps
// ctx's own is sent as [ErrCanceled] or [ErrTimeout], any other as [ErrFailed].
// Call.Payload belongs to the handler, the answer's to the connection.
type Handler func(ctx context.Context, call *Call) (Message, error)
