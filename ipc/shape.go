package ipc

// The rules of a frame by itself are in this file and in parseFrame, the rules
// of the connection where breach is returned in accept and below it.

// presence says whether a type has a field.
type presence uint8

const (
	none     presence = iota // it must be empty or 0
	optional                 // it may be
	needed                   // it must not be
)

// shape is what the protocol allows a known type to carry.
type shape struct {
	from    Role // who may send it; 0: both
	call    bool // id names a call (not 0), else id is 0
	name    presence
	payload bool
	arg     bool
	more    bool // may go on in further frames, which have no name
	json    bool // the codec is JSON whatever the payload, else any
	fds     bool // descriptors may ride on it
}

// shapes has a row for each type. A type without one is skipped, or refused if
// MUST is set.
var shapes = [...]shape{
	TypeHello:  {payload: true, json: true},
	TypeReady:  {from: Worker},
	TypePing:   {arg: true},
	TypePong:   {arg: true, payload: true, json: true},
	TypeCall:   {call: true, name: needed, payload: true, arg: true, more: true, fds: true},
	TypeData:   {call: true, name: optional, payload: true, fds: true},
	TypeResult: {call: true, payload: true, more: true, fds: true},
	TypeError:  {call: true, name: needed, payload: true, json: true},
	TypeCancel: {call: true},
	TypeWindow: {call: true, arg: true},
	TypeEvent:  {from: Worker, name: needed, payload: true},
	TypeDrain:  {from: Supervisor, arg: true},
	TypeRetire: {from: Worker, name: needed, payload: true, json: true},
}

// known reports whether t has a shape.
func (t Type) known() bool {
	return int(t) < len(shapes) && shapes[t] != shape{}
}

// check holds the header of a known type against its shape. A continuation of
// a message is told apart from its start by the connection, not here; so a
// missing name is not checked here.
func (h Header) check(s shape) *breach {
	switch {
	case s.call && h.ID == 0:
		return broke("id", 8, "%v needs a call's id, got 0", h.Type)
	case !s.call && h.ID != 0:
		return broke("id", 8, "%v belongs to the connection, id 0, got %d", h.Type, h.ID)
	case s.name == none && h.NLen != 0:
		return broke("name", 16, "%v takes no name", h.Type)
	case !s.payload && h.Length > uint32(h.NLen):
		return broke("payload", 4, "%v takes no payload", h.Type)
	case !s.arg && h.Arg != 0:
		return broke("arg", 12, "%v takes no arg, got %d", h.Type, h.Arg)
	case !s.more && h.Flags&FlagMore != 0:
		return broke("more", 3, "%v fits one frame", h.Type)
	case !s.fds && h.NFDs != 0:
		return broke("nfds", 18, "%v takes no descriptors", h.Type)
	case h.Type == TypeWindow && (h.Arg == 0 || h.Arg > maxCredit):
		return broke("window", 12, "WINDOW grants 1 to %d bytes, got %d", maxCredit, h.Arg)
	case h.Codec > CodecText:
		return broke("codec", 19, "unknown codec %d", h.Codec)
	case s.json && h.Length > uint32(h.NLen) && h.Codec != CodecJSON:
		return broke("codec", 19, "%v carries JSON, got %v", h.Type, h.Codec)
	case h.Type == TypeData && h.Length > DefaultChunk:
		return broke("length", 4, "a DATA of %d bytes, at most %d are accepted", h.Length, DefaultChunk)
	case h.Type == TypeHello && h.Length > maxHello:
		return broke("length", 4, "a HELLO of %d bytes, at most %d are accepted", h.Length, maxHello)
	}
	return nil
}
