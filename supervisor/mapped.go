package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

// mapped carries out a command that the configuration maps to a signal or a
// program, for workers that know nothing of brood.
func (s *Supervisor) mapped(ctx context.Context, l *live, command string, c Command, m ipc.Message) (ipc.Message, error) {
	if c.Signal != 0 {
		if err := l.signal(c.Signal, true); err != nil {
			return ipc.Message{}, &ipc.CallError{Command: command, Code: ipc.ErrLost, Message: err.Error(), Started: ipc.StartedNo}
		}
		return ipc.Text(lifecycle.SignalName(c.Signal) + " sent"), nil
	}
	var args []string
	stdin := m.Payload
	if m.Codec == ipc.CodecJSON && json.Unmarshal(m.Payload, &args) == nil {
		stdin = nil
	}
	return s.runMapped(ctx, l, command, append(slices.Clone(c.Exec), args...), stdin)
}

// runMapped runs a program beside the worker. Its words are the arguments; a
// payload that is no list of words is its standard input.
func (s *Supervisor) runMapped(ctx context.Context, l *live, command string, words []string, stdin []byte) (ipc.Message, error) {
	refuse := func(code ipc.Code, started ipc.Started, err error) (ipc.Message, error) {
		return ipc.Message{}, &ipc.CallError{Command: command, Code: code, Message: err.Error(), Started: started}
	}
	a, err := s.runAside(ctx, l, words, stdin)
	switch {
	case errors.Is(err, errAsideKilled) && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return refuse(ipc.ErrTimeout, ipc.StartedYes, err)
	case errors.Is(err, errAsideKilled):
		return refuse(ipc.ErrCanceled, ipc.StartedYes, err)
	case err != nil:
		return refuse(ipc.ErrFailed, ipc.StartedNo, err)
	}
	if err := a.failure(); err != nil {
		return refuse(ipc.ErrFailed, ipc.StartedYes, err)
	}
	return ipc.Text(string(bytes.TrimSuffix(a.stdout, []byte{'\n'}))), nil
}
