package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Role is which end of the pair a Conn is.
type Role uint8

const (
	Supervisor Role = 1 // its calls have odd ids
	Worker     Role = 2 // its calls have even ids
)

func (r Role) peer() Role { return Supervisor + Worker - r }

func (r Role) String() string {
	switch r {
	case Supervisor:
		return "supervisor"
	case Worker:
		return "worker"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Message is a payload and how to read it. The zero value is no bytes.
type Message struct {
	Codec   Codec
	Payload []byte
	// Files ride along as descriptors, as many as the receiver's HELLO says.
	// Those of a Call or Send stay the sender's: duplicates are made before it
	// returns. Those of a handler's answer are closed by the connection. Those
	// received are the receiver's to close. Where the system lets the user have
	// no more on their way, which is ETOOMANYREFS in unix(7), the connection ends.
	Files []*os.File
}

// CloseFiles closes what came along.
func (m Message) CloseFiles() {
	for _, f := range m.Files {
		f.Close()
	}
}

// Text is s as UTF-8 text.
func Text(s string) Message { return Message{Codec: CodecText, Payload: []byte(s)} }

// Bytes is b as it is.
func Bytes(b []byte) Message { return Message{Codec: CodecBytes, Payload: b} }

// JSON is v as JSON. A v that can't be encoded is a fault of the program.
func JSON(v any) (Message, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Message{}, fmt.Errorf("ipc: a message as JSON: %w", err)
	}
	return Message{Codec: CodecJSON, Payload: b}, nil
}

// Args is words as a JSON list of strings, the form in which the command line
// and the control socket pass arguments.
func Args(words ...string) Message {
	if words == nil {
		words = []string{}
	}
	m, err := JSON(words)
	if err != nil { // a []string always encodes
		panic(err)
	}
	return m
}

// Plain returns m the way a script wants it: a JSON string and text bare,
// other JSON as JSON, bytes as bytes.
func (m Message) Plain() []byte {
	if m.Codec == CodecJSON {
		var s string
		if json.Unmarshal(m.Payload, &s) == nil && strings.HasPrefix(strings.TrimSpace(string(m.Payload)), `"`) {
			return []byte(s)
		}
	}
	return m.Payload
}

// Hello is the first message of each end. Absent fields mean the defaults.
type Hello struct {
	Protocol [2]int `json:"protocol"` // lowest and highest version spoken

	// From the supervisor.
	Worker     string `json:"worker,omitempty"` // web/2
	Generation uint64 `json:"generation,omitempty"`

	// From the worker.
	PID      int           `json:"pid,omitempty"`
	SDK      string        `json:"sdk,omitempty"`
	Commands []CommandInfo `json:"commands,omitempty"`

	// What the sender accepts. 0: the default.
	MaxMessage  int `json:"max_message,omitempty"`  // bytes of one message. 16 MiB
	MaxInflight int `json:"max_inflight,omitempty"` // calls at once. 64
	Chunk       int `json:"chunk,omitempty"`        // bytes of one frame's body. 64 KiB
	FDs         int `json:"fds,omitempty"`          // descriptors with one message, at most 16. None
}

// CommandInfo is a command that a worker offers.
type CommandInfo struct {
	Name string `json:"name"`
	Help string `json:"help,omitempty"`
}

// Defaults and bounds of the limits in Hello.
const (
	DefaultMaxMessage  = 16 << 20
	DefaultMaxInflight = 64
	DefaultChunk       = 64 << 10

	minChunk = DefaultChunk // a sender need not wait for the HELLO that would ask for less
	maxChunk = 16 << 20     // of this end's own; the reader's buffer has room for one frame
	maxHello = 64 << 10     // a HELLO is one frame, whatever chunk will be agreed
	// maxCommands bounds what a worker may register, so that what is kept of it
	// is bounded.
	maxCommands = 256
)

func (h Hello) withDefaults() Hello {
	if h.Protocol == [2]int{} {
		h.Protocol = [2]int{Version, Version}
	}
	if h.MaxMessage == 0 {
		h.MaxMessage = DefaultMaxMessage
	}
	if h.MaxInflight == 0 {
		h.MaxInflight = DefaultMaxInflight
	}
	if h.Chunk == 0 {
		h.Chunk = DefaultChunk
	}
	return h
}

// check returns what is wrong with a HELLO, or "".
func (h Hello) check() string {
	switch {
	case h.Protocol[0] > Version || h.Protocol[1] < Version:
		return fmt.Sprintf("it speaks versions %d to %d, this end speaks %d", h.Protocol[0], h.Protocol[1], Version)
	case h.MaxMessage < 0 || h.MaxInflight < 0:
		return "a negative limit"
	case h.Chunk < minChunk:
		return fmt.Sprintf("chunk is %d, at least %d", h.Chunk, minChunk)
	case h.FDs < 0 || h.FDs > maxFDs:
		return fmt.Sprintf("fds is %d, 0 to %d", h.FDs, maxFDs)
	case len(h.Commands) > maxCommands:
		return fmt.Sprintf("%d commands, at most %d", len(h.Commands), maxCommands)
	}
	for _, c := range h.Commands {
		if !ValidName(c.Name) {
			return fmt.Sprintf("command name %q", c.Name)
		}
	}
	return ""
}

// encode is h as a HELLO's payload, or what is wrong with it.
func (h Hello) encode() ([]byte, error) {
	if bad := h.check(); bad != "" {
		return nil, fmt.Errorf("ipc: Config.Hello: %s", bad)
	}
	if h.Chunk > maxChunk {
		return nil, fmt.Errorf("ipc: Config.Hello: chunk is %d, at most %d", h.Chunk, maxChunk)
	}
	m, err := JSON(h)
	if err == nil && len(m.Payload) > maxHello {
		err = fmt.Errorf("ipc: Config.Hello is %d bytes, at most %d fit; shorten the help texts", len(m.Payload), maxHello)
	}
	return m.Payload, err
}

// ValidName reports whether s can be the name of a command or an event:
// 1 to 255 bytes of printable ASCII without spaces.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7E {
			return false
		}
	}
	return true
}

// Pong is what an answer to a ping says about its sender. All fields are 0
// when it says nothing.
type Pong struct {
	Inflight int    `json:"inflight,omitempty"`  // calls at work
	OldestMS int64  `json:"oldest_ms,omitempty"` // age of the oldest of them
	BeatMS   *int64 `json:"beat_ms,omitempty"`   // since the last beat; nil: it has no beat
	Status   string `json:"status,omitempty"`    // the worker's own words
}

// Event is something a worker tells of its own accord.
type Event struct {
	Name string // status, log, metric or its own
	Message
}

// Code is a failure that both ends understand. It is an error itself, so
// errors.Is(err, ipc.ErrLost) works on whatever wraps it.
type Code string

func (c Code) Error() string { return string(c) }

// The outcomes of a call other than ok, and the codes an ERROR frame may carry
// for them. Any other code a worker sends is its own and means ErrFailed.
const (
	ErrFailed      Code = "error"       // the worker said no
	ErrLost        Code = "lost"        // the connection ended first
	ErrTimeout     Code = "timeout"     // no answer in time; it may still be running
	ErrCanceled    Code = "canceled"    // the caller gave up
	ErrOverloaded  Code = "overloaded"  // no room; not started
	ErrUnavailable Code = "unavailable" // not serving; not started
	// ErrUnknownCommand is said by a callee that has no such command. As an
	// outcome it is an error.
	ErrUnknownCommand Code = "unknown_command"
	// ErrTooLarge: the message is larger than the other end accepts. Not started.
	ErrTooLarge Code = "too_large"
)

// Started says whether a call that did not end well had begun at the callee.
type Started uint8

const (
	StartedUnknown Started = iota
	StartedNo
	StartedYes
)

var startedNames = [...]string{"unknown", "no", "yes"}

func (s Started) String() string { return startedNames[s] }

// ParseStarted is the inverse of String; anything else is StartedUnknown.
func ParseStarted(s string) Started {
	switch s {
	case "no":
		return StartedNo
	case "yes":
		return StartedYes
	}
	return StartedUnknown
}

// CallError says how a call failed. errors.Is works with its Code, and with
// ErrFailed if the code is the worker's own.
type CallError struct {
	Target  string          // web/2#7, where known
	Command string          // the command
	Code    Code            // the outcome, or the worker's own code
	Message string          // for people
	Details json.RawMessage // what the worker sent along, or nil
	Started Started
}

func (e *CallError) Error() string {
	var b strings.Builder
	if e.Target != "" {
		b.WriteString(e.Target + ": ")
	}
	if e.Command != "" {
		b.WriteString(e.Command + ": ")
	}
	b.WriteString(string(e.Code))
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Code == ErrLost {
		b.WriteString(" (started: " + e.Started.String() + ")")
	}
	return b.String()
}

func (e *CallError) Unwrap() error { return e.Code }

// Is makes a worker's own code match ErrFailed.
func (e *CallError) Is(target error) bool { return target == error(e.Outcome()) }

// Outcome is the one of the seven outcomes (ok excepted) that e stands for.
func (e *CallError) Outcome() Code {
	switch e.Code {
	case ErrLost, ErrTimeout, ErrCanceled, ErrOverloaded, ErrUnavailable:
		return e.Code
	}
	return ErrFailed
}

// errorBody is the payload of an ERROR frame.
type errorBody struct {
	Message string          `json:"message,omitempty"`
	Details json.RawMessage `json:"details,omitempty"`
	Started string          `json:"started,omitempty"`
}

// toCallError turns what a handler returned into what goes on the wire. ctx is
// the handler's: an error that only passes its end on is told as that.
func toCallError(ctx context.Context, err error) *CallError {
	var ce *CallError
	if errors.As(err, &ce) {
		return ce
	}
	code := ErrFailed
	switch {
	case errors.As(err, &code):
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		code = ctxCode(ctx)
	}
	return &CallError{Code: code, Message: err.Error(), Started: StartedYes}
}
