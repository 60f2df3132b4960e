package vectors

import (
	"encoding/json"
	"fmt"
	"strings"

	"example.com/brood/ipc"
)

// What the files are made from.

var typeOf = map[string]ipc.Type{
	"HELLO": 1, "READY": 2, "PING": 3, "PONG": 4, "CALL": 5, "DATA": 6, "RESULT": 7, "ERROR": 8, "CANCEL": 9, "WINDOW": 10,
	"EVENT": 11, "DRAIN": 12, "RETIRE": 13,
}

// frame is a frame written short: "CALL 1 echo" and its payload.
func frame(head string, codec ipc.Codec, payload string, change ...func(*ipc.Frame)) ipc.Frame {
	var typ, name string
	var id uint32
	fmt.Sscan(head, &typ, &id, &name)
	f := ipc.Frame{Header: ipc.Header{Type: typeOf[typ], ID: id, Codec: codec}, Name: []byte(name), Payload: []byte(payload)}
	for _, c := range change {
		c(&f)
	}
	return f
}

func arg(n uint32) func(*ipc.Frame)      { return func(f *ipc.Frame) { f.Arg = n } }
func flags(n ipc.Flags) func(*ipc.Frame) { return func(f *ipc.Frame) { f.Flags = n } }
func nfds(n uint8) func(*ipc.Frame)      { return func(f *ipc.Frame) { f.NFDs = n } }
func typ(n ipc.Type) func(*ipc.Frame)    { return func(f *ipc.Frame) { f.Type = n } }
func enc(frames ...ipc.Frame) (b []byte) {
	for _, f := range frames {
		b = ipc.AppendFrame(b, f)
	}
	return b
}

const more = ipc.FlagMore

func buildFrames() (all []Frame) {
	add := func(about string, f ipc.Frame) {
		v := Frame{
			About: about, Hex: enc(f), Type: uint8(f.Type), Flags: uint8(f.Flags), ID: f.ID, Arg: f.Arg, NFDs: f.NFDs,
			Codec: uint8(f.Codec), Name: string(f.Name), Payload: Bytes(f.Payload),
		}
		if f.Type >= 1 && f.Type <= 13 {
			v.TypeName = f.Type.String()
		}
		all = append(all, v)
	}
	add("the supervisor's greeting", frame("HELLO", 1, supervisorHello))
	add("a worker's", frame("HELLO", 1, `{"protocol":[1,1],"pid":4711,"sdk":"brood-python/1.0.0","commands":[{"name":"flush","help":"drop the cache"}],"fds":16}`))
	add("a HELLO may be empty by the rules of a frame, not by those of the connection", frame("HELLO", 0, ""))
	add("ready", frame("READY", 0, ""))
	add("a ping", frame("PING", 0, "", arg(41)))
	add("the largest token", frame("PING", 0, "", arg(0xFFFFFFFF)))
	add("MUST on a known type changes nothing", frame("PING", 0, "", flags(2)))
	add("a pong that says nothing", frame("PONG", 0, "", arg(41)))
	add("a pong that says how it goes", frame("PONG", 1, `{"inflight":1,"oldest_ms":30,"status":"busy"}`, arg(41)))
	add("a call", frame("CALL 1 flush", 1, `["all"]`, arg(5000)))
	add("a call of the worker's, without payload", frame("CALL 2 lookup", 0, ""))
	add("a codec says nothing without a payload", frame("CALL 1 flush", 2, ""))
	add("the first frame of a long call", frame("CALL 4294967295 put", 0, "\x00\x01\xfe\xff", flags(more)))
	add("the rest of it: no name", frame("CALL 4294967295", 0, "end"))
	add("a call with descriptors", frame("CALL 3 adopt", 0, "", nfds(2)))
	add("a name of 255 bytes", frame("CALL 3 "+strings.Repeat("n", 255), 0, "x"))
	add("the first and the last byte of a name", frame("CALL 3 !~", 0, ""))
	add("a piece of an answer", frame("DATA 1", 2, "first line\n"))
	add("progress", frame("DATA 1 progress", 1, `{"done":3,"total":10,"text":"tiles"}`))
	add("an empty piece with the most descriptors", frame("DATA 1", 0, "", nfds(16)))
	add("an answer", frame("RESULT 1", 2, "dropped 17"))
	add("an empty answer", frame("RESULT 1", 0, ""))
	add("the first frame of a long answer", frame("RESULT 1", 0, "\xbd\x01", flags(more), nfds(1)))
	add("no", frame("ERROR 3 no_such_cache", 1, `{"message":"there is no cache tiles","started":"yes","details":{"have":["all"]}}`))
	add("a bare no", frame("ERROR 3 error", 0, ""))
	add("never mind", frame("CANCEL 1", 0, ""))
	add("the least credit", frame("WINDOW 1", 0, "", arg(1)))
	add("the most credit", frame("WINDOW 1", 0, "", arg(0x7FFFFFFF)))
	add("an event", frame("EVENT 0 status", 2, "indexing 40%"))
	add("an event without payload", frame("EVENT 0 tick", 0, ""))
	add("a drain", frame("DRAIN", 0, "", arg(10000)))
	add("a wish to be replaced", frame("RETIRE 0 memory", 1, `{"text":"3 GiB of tiles"}`))
	add("a shorter one", frame("RETIRE 0 age", 0, ""))
	add("an unknown type is skipped, whatever it has", frame("PING", 200, "anything", typ(99), flags(more), arg(7), func(f *ipc.Frame) { f.ID, f.Name = 5, []byte("x") }))
	add("type 0 is unknown too", frame("PING", 0, "", typ(0)))
	return all
}

const supervisorHello = `{"protocol":[1,1],"worker":"web/2","generation":7,"max_message":16777216,"max_inflight":64,"chunk":65536}`

func buildBreaches() (all []Breach) {
	add := func(about, rule string, at int, b []byte) {
		all = append(all, Breach{About: about, Hex: b, Rule: rule, At: at})
	}
	// set is f with bytes replaced: offset, value, offset, value …
	set := func(f ipc.Frame, bytes ...int) []byte {
		b := enc(f)
		for i := 0; i < len(bytes); i += 2 {
			b[bytes[i]] = byte(bytes[i+1])
		}
		return b
	}
	ping, call := frame("PING", 0, ""), frame("CALL 1 echo", 0, "x")
	unknown := frame("PING", 0, "", typ(99))
	add("HTTP", "magic", 0, []byte("GET / HTTP/1.1\r\n\r\n"))
	add("a single byte is enough", "magic", 0, []byte("\n"))
	add("a frame of a later version", "version", 1, set(ping, 1, 2))
	add("two bytes are enough", "version", 1, []byte{0xBD, 0})
	add("an unknown flag", "flags", 3, set(ping, 3, 4))
	add("all flags", "flags", 3, set(ping, 3, 255))
	add("a body a byte longer than a chunk, of which nothing has come", "length", 4, set(ping, 2, 5, 5, 1, 7, 1, 11, 1)[:20])
	add("a body of 4 GiB", "length", 4, set(call, 4, 255, 5, 255, 6, 255, 7, 255)[:20])
	add("the same of an unknown type", "length", 4, set(unknown, 4, 255)[:20])
	add("a name longer than the body", "nlen", 16, set(call, 17, 6)[:20])
	add("a name of 256 bytes", "nlen", 16, set(frame("CALL 1 "+strings.Repeat("n", 256), 0, ""))[:20])
	add("17 descriptors", "nfds", 18, set(call, 18, 17))
	add("17 descriptors on an unknown type", "nfds", 18, set(unknown, 18, 17))
	for _, head := range []string{"HELLO", "PING", "CANCEL 1", "DRAIN", "PONG"} {
		add("a descriptor with "+head, "nfds", 18, set(frame(head, 0, ""), 18, 1))
	}
	add("a descriptor with ERROR", "nfds", 18, set(frame("ERROR 1 error", 0, ""), 18, 1))
	add("a descriptor with WINDOW", "nfds", 18, set(frame("WINDOW 1", 0, "", arg(1)), 18, 1))
	add("an unknown type that must be known", "must", 2, set(unknown, 3, 2))
	add("type 0 that must be known", "must", 2, set(unknown, 2, 0, 3, 2))
	add("type 14 that must be known", "must", 2, set(unknown, 2, 14, 3, 3))
	for _, head := range []string{"CALL 0 echo", "DATA 0", "RESULT 0", "ERROR 0 error", "CANCEL 0"} {
		add(strings.Fields(head)[0]+" without an id", "id", 8, enc(frame(head, 0, "")))
	}
	add("WINDOW without an id", "id", 8, enc(frame("WINDOW 0", 0, "", arg(1))))
	for _, head := range []string{"HELLO 1", "PING 1", "PONG 1", "DRAIN 1"} {
		add(strings.Fields(head)[0]+" with an id", "id", 8, enc(frame(head, 0, "")))
	}
	for _, head := range []string{"HELLO 0 x", "PING 0 x", "PONG 0 x", "DRAIN 0 x", "CANCEL 1 x", "RESULT 1 x"} {
		add(strings.Fields(head)[0]+" with a name", "name", 16, enc(frame(head, 0, "")))
	}
	for i, c := range []byte{' ', 0x7F, 0x00, 0x80, '\n'} {
		f := frame("CALL 1 echo", 0, "")
		f.Name[i%4] = c
		add(fmt.Sprintf("the byte 0x%02x in a name", c), "name", 20+i%4, enc(f))
	}
	bad := frame("PING", 0, "", typ(99))
	bad.Name = []byte("a b")
	add("a space in the name of an unknown type", "name", 21, enc(bad))
	for _, head := range []string{"PING", "DRAIN", "CANCEL 1"} {
		add(strings.Fields(head)[0]+" with a payload", "payload", 4, enc(frame(head, 0, "x")))
	}
	add("WINDOW with a payload", "payload", 4, enc(frame("WINDOW 1", 0, "x", arg(1))))
	for _, head := range []string{"HELLO", "DATA 1", "RESULT 1", "ERROR 1 error", "CANCEL 1"} {
		add(strings.Fields(head)[0]+" with an arg", "arg", 12, enc(frame(head, 0, "", arg(1))))
	}
	for _, head := range []string{"HELLO", "PING", "PONG", "DATA 1", "ERROR 1 error", "CANCEL 1", "DRAIN"} {
		add(strings.Fields(head)[0]+" with MORE", "more", 3, enc(frame(head, 0, "", flags(more))))
	}
	add("a grant of nothing", "window", 12, enc(frame("WINDOW 1", 0, "")))
	add("a grant of 2 GiB", "window", 12, enc(frame("WINDOW 1", 0, "", arg(1<<31))))
	add("codec 3", "codec", 19, set(call, 19, 3))
	add("codec 255 without a payload", "codec", 19, set(ping, 19, 255))
	add("a HELLO in bytes", "codec", 19, enc(frame("HELLO", 0, "{}")))
	add("a PONG in text", "codec", 19, enc(frame("PONG", 2, "{}")))
	add("an ERROR in text", "codec", 19, enc(frame("ERROR 1 error", 2, "{}")))
	return all
}

// script builds a session; at counts what it has sent.
type script struct {
	Session
	at int64
}

func (s *script) send(frames ...ipc.Frame) *script { return s.bytes(enc(frames...), 1) }

func (s *script) bytes(b []byte, times int) *script {
	step := Step{Send: b}
	if times > 1 {
		step.Times = times
	}
	s.Steps = append(s.Steps, step)
	s.at += int64(len(b) * times)
	return s
}

func (s *script) bytewise(frames ...ipc.Frame) *script {
	s.send(frames...).Steps[len(s.Steps)-1].Bytewise = true
	return s
}

func (s *script) expect(e Expect) *script {
	s.Steps = append(s.Steps, Step{Expect: &e})
	return s
}

// pong has the worker answer a ping: it lives, and has said nothing else.
func (s *script) pong(token uint32) *script {
	return s.send(frame("PING", 0, "", arg(token))).expect(Expect{Type: 4, Arg: &token})
}

func (s *script) result(id uint32, codec uint8, payload string) *script {
	b := Bytes(payload)
	var none uint8
	return s.expect(Expect{Type: 7, ID: id, Codec: &codec, Payload: &b, Flags: &none})
}

func (s *script) failure(id uint32, code, started string) *script {
	e := Expect{Type: 8, ID: id, Name: code}
	if started != "" {
		e.JSON = map[string]any{"started": started}
	}
	return s.expect(e)
}

func (s *script) close() *script {
	s.Steps = append(s.Steps, Step{Close: true})
	return s
}

// breaks sends the frame that breaks the rule at its byte at.
func (s *script) breaks(rule string, at int64, f ipc.Frame) *script {
	start := s.at
	return s.send(f).ends(Ends{rule, start + at})
}

func (s *script) ends(e Ends) *script {
	s.Steps = append(s.Steps, Step{Ends: &e})
	return s
}

type book struct{ all []*script }

func (b *book) session(name, about string, needs ...string) *script {
	s := &script{Session: Session{Name: name, About: about, Needs: needs}}
	b.all = append(b.all, s)
	return s
}

// greeted is a session that begins with a HELLO.
func (b *book) greeted(name, about string, needs ...string) *script {
	return b.session(name, about, needs...).send(frame("HELLO", 1, supervisorHello))
}

func buildSessions() (all []Session) {
	b := &book{}
	b.conversations()
	b.rules()
	b.messageRules()
	for _, s := range b.all {
		all = append(all, s.Session)
	}
	return all
}

func (b *book) conversations() {
	b.greeted("ping", "a ping is answered with its own token, then the supervisor goes").pong(41).pong(0xFFFFFFFF).close()
	b.session("bytewise", "every byte in a write of its own", "echo").
		bytewise(frame("HELLO", 1, supervisorHello), frame("PING", 0, "", arg(1)), frame("CALL 1 echo", 0, "ab", flags(more)),
			frame("PING", 0, "skip", typ(99)), frame("CALL 1", 0, "cd")).
		expect(Expect{Type: 4}).result(1, 0, "abcd").close()
	b.session("empty-hello", "absent limits and unknown fields").
		send(frame("HELLO", 1, `{"protocol":[1,9],"future":{"a":[]},"max_message":0}`), frame("PONG", 1, `{"future":1}`, arg(5))).pong(2).close()
	b.greeted("skips-unknown-types", "unknown types are skipped, with MORE, a name and any codec").
		send(frame("PING", 9, "y", typ(99), flags(more), arg(3)), frame("PING", 0, "", typ(0)), frame("PING", 0, "", typ(255))).pong(3).close()
	b.greeted("echo", "payloads of each codec", "echo").
		send(frame("CALL 1 echo", 0, "\x00\xbd\xff")).result(1, 0, "\x00\xbd\xff").
		send(frame("CALL 3 echo", 1, `{"a":[1,null]}`)).result(3, 1, `{"a":[1,null]}`).
		send(frame("CALL 5 echo", 2, "caf\xc3\xa9")).result(5, 2, "caf\xc3\xa9").
		send(frame("CALL 1 echo", 2, "again")).result(1, 2, "again").pong(4).close()
	b.greeted("words", "a list of strings is the words of a command line", "echo").
		send(frame("CALL 1 echo", 1, `["a","b c"]`)).result(1, 2, "a b c").close()
	b.greeted("between-the-frames", "frames of their own between those of a message, which is not open before it is whole", "echo").
		send(frame("CALL 1 echo", 2, "one ", flags(more))).pong(5).
		send(frame("CALL 3 echo", 2, "short")).result(3, 2, "short").
		send(frame("CANCEL 1", 0, ""), frame("WINDOW 1", 0, "", arg(1)), frame("CALL 1", 2, "message")).result(1, 2, "one message").close()
	b.greeted("fail", "a command that says no", "fail").
		send(frame("CALL 1 fail", 1, `["out","of","paper"]`)).expect(Expect{Type: 8, ID: 1, JSON: map[string]any{"started": "yes", "message": "out of paper"}}).close()
	b.greeted("unknown-command", "a command that is not there, never started").
		send(frame("CALL 1 no-such-command", 0, "")).failure(1, "unknown_command", "no").pong(6).close()
	b.greeted("cancel", "one terminal frame, and CANCELs that come too late", "sleep", "echo").
		send(frame("CALL 1 sleep", 1, `["1h"]`), frame("CANCEL 1", 0, "")).failure(1, "canceled", "").
		send(frame("CANCEL 1", 0, ""), frame("CANCEL 77", 0, "")).pong(7).
		send(frame("CALL 1 echo", 2, "again")).result(1, 2, "again").close()
	b.greeted("time-up", "the time that arg allows is over", "sleep").
		send(frame("CALL 1 sleep", 1, `["1h"]`, arg(30))).failure(1, "timeout", "").pong(8).close()
	b.greeted("drain", "what is open is finished, what is new is refused, then the connection ends", "sleep", "echo").
		send(frame("CALL 1 sleep", 1, `["300ms"]`), frame("DRAIN", 0, "", arg(10000)), frame("CALL 3 echo", 0, "")).
		failure(3, "unavailable", "no").
		send(frame("DRAIN", 0, "")).expect(Expect{Type: 7, ID: 1}).ends(Ends{})
	b.greeted("idle-drain", "nothing is open").send(frame("DRAIN", 0, "", arg(10000))).ends(Ends{})
	one, none := Bytes("1\n"), uint32(0)
	b.greeted("stream", "pieces, and then the answer", "count").
		send(frame("CALL 1 count", 1, `["2"]`)).expect(Expect{Type: 6, ID: 1, Payload: &one, Arg: &none}).expect(Expect{Type: 6, ID: 1}).
		expect(Expect{Type: 7, ID: 1}).send(frame("WINDOW 1", 0, "", arg(100))).pong(9).close()
}

func (b *book) rules() {
	b.session("first-frame-is-ping", "HELLO comes first").breaks("hello-first", 2, frame("PING", 0, ""))
	b.session("first-frame-is-unknown", "HELLO comes first").breaks("hello-first", 2, frame("PING", 0, "", typ(99)))
	b.greeted("hello-twice", "HELLO comes once").breaks("hello", 2, frame("HELLO", 1, "{}"))
	b.session("hello-without-json", "a HELLO says something").breaks("hello", 4, frame("HELLO", 0, ""))
	for _, h := range [][3]string{
		{"another-version", "hello", `{"protocol":[2,3]}`}, {"a-small-chunk", "hello", `{"chunk":65535}`},
		{"a-negative-max-message", "hello", `{"max_message":-1}`}, {"a-negative-max-inflight", "hello", `{"max_inflight":-1}`},
		{"many-fds", "hello", `{"fds":17}`}, {"no-json", "json", `{`}, {"a-list", "json", `[]`},
		{"a-text-as-limit", "json", `{"chunk":"big"}`}, {"a-number-as-protocol", "json", `{"protocol":1}`},
		{"false-as-limit", "json", `{"chunk":false}`}, {"an-empty-text-as-limit", "json", `{"chunk":""}`}, {"no-number", "json", `{"x":NaN}`},
		{"versions-0-to-0", "hello", `{"protocol":[0,0]}`}, {"three-versions", "hello", `{"protocol":[1,1,7]}`}, {"no-version", "hello", `{"protocol":[]}`},
	} {
		b.session("hello-with-"+h[0], "what a HELLO may not say").breaks(h[1], 20, frame("HELLO", 1, h[2]))
	}
	b.greeted("pong-without-json", "a PONG carries JSON").breaks("json", 20, frame("PONG", 1, "nope"))
	b.greeted("ready-from-the-supervisor", "only a worker is ready").breaks("direction", 2, frame("READY", 0, ""))
	b.greeted("event-from-the-supervisor", "only a worker tells").breaks("direction", 2, frame("EVENT 0 status", 0, ""))
	b.greeted("retire-from-the-supervisor", "only a worker retires").breaks("direction", 2, frame("RETIRE 0 age", 0, ""))
	text := b.greeted("text-behind-frames", "offsets count from the first byte").pong(10)
	text.bytes([]byte("hello?\n"), 1).ends(Ends{"magic", text.at - 7})
}

func (b *book) messageRules() {
	start := frame("CALL 1 echo", 0, "ab", flags(more))
	b.greeted("call-without-name", "a command has a name").breaks("name", 16, frame("CALL 1", 0, "x"))
	b.greeted("two-messages-at-once", "one at a time is unfinished").send(start).breaks("interleave", 3, frame("CALL 3 echo", 0, "", flags(more)))
	rest := func(with string, f ipc.Frame) {
		b.greeted("continuation-with-"+with, "the rest has type, id and codec only").send(start).breaks("continuation", 12, f)
	}
	rest("a-name", frame("CALL 1 echo", 0, "cd"))
	rest("an-arg", frame("CALL 1", 0, "cd", arg(1)))
	rest("another-codec", frame("CALL 1", 2, "cd"))
	long := b.greeted("message-too-long", "16 MiB and a byte").send(frame("CALL 1 echo", 0, "x", flags(more)))
	chunk := enc(frame("CALL 1", 0, strings.Repeat("y", 1<<16), flags(more)))
	long.bytes(chunk, 256).ends(Ends{"message", long.at - int64(len(chunk)) + 4})
	b.greeted("call-with-an-even-id", "even ids are the worker's").breaks("call-id", 8, frame("CALL 2 echo", 0, ""))
	b.greeted("call-that-is-open", "an id is free when its answer has come", "sleep").
		send(frame("CALL 1 sleep", 1, `["1h"]`)).breaks("call-id", 8, frame("CALL 1 sleep", 1, `["1h"]`))
	b.greeted("answer-to-nothing", "no call of the worker's is open").breaks("answer", 8, frame("RESULT 2", 0, ""))
	b.greeted("error-to-nothing", "no call of the worker's is open").breaks("answer", 8, frame("ERROR 2 error", 0, ""))
	b.greeted("piece-for-nothing", "no call of the worker's is open").breaks("answer", 8, frame("DATA 2", 0, "x"))
	b.greeted("answer-to-its-own-call", "the supervisor's call is the worker's to answer", "sleep").
		send(frame("CALL 1 sleep", 1, `["1h"]`)).breaks("answer", 8, frame("RESULT 1", 0, ""))
	b.greeted("credit-without-bound", "at most 2 GiB less a byte are left", "sleep").
		send(frame("CALL 1 sleep", 1, `["1h"]`)).breaks("window", 12, frame("WINDOW 1", 0, "", arg(0x7FFFFFFF)))
	b.greeted("descriptors-not-sent", "nfds, and none came").breaks("fds", 18, frame("CALL 1 echo", 0, "", nfds(1)))
}

func marshal(v any) []byte {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		panic(err)
	}
	return append(b, '\n')
}
