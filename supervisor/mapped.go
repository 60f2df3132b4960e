package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

const (
	// maxMappedOutput bounds what is kept of a mapped program's output, in bytes.
	maxMappedOutput = 1 << 20
	// mappedLinger is how long a grandchild may hold a mapped program's output.
	mappedLinger = time.Second
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
	if m.Codec == ipc.CodecJSON && json.Unmarshal(m.Payload, &args) != nil {
		args = nil
	}
	return s.runMapped(ctx, l, command, append(slices.Clone(c.Exec), args...), m)
}

// runMapped runs a program beside the worker. Its words are the arguments; a
// payload that is no list of words is its standard input.
func (s *Supervisor) runMapped(ctx context.Context, l *live, command string, words []string, m ipc.Message) (ipc.Message, error) {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	pool := l.pool
	cmd.Dir = pool.Dir
	cmd.Env = append(pool.Environment(),
		"BROOD_WORKER="+l.id.Slot.String(), "BROOD_POOL="+l.id.Pool, fmt.Sprintf("BROOD_SLOT=%d", l.id.N),
		fmt.Sprintf("BROOD_GENERATION=%d", l.id.Generation), "BROOD_PID="+strconv.Itoa(l.proc.PID), "BROOD_SOCKET="+s.cfg.Socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = mappedLinger
	out, errs := &bounded{limit: maxMappedOutput}, &bounded{limit: maxStatus * 16}
	cmd.Stdout, cmd.Stderr = out, errs
	if m.Codec != ipc.CodecJSON {
		cmd.Stdin = bytes.NewReader(m.Payload)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return ipc.Text(string(bytes.TrimSuffix(out.buf, []byte{'\n'}))), nil
	case ctx.Err() != nil:
		code := ipc.ErrCanceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			code = ipc.ErrTimeout
		}
		return ipc.Message{}, &ipc.CallError{Command: command, Code: code, Message: "its program was killed", Started: ipc.StartedYes}
	case errors.As(err, &exit):
		text := string(bytes.TrimSpace(errs.buf))
		if text == "" {
			text = err.Error()
		}
		return ipc.Message{}, &ipc.CallError{Command: command, Code: ipc.ErrFailed, Message: text, Started: ipc.StartedYes}
	}
	return ipc.Message{}, &ipc.CallError{Command: command, Code: ipc.ErrFailed, Message: err.Error(), Started: ipc.StartedNo}
}

// bounded keeps the first limit bytes of what is written.
type bounded struct {
	buf   []byte
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.buf = append(b.buf, p[:min(len(p), b.limit-len(b.buf))]...)
	return len(p), nil
}
