package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

// program answers a command of `brood worker`.
type program struct {
	name, line string
	stream     bool
}

const (
	programGrace = time.Second      // from SIGTERM to SIGKILL when a command is canceled
	programEnd   = 3 * programGrace // for all of them to be gone, when the worker ends
	keptErrors   = 4 << 10          // bytes of standard error that an ERROR tells
)

// calls are the commands at work. They end before the worker does, or what their
// programs have started would go on.
type calls struct {
	worker context.Context // ends with the worker
	over   context.CancelFunc

	mu sync.Mutex // held while worker is ended, so that none comes after
	wg sync.WaitGroup
}

func (c *calls) begin() { c.worker, c.over = context.WithCancel(context.Background()) }

// handler serves p until the worker ends. A program takes no descriptors.
func (c *calls) handler(p program) worker.Handler {
	return func(ctx context.Context, r *worker.Request) (any, error) {
		defer r.CloseFiles()
		if !c.enter() {
			return nil, context.Canceled
		}
		defer c.wg.Done()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(c.worker, cancel)()
		return p.serve(ctx, r)
	}
}

func (c *calls) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.worker.Err() != nil {
		return false
	}
	c.wg.Add(1)
	return true
}

// end cancels those that are left and waits for them.
func (c *calls) end() {
	c.mu.Lock()
	c.over()
	c.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		c.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(programEnd): // one can't be killed
	}
}

// serve runs the program for one call. It has a process group of its own, which on
// Linux ends with it.
func (p program) serve(ctx context.Context, r *worker.Request) (any, error) {
	words := r.Args()
	cmd := exec.Command("/bin/sh", append([]string{"-c", p.line + ` "$@"`, p.name}, words...)...)
	cmd.Env = append(os.Environ(), "BROOD_COMMAND="+p.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = programGrace
	if words == nil {
		cmd.Stdin = bytes.NewReader(r.Payload)
	}
	said := &lastBytes{}
	cmd.Stderr = io.MultiWriter(os.Stderr, said)
	out := &bounded{}
	lines := &lineSender{send: r.Send}
	cmd.Stdout = out
	if p.stream {
		cmd.Stdout = lines
	}
	err := runGroup(ctx, cmd)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out.over:
		return nil, &worker.Error{Code: string(ipc.ErrTooLarge), Message: fmt.Sprintf("%s printed more than %d bytes", p.name, ipc.DefaultMaxMessage)}
	case err != nil:
		return nil, p.failure(err, said.String())
	case p.stream:
		return nil, lines.flush()
	}
	return answerOf(out.buf.Bytes(), r, words != nil), nil
}

// runGroup runs cmd and ends its group with ctx: by SIGTERM, then SIGKILL.
func runGroup(ctx context.Context, cmd *exec.Cmd) error {
	wait, err := startBound(cmd)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	reaped := false // then the group's number may be another's
	signal := func(s syscall.Signal) {
		mu.Lock()
		defer mu.Unlock()
		if !reaped {
			syscall.Kill(-cmd.Process.Pid, s)
		}
	}
	var kill *time.Timer
	stop := context.AfterFunc(ctx, func() {
		signal(syscall.SIGTERM)
		mu.Lock()
		defer mu.Unlock()
		kill = time.AfterFunc(programGrace, func() { signal(syscall.SIGKILL) })
	})
	err = wait()
	mu.Lock()
	reaped = true
	if kill != nil {
		kill.Stop()
	}
	mu.Unlock()
	stop()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it has left something behind that holds its output
	}
	return err
}

func (p program) failure(err error, said string) error {
	text := strings.TrimSpace(said)
	if text == "" {
		text = fmt.Sprintf("%s: %v", p.line, err)
	}
	e := &worker.Error{Code: string(ipc.ErrFailed), Message: text}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		e.Details = map[string]int{"exit": shellStatus(exit.ProcessState)}
	}
	return e
}

// answerOf is what a program has printed: text without its last newline if it was
// asked in words, else in the codec of what it was given, if it is that.
func answerOf(out []byte, r *worker.Request, words bool) ipc.Message {
	codec := r.Codec
	if words || len(r.Payload) == 0 {
		codec = ipc.CodecText
		out = bytes.TrimSuffix(out, []byte("\n"))
	}
	if codec == ipc.CodecJSON && !json.Valid(out) {
		codec = ipc.CodecText
	}
	if codec == ipc.CodecText && !utf8.Valid(out) {
		codec = ipc.CodecBytes
	}
	return ipc.Message{Codec: codec, Payload: out}
}

// bounded keeps as much as a message may have.
type bounded struct {
	buf  bytes.Buffer // not embedded: its ReadFrom knows no bound
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > ipc.DefaultMaxMessage {
		b.over = true
		return 0, errors.New("too much output")
	}
	return b.buf.Write(p)
}

// lineSender sends each line as soon as it is whole; one that is too long for a
// piece goes in several. Sending waits for the caller, and so the program for us.
type lineSender struct {
	send func(any) error
	held []byte
}

func (l *lineSender) Write(p []byte) (int, error) {
	for _, part := range bytes.SplitAfter(p, []byte("\n")) {
		l.held = append(l.held, part...)
		for len(l.held) > ipc.DefaultChunk {
			if err := l.piece(l.held[:ipc.DefaultChunk]); err != nil {
				return 0, err
			}
			l.held = l.held[ipc.DefaultChunk:]
		}
		if bytes.HasSuffix(part, []byte("\n")) {
			if err := l.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (l *lineSender) piece(b []byte) error {
	if utf8.Valid(b) {
		return l.send(string(b))
	}
	return l.send(bytes.Clone(b))
}

func (l *lineSender) flush() error {
	if len(l.held) == 0 {
		return nil
	}
	b := l.held
	l.held = nil
	return l.piece(b)
}

// lastBytes keeps the end of what is written.
type lastBytes struct {
	mu sync.Mutex
	b  []byte
}

func (l *lastBytes) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if over := len(l.b) - keptErrors; over > 0 {
		l.b = append(l.b[:0], l.b[over:]...)
	}
	return len(p), nil
}

func (l *lastBytes) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(string(l.b), "?")
}
