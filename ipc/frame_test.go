package ipc

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// header is a frame of type typ that breaks no rule, as bytes, after change.
func header(typ Type, change func(b []byte)) []byte {
	f := Frame{Header: Header{Type: typ}}
	if s := shapes[typ]; s.call {
		f.ID = 1
	}
	if typ == TypeWindow {
		f.Arg = 1
	}
	if shapes[typ].name == needed {
		f.Name = []byte("name")
	}
	if shapes[typ].payload {
		f.Payload, f.Codec = []byte("{}"), CodecJSON
	}
	b := AppendFrame(nil, f)
	change(b)
	return b
}

func set(values ...byte) func([]byte) {
	return func(b []byte) {
		for i := 0; i < len(values); i += 2 {
			b[values[i]] = values[i+1]
		}
	}
}

var badFrames = []struct {
	what string
	in   []byte
	rule string
	at   int64
}{
	{"text", []byte("hello"), "magic", 0},
	{"one byte of text", []byte("h"), "magic", 0},
	{"magic", header(TypePing, set(0, 0xBE)), "magic", 0},
	{"version 0", header(TypePing, set(1, 0)), "version", 1},
	{"version 2", []byte{Magic, 2}, "version", 1},
	{"a third flag", header(TypePing, set(3, 4)), "flags", 3},
	{"the top flag of an unknown type", header(TypePing, set(2, 99, 3, 0x80)), "flags", 3},
	{"length", header(TypeCall, set(4, 0, 5, 1, 6, 0, 7, 1)), "length", 4},
	{"the largest length", header(TypeResult, set(4, 255, 5, 255, 6, 255, 7, 255)), "length", 4},
	{"length of an unknown type", header(TypePing, set(2, 99, 5, 1, 7, 1)), "length", 4},
	{"nlen beyond the body", header(TypeCall, set(17, 7)), "nlen", 16},
	{"nlen above 255", append(header(TypeCall, set(6, 2, 16, 1, 17, 0)), make([]byte, 512)...), "nlen", 16},
	{"17 descriptors", header(TypePing, set(2, 99, 18, 17)), "nfds", 18},
	{"a descriptor with PING", header(TypePing, set(18, 1)), "nfds", 18},
	{"a descriptor with ERROR", header(TypeError, set(18, 1)), "nfds", 18},
	{"a descriptor with EVENT", header(TypeEvent, set(18, 1)), "nfds", 18},
	{"WINDOW of nothing", header(TypeWindow, set(15, 0)), "window", 12},
	{"WINDOW of 2 GiB", header(TypeWindow, set(12, 0x80)), "window", 12},
	{"WINDOW with a payload", append(header(TypeWindow, set(7, 1)), 0), "payload", 4},
	{"DATA 0", header(TypeData, set(11, 0)), "id", 8},
	{"WINDOW 0", header(TypeWindow, set(11, 0)), "id", 8},
	{"RETIRE with an id", header(TypeRetire, set(11, 1)), "id", 8},
	{"DATA with an arg", header(TypeData, set(15, 1)), "arg", 12},
	{"RETIRE with an arg", header(TypeRetire, set(15, 1)), "arg", 12},
	{"DATA with MORE", header(TypeData, set(3, 1)), "more", 3},
	{"RETIRE with MORE", header(TypeRetire, set(3, 1)), "more", 3},
	{"a space in a piece's name", AppendFrame(nil, Frame{Header: Header{Type: TypeData, ID: 1}, Name: []byte("a b")}), "name", 21},
	{"RETIRE in text", header(TypeRetire, set(19, 2)), "codec", 19},
	{"unknown and MUST", header(TypePing, set(2, 99, 3, 2)), "must", 2},
	{"type 0 and MUST", header(TypePing, set(2, 0, 3, 2)), "must", 2},
	{"type 255 and MUST", header(TypePing, set(2, 255, 3, 3)), "must", 2},
	{"CALL 0", header(TypeCall, set(11, 0)), "id", 8},
	{"RESULT 0", header(TypeResult, set(11, 0)), "id", 8},
	{"ERROR 0", header(TypeError, set(11, 0)), "id", 8},
	{"CANCEL 0", header(TypeCancel, set(11, 0)), "id", 8},
	{"HELLO 1", header(TypeHello, set(11, 1)), "id", 8},
	{"PING with an id", header(TypePing, set(8, 1)), "id", 8},
	{"EVENT with an id", header(TypeEvent, set(9, 1)), "id", 8},
	{"HELLO with a name", header(TypeHello, set(17, 1)), "name", 16},
	{"RESULT with a name", header(TypeResult, set(17, 1)), "name", 16},
	{"a space in a name", header(TypeCall, set(21, ' ')), "name", 21},
	{"a NUL in a name", header(TypeEvent, set(20, 0)), "name", 20},
	{"DEL in a name", header(TypeError, set(23, 0x7F)), "name", 23},
	{"UTF-8 in a name of an unknown type", header(TypeEvent, set(2, 99, 22, 0xC3)), "name", 22},
	{"READY with a payload", append(header(TypeReady, set(7, 1)), 0), "payload", 4},
	{"PING with a payload", append(header(TypePing, set(7, 1)), 0), "payload", 4},
	{"CANCEL with a payload", append(header(TypeCancel, set(7, 1)), 0), "payload", 4},
	{"DRAIN with a payload", append(header(TypeDrain, set(7, 1)), 0), "payload", 4},
	{"READY with an arg", header(TypeReady, set(15, 1)), "arg", 12},
	{"RESULT with an arg", header(TypeResult, set(12, 1)), "arg", 12},
	{"EVENT with an arg", header(TypeEvent, set(13, 1)), "arg", 12},
	{"HELLO with MORE", header(TypeHello, set(3, 1)), "more", 3},
	{"ERROR with MORE", header(TypeError, set(3, 1)), "more", 3},
	{"EVENT with MORE", header(TypeEvent, set(3, 3)), "more", 3},
	{"codec 3", header(TypeCall, set(19, 3)), "codec", 19},
	{"codec 255 on an empty frame", header(TypePing, set(19, 255)), "codec", 19},
	{"HELLO in text", header(TypeHello, set(19, 2)), "codec", 19},
	{"PONG in bytes", header(TypePong, set(19, 0)), "codec", 19},
	{"ERROR in bytes", header(TypeError, set(19, 0)), "codec", 19},
}

func TestFrameRules(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range badFrames {
		seen[c.rule] = true
		f, n, err := ParseFrame(c.in, DefaultChunk)
		var pe *ProtocolError
		if !errors.As(err, &pe) || !errors.Is(err, ErrProtocol) || pe.Rule != c.rule || pe.Offset != c.at || pe.Detail == "" {
			t.Errorf("%s: got %v %d %v, want rule %s at byte %d", c.what, f, n, err, c.rule, c.at)
		}
	}
	for _, rule := range []string{
		"magic", "version", "flags", "length", "nlen", "nfds", "must", "id", "name", "payload", "arg", "more", "codec", "window",
	} {
		if !seen[rule] {
			t.Errorf("no frame here breaks %s", rule)
		}
	}
}

func TestLongDataIsRefusedWhateverTheChunk(t *testing.T) {
	data := AppendFrame(nil, Frame{Header: Header{Type: TypeData, ID: 1}, Payload: make([]byte, DefaultChunk+1)})
	_, _, err := ParseFrame(data, 4*DefaultChunk)
	var pe *ProtocolError
	if !errors.As(err, &pe) || pe.Rule != "length" || pe.Offset != 4 {
		t.Errorf("got %v", err)
	}
}

func TestLongHelloIsRefusedWhateverTheChunk(t *testing.T) {
	hello := AppendFrame(nil, Frame{Header: Header{Type: TypeHello, Codec: CodecJSON}, Payload: make([]byte, maxHello+1)})
	_, _, err := ParseFrame(hello, 4*DefaultChunk)
	var pe *ProtocolError
	if !errors.As(err, &pe) || pe.Rule != "length" || pe.Offset != 4 {
		t.Errorf("got %v", err)
	}
}

// Everything that a header alone can break is found before the body is there.
func TestHeaderIsCheckedBeforeTheBody(t *testing.T) {
	for _, c := range badFrames {
		if len(c.in) < HeaderSize || c.at >= HeaderSize {
			continue
		}
		if _, _, err := ParseFrame(c.in[:HeaderSize], DefaultChunk); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: the header alone gives %v", c.what, err)
		}
	}
}

func TestUnknownTypesAreReturned(t *testing.T) {
	for typ := range 256 {
		if Type(typ).known() {
			continue
		}
		f := Frame{Header: Header{Type: Type(typ), Flags: FlagMore, ID: 7, Arg: 9, NFDs: maxFDs, Codec: 77}, Name: []byte("n"), Payload: []byte{0}}
		got, n, err := ParseFrame(AppendFrame(nil, f), DefaultChunk)
		if err != nil || n != HeaderSize+2 || got.Type != f.Type || got.Codec != 77 {
			t.Errorf("type %d: %v %d %v", typ, got, n, err)
		}
	}
}

// An incomplete frame is no error, and no frame.
func TestPartOfAFrame(t *testing.T) {
	whole := AppendFrame(nil, call(1, "echo", []byte("payload")))
	for i := range whole {
		if _, n, err := ParseFrame(whole[:i], DefaultChunk); n != 0 || err != nil {
			t.Errorf("%d bytes: %d, %v", i, n, err)
		}
	}
}

func TestHugeChunkDoesNotOverflow(t *testing.T) {
	b := AppendFrame(nil, call(1, "echo", nil))
	copy(b[4:], []byte{0xFF, 0xFF, 0xFF, 0xFF})
	if _, n, err := ParseFrame(b, math.MaxUint32); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func FuzzFrame(f *testing.F) {
	for _, c := range badFrames {
		f.Add(c.in, uint32(DefaultChunk))
	}
	for typ := range typeNames {
		f.Add(header(TypePing, set(2, byte(typ))), uint32(DefaultChunk))
	}
	for typ := range shapes {
		if Type(typ).known() {
			f.Add(header(Type(typ), set()), uint32(DefaultChunk))
			f.Add(header(Type(typ), set(3, byte(FlagMust))), uint32(DefaultChunk))
		}
	}
	f.Add(AppendFrame(nil, more(call(math.MaxUint32, strings.Repeat("n", maxName), []byte{0}))), uint32(256))
	f.Fuzz(func(t *testing.T, in []byte, chunk uint32) {
		frame, n, err := ParseFrame(in, chunk)
		if err != nil {
			var pe *ProtocolError
			if !errors.As(err, &pe) || pe.Offset < 0 || pe.Offset >= int64(len(in)) {
				t.Fatalf("an error that points nowhere: %#v", err)
			}
			return
		}
		if n == 0 {
			if len(in) >= HeaderSize && uint64(len(in)) >= HeaderSize+uint64(be32(in[4:])) {
				t.Fatal("a whole frame was not seen")
			}
			return
		}
		if again := AppendFrame(nil, frame); !bytes.Equal(again, in[:n]) {
			t.Fatalf("% x\nreads as %+v, which is\n% x", in[:n], frame, again)
		}
	})
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// A corpus that is looked for in the wrong place matches nothing and says so to
// nobody.
func TestSeedCorpusIsThere(t *testing.T) {
	for _, target := range []string{"FuzzFrame", "FuzzConn"} {
		seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil || len(seeds) < 3 {
			t.Errorf("%s has %d seeds, %v", target, len(seeds), err)
		}
		for _, s := range seeds {
			if b, err := os.ReadFile(s); err != nil || !bytes.HasPrefix(b, []byte("go test fuzz v1\n")) {
				t.Errorf("%s is no seed: %v", s, err)
			}
		}
	}
}
