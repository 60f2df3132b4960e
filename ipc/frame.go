package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The frame: a header of 20 bytes, big-endian, then Length bytes, of which the
// first NameLen are the name and the rest is the payload.
//
//	 0       1       2       3       4               8
//	+-------+-------+-------+-------+---------------+
//	| 0xBD  | vers. | type  | flags |    length     |
//	+-------+-------+-------+-------+---------------+
//	 8              12              16      18  19  20
//	+---------------+---------------+-------+---+---+
//	|      id       |      arg      | nlen  |nfd|cdc|
//	+---------------+---------------+-------+---+---+
const (
	// HeaderSize is the length of a frame's header in bytes.
	HeaderSize = 20
	// Magic is a frame's first byte. It never starts UTF-8, so stray text fails
	// at byte 0.
	Magic = 0xBD
	// Version is the version of the frame format.
	Version = 1
)

// Type says what a frame is.
type Type uint8

const (
	TypeHello  Type = 1  // both, first: who I am and what I accept
	TypeReady  Type = 2  // worker: serves from now on
	TypePing   Type = 3  // both: arg is any number
	TypePong   Type = 4  // both: arg is the ping's
	TypeCall   Type = 5  // both: name is the command, arg the milliseconds left
	TypeData   Type = 6  // callee: a piece of the answer, or progress
	TypeResult Type = 7  // callee: the one terminal frame of a call that went well
	TypeError  Type = 8  // callee: the one terminal frame of a call that did not
	TypeCancel Type = 9  // caller: the callee still sends its terminal frame
	TypeWindow Type = 10 // caller: arg is the credit for DATA, in bytes
	TypeEvent  Type = 11 // worker: name is the kind
	TypeDrain  Type = 12 // supervisor: take no new work, finish, exit; arg is the grace in milliseconds
	TypeRetire Type = 13 // worker: replace me
)

var typeNames = [...]string{
	TypeHello: "HELLO", TypeReady: "READY", TypePing: "PING", TypePong: "PONG", TypeCall: "CALL",
	TypeData: "DATA", TypeResult: "RESULT", TypeError: "ERROR", TypeCancel: "CANCEL",
	TypeWindow: "WINDOW", TypeEvent: "EVENT", TypeDrain: "DRAIN", TypeRetire: "RETIRE",
}

func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Flags are a frame's flag bits; bits other than these must be 0.
type Flags uint8

const (
	FlagMore Flags = 1 << 0 // the message goes on in the next frame of this id
	FlagMust Flags = 1 << 1 // refuse the connection if the type is unknown
)

// Codec says how a payload is to be read.
type Codec uint8

const (
	CodecBytes Codec = 0
	CodecJSON  Codec = 1
	CodecText  Codec = 2 // UTF-8
)

var codecNames = [...]string{CodecBytes: "bytes", CodecJSON: "json", CodecText: "text"}

func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

const (
	maxName = 255 // bytes of a name
	maxFDs  = 16  // descriptors on one frame
)

// Header is a frame's first 20 bytes. The fields that never vary, magic and
// version, are checked and dropped.
type Header struct {
	Type   Type
	Flags  Flags
	Length uint32 // bytes after the header
	ID     uint32 // of the call; 0 is the connection
	Arg    uint32 // what it counts depends on Type
	NLen   uint16 // bytes of name at the front of the body
	NFDs   uint8  // descriptors that ride on this frame
	Codec  Codec
}

// append adds h's 20 bytes to b.
func (h Header) append(b []byte) []byte {
	n := len(b)
	b = append(b, make([]byte, HeaderSize)...)
	p := b[n : n+HeaderSize]
	p[0], p[1], p[2], p[3] = Magic, Version, byte(h.Type), byte(h.Flags)
	binary.BigEndian.PutUint32(p[4:], h.Length)
	binary.BigEndian.PutUint32(p[8:], h.ID)
	binary.BigEndian.PutUint32(p[12:], h.Arg)
	binary.BigEndian.PutUint16(p[16:], h.NLen)
	p[18], p[19] = h.NFDs, byte(h.Codec)
	return b
}

// Frame is one frame. Name and Payload may alias the buffer they were read
// from.
type Frame struct {
	Header
	Name    []byte
	Payload []byte
}

// AppendFrame adds f to b. Length and NLen are taken from Name and Payload.
func AppendFrame(b []byte, f Frame) []byte {
	f.NLen = uint16(len(f.Name))
	f.Length = uint32(len(f.Name) + len(f.Payload))
	b = f.Header.append(b)
	b = append(b, f.Name...)
	return append(b, f.Payload...)
}

// ErrProtocol is wrapped by every error that means the peer broke the protocol.
var ErrProtocol = errors.New("ipc: protocol violation")

// ProtocolError says which rule the peer broke and where. It wraps ErrProtocol.
type ProtocolError struct {
	Rule   string // a rule's name in docs/protocol.md
	Offset int64  // of the offending byte, counted from the connection's first
	Detail string // what was there
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("ipc: protocol violation at byte %d: rule %s: %s", e.Offset, e.Rule, e.Detail)
}

func (e *ProtocolError) Unwrap() error { return ErrProtocol }

// breach is a broken rule before the frame's place in the stream is known.
type breach struct {
	rule   string
	at     int // offset within the frame
	detail string
}

func (b *breach) located(frameStart int64) *ProtocolError {
	return &ProtocolError{Rule: b.rule, Offset: frameStart + int64(b.at), Detail: b.detail}
}

func broke(rule string, at int, format string, args ...any) *breach {
	return &breach{rule: rule, at: at, detail: fmt.Sprintf(format, args...)}
}

// parseHeader checks everything the 20 bytes alone can break. chunk bounds the
// body, so that a length is refused before anything is allocated for it.
func parseHeader(b []byte, chunk uint32) (Header, *breach) {
	_ = b[HeaderSize-1]
	if b[0] != Magic {
		return Header{}, broke("magic", 0, "a frame starts with 0xBD, got 0x%02X", b[0])
	}
	if b[1] != Version {
		return Header{}, broke("version", 1, "only version 1 is spoken here, got %d", b[1])
	}
	h := Header{
		Type:   Type(b[2]),
		Flags:  Flags(b[3]),
		Length: binary.BigEndian.Uint32(b[4:]),
		ID:     binary.BigEndian.Uint32(b[8:]),
		Arg:    binary.BigEndian.Uint32(b[12:]),
		NLen:   binary.BigEndian.Uint16(b[16:]),
		NFDs:   b[18],
		Codec:  Codec(b[19]),
	}
	switch {
	case h.Flags&^(FlagMore|FlagMust) != 0:
		return h, broke("flags", 3, "unknown flag bits 0x%02X", byte(h.Flags&^(FlagMore|FlagMust)))
	case h.Length > chunk:
		return h, broke("length", 4, "a frame of %d bytes, at most %d are accepted", h.Length, chunk)
	case h.NLen > maxName || uint32(h.NLen) > h.Length:
		return h, broke("nlen", 16, "a name of %d bytes in a body of %d, at most %d are accepted", h.NLen, h.Length, maxName)
	case h.NFDs > maxFDs:
		return h, broke("nfds", 18, "%d descriptors on one frame, at most %d are accepted", h.NFDs, maxFDs)
	}
	if !h.Type.known() {
		if h.Flags&FlagMust != 0 {
			return h, broke("must", 2, "%v is not known here and says it must be", h.Type)
		}
		return h, nil
	}
	return h, h.check(shapes[h.Type])
}

// ParseFrame reads the one frame at the front of b and returns it with the
// bytes it took. n is 0 if b holds no whole frame yet. chunk is the largest
// body accepted. Frames of unknown type are returned too; the caller skips
// them. Frame.Name and Frame.Payload alias b.
func ParseFrame(b []byte, chunk uint32) (f Frame, n int, err error) {
	f, n, br := parseFrame(b, chunk)
	if br != nil {
		return Frame{}, 0, br.located(0)
	}
	return f, n, nil
}

func parseFrame(b []byte, chunk uint32) (Frame, int, *breach) {
	if len(b) < HeaderSize {
		return Frame{}, 0, earlyBreach(b)
	}
	h, br := parseHeader(b, chunk)
	if br != nil {
		return Frame{}, 0, br
	}
	if uint64(len(b)) < HeaderSize+uint64(h.Length) {
		return Frame{}, 0, nil
	}
	n := HeaderSize + int(h.Length)
	f := Frame{Header: h, Name: b[HeaderSize : HeaderSize+int(h.NLen)], Payload: b[HeaderSize+int(h.NLen) : n]}
	if br := checkName(f.Name); br != nil {
		return Frame{}, 0, br
	}
	return f, n, nil
}

func checkName(name []byte) *breach {
	for i, c := range name {
		if c < 0x21 || c > 0x7E {
			return broke("name", HeaderSize+i, "a name is printable ASCII without spaces, got 0x%02X", c)
		}
	}
	return nil
}

// earlyBreach refuses what can't become a frame before a whole header is
// there, so that stray text fails at its first byte rather than its twentieth.
func earlyBreach(b []byte) *breach {
	if len(b) > 0 && b[0] != Magic {
		return broke("magic", 0, "a frame starts with 0xBD, got 0x%02X", b[0])
	}
	if len(b) > 1 && b[1] != Version {
		return broke("version", 1, "only version 1 is spoken here, got %d", b[1])
	}
	return nil
}
