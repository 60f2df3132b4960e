package ipc

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
)

// breaking is one way to break a rule of the connection. HELLO has been said.
// The offending byte is at in the last frame that do writes.
type breaking struct {
	what string
	rule string
	at   int64
	do   func(p *rawPeer, c *Conn)
}

func sends(frames ...Frame) func(*rawPeer, *Conn) {
	return func(p *rawPeer, _ *Conn) { p.write(frames...) }
}

// opens has c make call n and reads it whole, then lets do answer.
func opens(do func(p *rawPeer, id uint32)) func(*rawPeer, *Conn) {
	return func(p *rawPeer, c *Conn) {
		calling(context.Background(), c, "open", Message{})
		f := p.next()
		do(p, f.ID)
	}
}

// forPeer is a rule that breaks the same way whichever end the peer plays:
// own is an id of its calls, foreign one of the Conn's.
func forPeer(own, foreign uint32) []breaking {
	big := make([]byte, DefaultChunk)
	jsonFrame := func(typ Type, id uint32, name, payload string) Frame {
		return Frame{Header: Header{Type: typ, ID: id, Codec: CodecJSON}, Name: []byte(name), Payload: []byte(payload)}
	}
	return []breaking{
		{"HELLO twice", "hello", 2, sends(jsonFrame(TypeHello, 0, "", "{}"))},
		{"a call with the Conn's parity", "call-id", 8, sends(call(foreign, "block", nil))},
		{"its first frame", "call-id", 8, sends(more(call(foreign, "block", nil)))},
		{"a call that is still open", "call-id", 8, sends(call(own, "block", nil), call(own, "block", nil))},
		{"no name", "name", 16, sends(call(own, "", nil))},
		{"an error without a code", "name", 16, sends(jsonFrame(TypeError, foreign, "", "{}"))},
		{"a continuation first", "name", 16, sends(more(call(own, "", []byte("x"))))},
		{"interleaved calls", "interleave", 3, sends(more(call(own, "a", big[1:])), more(call(own+2, "b", big[1:])))},
		{"a continuation with a name", "continuation", 12, sends(more(call(own, "a", nil)), call(own, "a", nil))},
		{"a continuation with an arg", "continuation", 12, sends(more(call(own, "a", nil)),
			Frame{Header: Header{Type: TypeCall, ID: own, Arg: 1}})},
		{"a continuation of another codec", "continuation", 12, sends(more(call(own, "a", nil)),
			Frame{Header: Header{Type: TypeCall, ID: own, Codec: CodecText}})},
		{"a message too long", "message", 4, func(p *rawPeer, _ *Conn) {
			p.write(more(call(own, "a", big[1:]))) // its chunk holds the name too
			rest := more(Frame{Header: Header{Type: TypeCall, ID: own}, Payload: big})
			for range DefaultMaxMessage/DefaultChunk - 1 {
				p.write(rest)
			}
			p.write(more(Frame{Header: Header{Type: TypeCall, ID: own}, Payload: []byte("xy")}))
		}},
		{"an answer to nothing", "answer", 8, sends(result(foreign, nil))},
		{"a long answer to nothing", "answer", 8, sends(more(result(foreign, big)))},
		{"an answer to its own call", "answer", 8, sends(call(own, "block", nil), result(own, nil))},
		{"an error to nothing", "answer", 8, sends(failure(foreign, ErrFailed))},
		{"answered twice", "answer", 8, opens(func(p *rawPeer, id uint32) { p.write(result(id, nil), result(id, nil)) })},
		{"answered and failed", "answer", 8, opens(func(p *rawPeer, id uint32) { p.write(result(id, nil), failure(id, "x")) })},
		{"failed and answered", "answer", 8, opens(func(p *rawPeer, id uint32) { p.write(failure(id, "x"), more(result(id, nil))) })},
		{"failed in the middle of an answer", "answer", 8, opens(func(p *rawPeer, id uint32) {
			p.write(more(result(id, big)), failure(id, "x"), result(id, nil))
		})},
		{"a second answer between", "answer", 8, func(p *rawPeer, c *Conn) {
			for range 2 {
				calling(context.Background(), c, "open", Message{})
			}
			one, two := p.next().ID, p.next().ID
			p.write(more(result(one, big)), result(two, nil), result(one, nil), result(two, nil))
		}},
		{"interleaved answers", "interleave", 3, func(p *rawPeer, c *Conn) {
			for range 2 {
				calling(context.Background(), c, "open", Message{})
			}
			one, two := p.next().ID, p.next().ID
			p.write(more(result(one, big)), more(result(two, big)))
		}},
		{"a call within an answer", "interleave", 3, opens(func(p *rawPeer, id uint32) {
			p.write(more(result(id, big)), more(call(own, "a", big[1:])))
		})},
		{"a PONG of nonsense", "json", 20, sends(jsonFrame(TypePong, 0, "", "{"))},
		{"a PONG of the wrong type", "json", 20, sends(jsonFrame(TypePong, 0, "", `{"inflight":"many"}`))},
		{"a PONG that is no object", "json", 20, sends(jsonFrame(TypePong, 0, "", " null"))},
		{"an ERROR of nonsense", "json", 24, opens(func(p *rawPeer, id uint32) { p.write(jsonFrame(TypeError, id, "code", "[]")) })},
		{"an unknown type with MUST", "must", 2, sends(Frame{Header: Header{Type: 99, Flags: FlagMust}})},
		{"a broken frame after good ones", "magic", 0, func(p *rawPeer, _ *Conn) {
			p.write(Frame{Header: Header{Type: TypePing}}, Frame{Header: Header{Type: 77}})
			p.last = p.sent
			p.bytes([]byte("GET / HTTP/1.1\r\n"))
		}},
	}
}

var breakings = map[Role][]breaking{
	Supervisor: append(forPeer(2, 1), breaking{"DRAIN from the worker", "direction", 2, sends(Frame{Header: Header{Type: TypeDrain}})}),
	Worker: append(forPeer(1, 2),
		breaking{"READY from the supervisor", "direction", 2, sends(Frame{Header: Header{Type: TypeReady}})},
		breaking{"EVENT from the supervisor", "direction", 2, sends(Frame{Header: Header{Type: TypeEvent}, Name: []byte("log")})},
		breaking{"a nameless EVENT from the supervisor", "direction", 2, sends(Frame{Header: Header{Type: TypeEvent}})}),
}

func TestConnectionRules(t *testing.T) {
	for role, all := range breakings {
		for _, b := range all {
			t.Run(role.String()+"/"+b.what, func(t *testing.T) {
				closes, closed := closeCounter()
				c, p := face(t, role, Config{Handler: blockUntilDone, OnClose: closed})
				p.greet(Hello{})
				b.do(p, c)
				wantBreach(t, c, b.rule, p.last+b.at)
				p.drained()
				if err := closes.Load(); err == nil || (*err).Error() != c.Err().Error() {
					t.Errorf("OnClose was told %v", err)
				}
			})
		}
	}
}

// closeCounter is an OnClose and where what it was told is. It panics when it is
// called a second time.
func closeCounter() (*atomic.Pointer[error], func(error)) {
	var told atomic.Pointer[error]
	return &told, func(err error) {
		if !told.CompareAndSwap(nil, &err) {
			panic("OnClose was called twice")
		}
	}
}

// blockUntilDone is a handler that ends with its ctx.
func blockUntilDone(ctx context.Context, _ *Call) (Message, error) {
	<-ctx.Done()
	return Message{}, ctx.Err()
}

// wantBreach waits for the end of c, which names the rule and the byte.
func wantBreach(t *testing.T, c *Conn, rule string, offset int64) {
	t.Helper()
	err := ended(t, c)
	var pe *ProtocolError
	if !errors.Is(err, ErrProtocol) || !errors.As(err, &pe) {
		t.Fatalf("ended by %v, want a breach of %s", err, rule)
	}
	if pe.Rule != rule || pe.Offset != offset {
		t.Fatalf("%v; want rule %s at byte %d", pe, rule, offset)
	}
}

var badHellos = []struct {
	what, payload string
	rule          string
	at            int64
}{
	{"no payload", "", "hello", 4},
	{"nonsense", "{", "json", 20},
	{"a list", "[]", "json", 20},
	{"null", "null", "json", 20},
	{"two objects", "{}{}", "json", 20},
	{"a limit in words", `{"chunk":"big"}`, "json", 20},
	{"a limit beyond all bounds", `{"max_message":1e300}`, "json", 20},
	{"version 2 alone", `{"protocol":[2,3]}`, "hello", 20},
	{"version 0 alone", `{"protocol":[-1,0]}`, "hello", 20},
	{"versions 0 to 0", `{"protocol":[0,0]}`, "hello", 20},
	{"no version", `{"protocol":[]}`, "hello", 20},
	{"one version", `{"protocol":[1]}`, "hello", 20},
	{"three versions", `{"protocol":[1,1,7]}`, "hello", 20},
	{"a small chunk", `{"chunk":65535}`, "hello", 20},
	{"a negative chunk", `{"chunk":-1}`, "hello", 20},
	{"a negative max_message", `{"max_message":-1}`, "hello", 20},
	{"a negative max_inflight", `{"max_inflight":-1}`, "hello", 20},
	{"a command without a name", `{"commands":[{}]}`, "hello", 20},
	{"a command with a space", `{"commands":[{"name":"a b"}]}`, "hello", 20},
	{"257 commands", `{"commands":[{"name":"c"}` + strings.Repeat(`,{"name":"c"}`, maxCommands) + `]}`, "hello", 20},
	{"deep nesting", strings.Repeat(`{"a":`, 12000) + "0" + strings.Repeat("}", 3000), "json", 20},
}

func TestBadHello(t *testing.T) {
	for _, role := range []Role{Supervisor, Worker} {
		for _, b := range badHellos {
			t.Run(role.String()+"/"+b.what, func(t *testing.T) {
				c, p := face(t, role, Config{})
				p.write(Frame{Header: Header{Type: TypeHello, Codec: CodecJSON}, Payload: []byte(b.payload)})
				wantBreach(t, c, b.rule, b.at)
				if _, greeted := c.Peer(); greeted {
					t.Error("the peer counts as greeted")
				}
			})
		}
	}
}

func TestHelloFirst(t *testing.T) {
	first := []Frame{
		{Header: Header{Type: TypePing}},
		{Header: Header{Type: 99}},
		{Header: Header{Type: TypeReady}},
		call(1, "echo", nil),
		call(2, "echo", nil),
		result(1, nil),
	}
	for _, role := range []Role{Supervisor, Worker} {
		for _, f := range first {
			c, p := face(t, role, Config{Handler: blockUntilDone})
			p.write(f)
			wantBreach(t, c, "hello-first", 2)
		}
	}
}

// What breaks no rule goes by, and the connection goes on.
func TestWhatIsIgnored(t *testing.T) {
	for _, role := range []Role{Supervisor, Worker} {
		c, p := face(t, role, Config{Handler: echo})
		hello := helloFrame(t, Hello{})
		hello.Payload = []byte(` {"protocol":[1,9],"shoe_size":[43],"chunk":0,"commands":null}`)
		p.write(hello)
		p.want(TypeHello, 0)
		p.write(
			Frame{Header: Header{Type: 99, ID: 5, Arg: 5, Flags: FlagMore, Codec: 99}, Name: []byte("x"), Payload: make([]byte, 1000)},
			Frame{Header: Header{Type: TypeWindow, ID: p.id(0), Arg: 1}},
			Frame{Header: Header{Type: TypeWindow, ID: p.id(0) + 1, Arg: maxCredit}},
			Frame{Header: Header{Type: TypePong, Arg: 12345}},
			Frame{Header: Header{Type: TypePong, Codec: CodecJSON}, Payload: []byte(`{"mood":"good"}`)},
			Frame{Header: Header{Type: TypeCancel, ID: p.id(0)}},
			Frame{Header: Header{Type: TypeCancel, ID: p.id(0) + 1}},
			Frame{Header: Header{Type: TypePing, Arg: 7, Flags: FlagMust}},
		)
		if f := p.want(TypePong, 0); f.Arg != 7 {
			t.Errorf("the PONG answers %d", f.Arg)
		}
		// Whole messages may come between the frames of another.
		p.write(
			more(call(p.id(0), "echo", []byte("one "))),
			call(p.id(1), "echo", []byte("between")),
			Frame{Header: Header{Type: 99}},
			Frame{Header: Header{Type: TypeCall, ID: p.id(0)}, Payload: []byte("message")},
		)
		answers := map[uint32]string{}
		for range 2 {
			f := p.next()
			answers[f.ID] = string(f.Payload)
		}
		if answers[p.id(0)] != "one message" || answers[p.id(1)] != "between" {
			t.Errorf("answers %v", answers)
		}
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	}
}
