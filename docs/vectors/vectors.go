// Package vectors has golden bytes of the wire: frames, breaches of its rules,
// and whole conversations with a worker. They are JSON files that tests in any
// language can read; README.md in this directory says how they are made up.
package vectors

import (
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

//go:embed frames.json breaches.json sessions.json
var files embed.FS

// Bytes are hexadecimal digits in JSON.
type Bytes []byte

// MarshalText is for encoding/json.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

// UnmarshalText is for encoding/json.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// Frame is a frame that keeps all rules of a frame by itself, and what is in it.
type Frame struct {
	About    string `json:"about"`
	Hex      Bytes  `json:"hex"`
	Type     uint8  `json:"type"`
	TypeName string `json:"type_name"` // "" for a type that is to be skipped
	Flags    uint8  `json:"flags"`
	ID       uint32 `json:"id"`
	Arg      uint32 `json:"arg"`
	NFDs     uint8  `json:"nfds"`
	Codec    uint8  `json:"codec"`
	Name     string `json:"name"`
	Payload  Bytes  `json:"payload"`
}

// Breach is bytes that break one rule of a frame by itself.
type Breach struct {
	About string `json:"about"`
	Hex   Bytes  `json:"hex"`
	Rule  string `json:"rule"`
	At    int    `json:"at"` // offset of the offending byte
}

// Session is a conversation with a worker.
type Session struct {
	Name  string   `json:"name"`
	About string   `json:"about"`
	Needs []string `json:"needs,omitempty"` // commands that the worker must offer
	Steps []Step   `json:"steps"`
}

// Step is one of its fields.
type Step struct {
	Send     Bytes   `json:"send,omitempty"`     // write these bytes
	Times    int     `json:"times,omitempty"`    // so often; 0 is once
	Bytewise bool    `json:"bytewise,omitempty"` // a byte a write
	Expect   *Expect `json:"expect,omitempty"`   // the worker sends this frame
	Ends     *Ends   `json:"ends,omitempty"`     // the worker ends the connection
	Close    bool    `json:"close,omitempty"`    // end the connection; the worker exits
}

// Expect is what a frame is held against; what is left out may be anything.
type Expect struct {
	Type    uint8          `json:"type"`
	ID      uint32         `json:"id"`
	Name    string         `json:"name,omitempty"`
	Arg     *uint32        `json:"arg,omitempty"`
	Flags   *uint8         `json:"flags,omitempty"`
	Codec   *uint8         `json:"codec,omitempty"`
	Payload *Bytes         `json:"payload,omitempty"`
	JSON    map[string]any `json:"json,omitempty"` // the payload has at least these fields
}

// Ends says why a worker ends the connection.
type Ends struct {
	Rule string `json:"rule,omitempty"` // "": it is drained
	At   int64  `json:"at,omitempty"`   // of the bytes sent; 0 where the rule has none
}

// Frames are the frames of frames.json.
func Frames() []Frame { return load[Frame]("frames.json") }

// Breaches are those of breaches.json.
func Breaches() []Breach { return load[Breach]("breaches.json") }

// Sessions are those of sessions.json.
func Sessions() []Session { return load[Session]("sessions.json") }

// load reads a file that the tests have held against its form.
func load[T any](name string) []T {
	b, err := files.ReadFile(name)
	var all []T
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		panic(fmt.Sprintf("docs/vectors/%s: %v", name, err))
	}
	return all
}
