package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
)

// Errors of every method, beside those of the API, which are *[Error].
var (
	// ErrNoSupervisor: nobody serves the socket.
	ErrNoSupervisor = errors.New("no supervisor")
	// ErrDenied: the file mode, or the supervisor, does not let this user in.
	ErrDenied = errors.New("permission denied")
	// ErrNotFound: no such pool, worker, command or page.
	ErrNotFound = errors.New("not found")
	// ErrBrokeOff: the connection ended in the middle of an answer, as it does
	// when the supervisor goes.
	ErrBrokeOff = errors.New("the answer broke off")
)

// Error is a problem that the supervisor answered with. With errors.Is it is
//
//   - the [ipc.Code] of its outcome, such as ipc.ErrLost or ipc.ErrTimeout;
//     for ipc.ErrFailed also the worker's own code, as ipc.Code("no_paper");
//   - ErrDenied or ErrNotFound;
//   - the error of package supervisor that the other end had: ErrStale,
//     ErrNoTarget, ErrNotOne and so on. Two of these that share a code of the API
//     can't be told apart here.
type Error struct{ api.Problem }

func (e *Error) Error() string { return e.Detail }

// Is compares codes.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrDenied:
		return e.Code == api.CodeDenied
	case ErrNotFound:
		return e.Code == api.CodeNotFound
	}
	switch t := target.(type) {
	case ipc.Code:
		return string(t) == e.Code || e.Code == api.CodeError && string(t) == e.Problem.Error
	case interface{ ControlCode() string }: // an error of package supervisor
		return t.ControlCode() == e.Code
	}
	return false
}

// connectError says which of the usual cases it is and what to do about it.
func (c *Client) connectError(ctx context.Context, err error) error {
	var tunnel *tunnelError
	switch {
	case errors.As(err, &tunnel):
		return tunnel
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%w: %w", ipc.ErrCanceled, context.Canceled)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: no answer from %s in time", ipc.ErrTimeout, c.path)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w: this user may not connect to %s; ask for the file's group, or use the user that runs brood", ErrDenied, c.path)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: there is no socket %s; start one with `brood run`, or name another with --socket", ErrNoSupervisor, c.path)
	case errors.Is(err, syscall.EINVAL) && len(c.path) >= len(syscall.RawSockaddrUnix{}.Path):
		return fmt.Errorf("%w: the path %s has %d bytes, and a socket's is shorter; name another with --socket", ErrNoSupervisor, c.path, len(c.path))
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK), errors.Is(err, syscall.EPROTOTYPE):
		if otherFile(c.path) {
			return fmt.Errorf("%w: %s is no socket; name one with --socket", ErrNoSupervisor, c.path)
		}
		return fmt.Errorf("%w: nobody listens on %s any more; start one with `brood run`", ErrNoSupervisor, c.path)
	case brokeOff(err):
		return c.brokeOff(ctx, err)
	}
	return fmt.Errorf("speaking to %s: %w", c.path, err)
}

// otherFile: something is at path, and it is no socket. Connecting to it is
// refused in the same way as where nobody listens.
func otherFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeSocket == 0
}

// brokeOff says that the other end went in the middle of an answer.
func (c *Client) brokeOff(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%w: %w", ipc.ErrCanceled, context.Canceled)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: the answer from %s was not complete in time", ipc.ErrTimeout, c.path)
	}
	return fmt.Errorf("%w: %s hung up: %w", ErrBrokeOff, c.path, err)
}

func brokeOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
