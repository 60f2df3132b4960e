package vectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"syscall"
	"time"

	"example.com/brood/ipc"
)

// Reader reads frames from a worker's connection.
type Reader struct {
	F       *os.File
	Timeout time.Duration
	in      []byte
}

// Frame is the next frame; io.EOF is the end of the connection.
func (r *Reader) Frame() (ipc.Frame, error) {
	r.F.SetReadDeadline(time.Now().Add(r.Timeout))
	for {
		f, n, err := ipc.ParseFrame(r.in, ipc.DefaultChunk)
		if err != nil {
			return f, err
		}
		if n > 0 {
			f.Name, f.Payload = bytes.Clone(f.Name), bytes.Clone(f.Payload)
			r.in = r.in[n:]
			return f, nil
		}
		b := make([]byte, 1<<16)
		got, err := r.F.Read(b)
		r.in = append(r.in, b[:got]...)
		switch {
		case err == nil || got > 0:
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
			if len(r.in) > 0 {
				return f, io.ErrUnexpectedEOF
			}
			return f, io.EOF
		case errors.Is(err, os.ErrDeadlineExceeded):
			return f, fmt.Errorf("nothing came within %v", r.Timeout)
		default:
			return f, err
		}
	}
}

// Play plays a session's supervisor on f, its end of the socketpair. hello, if it
// is not nil, is given the worker's HELLO, and may end the play. The error says
// which step went wrong, and how.
func Play(f *os.File, s Session, timeout time.Duration, hello func(ipc.Frame) error) error {
	r := &Reader{F: f, Timeout: timeout}
	first, err := r.Frame()
	if err != nil {
		return fmt.Errorf("the worker's HELLO: %w", err)
	}
	if first.Type != ipc.TypeHello {
		return fmt.Errorf("the worker's first frame is %v, not HELLO", first.Type)
	}
	if hello != nil {
		if err := hello(first); err != nil {
			return err
		}
	}
	for i, step := range s.Steps {
		if err := r.step(step); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *Reader) step(s Step) error {
	switch {
	case s.Expect != nil:
		f, err := r.said()
		if err != nil {
			return fmt.Errorf("waiting for %v %d: %w", ipc.Type(s.Expect.Type), s.Expect.ID, err)
		}
		return s.Expect.check(f)
	case s.Ends != nil:
		return r.ends(*s.Ends)
	case s.Close:
		return r.F.Close()
	}
	return r.send(s)
}

// said is the worker's next frame that is not of its own accord.
func (r *Reader) said() (ipc.Frame, error) {
	for {
		f, err := r.Frame()
		if err != nil || f.Type != ipc.TypeReady && f.Type != ipc.TypeEvent {
			return f, err
		}
	}
}

func (r *Reader) ends(e Ends) error {
	because := "it is drained"
	if e.Rule != "" {
		because = fmt.Sprintf("rule %s is broken at byte %d", e.Rule, e.At)
	}
	f, err := r.said()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("the connection has not ended, though %s: %w", because, err)
	}
	return fmt.Errorf("%v %d came instead of the end of the connection, though %s", f.Type, f.ID, because)
}

// send writes. A worker that has ended the connection meanwhile is found out by
// the next step.
func (r *Reader) send(s Step) error {
	r.F.SetWriteDeadline(time.Now().Add(r.Timeout))
	pieces := [][]byte{s.Send}
	if s.Bytewise {
		pieces = bytes.SplitAfter(s.Send, nil)
	}
	for range max(s.Times, 1) {
		for _, b := range pieces {
			if _, err := r.F.Write(b); err != nil {
				if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
					return nil
				}
				return err
			}
		}
	}
	return nil
}

func (e *Expect) check(f ipc.Frame) error {
	got := fmt.Sprintf("%v %d %s %.200q", f.Type, f.ID, f.Name, f.Payload)
	bad := func(what string, want any) error { return fmt.Errorf("got %s; its %s is to be %v", got, what, want) }
	switch {
	case uint8(f.Type) != e.Type:
		return bad("type", ipc.Type(e.Type))
	case f.ID != e.ID:
		return bad("id", e.ID)
	case e.Name != "" && string(f.Name) != e.Name:
		return bad("name", e.Name)
	case e.Arg != nil && f.Arg != *e.Arg:
		return bad("arg", *e.Arg)
	case e.Flags != nil && uint8(f.Flags) != *e.Flags:
		return bad("flags", *e.Flags)
	case e.Codec != nil && uint8(f.Codec) != *e.Codec:
		return bad("codec", ipc.Codec(*e.Codec))
	case e.Payload != nil && !bytes.Equal(f.Payload, *e.Payload):
		return bad("payload", fmt.Sprintf("%.200q", *e.Payload))
	}
	if e.JSON == nil {
		return nil
	}
	var said map[string]any
	if err := json.Unmarshal(f.Payload, &said); err != nil {
		return bad("payload", "a JSON object")
	}
	for key, want := range e.JSON {
		if !reflect.DeepEqual(said[key], want) {
			return bad(key, want)
		}
	}
	return nil
}
