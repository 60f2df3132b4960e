//go:build unix

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"example.com/brood/ipc"
)

// Request is one command as it came. It, its payload too, is the handler's
// until that returns; Files are the handler's to close.
type Request struct {
	Command string
	ipc.Message

	ctx  context.Context // the handler's, kept for Write, which has no room for one
	call *ipc.Call
}

// Send sends a piece of the answer ahead of the rest, which is what the handler
// returns; v is sent by its type, as that is. At most 64 KiB go at once. It
// waits while the caller has enough, and fails when the handler's ctx ends.
// A caller that takes no stream gets the pieces put together.
func (r *Request) Send(v any) error {
	m, err := message(v)
	if err != nil {
		return err
	}
	return r.call.Send(r.ctx, ipc.Piece{Message: m})
}

// Progress tells the caller how far the command has come; total is 0 where that
// is not known. A caller that takes no stream is not told.
func (r *Request) Progress(done, total int64, text string) error {
	m, err := ipc.JSON(ipc.Progress{Done: done, Total: total, Text: text})
	if err != nil {
		return err
	}
	return r.call.Send(r.ctx, ipc.Piece{Name: "progress", Message: m})
}

// Write sends b as pieces of the answer, as bytes. Request is an io.Writer.
func (r *Request) Write(b []byte) (n int, err error) {
	for n < len(b) {
		part := b[n:min(n+ipc.DefaultChunk, len(b))]
		if err := r.call.Send(r.ctx, ipc.Piece{Message: ipc.Bytes(part)}); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

var _ io.Writer = (*Request)(nil)

// Args is the payload as a JSON list of strings, which is how brood send, the
// line protocol and the shorthand pass arguments. It is nil for any other
// payload.
func (r *Request) Args() []string {
	var args []string
	if r.Codec != ipc.CodecJSON || json.Unmarshal(r.Payload, &args) != nil {
		return nil
	}
	return args
}

// Text is the payload as a string.
func (r *Request) Text() string { return string(r.Plain()) }

// Decode reads a JSON payload into v.
func (r *Request) Decode(v any) error {
	if r.Codec != ipc.CodecJSON {
		return &Error{Code: "bad_payload", Message: fmt.Sprintf("%s takes JSON, got %v", r.Command, r.Codec)}
	}
	if err := json.Unmarshal(r.Payload, v); err != nil {
		return &Error{Code: "bad_payload", Message: fmt.Sprintf("%s: %v", r.Command, err)}
	}
	return nil
}

// Error is a handler's no, with a code that the caller can tell apart.
type Error struct {
	Code    string // printable ASCII without spaces
	Message string // for people
	Details any    // sent along as JSON, or nil
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }
