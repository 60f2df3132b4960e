package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

func data(id uint32, name string, payload []byte) Frame {
	return Frame{Header: Header{Type: TypeData, ID: id}, Name: []byte(name), Payload: payload}
}

// streaming makes a call of c's whose pieces go to piece.
func streaming(ctx context.Context, c *Conn, command string, piece func(Piece) error) <-chan outcome {
	ch := make(chan outcome, 1)
	go func() {
		msg, err := c.CallStream(ctx, command, Message{}, piece)
		ch <- outcome{msg, err}
	}()
	return ch
}

// counting answers with as many pieces as the payload says.
func counting(ctx context.Context, c *Call) (Message, error) {
	var n int
	if err := json.Unmarshal(c.Payload, &n); err != nil {
		return Message{}, err
	}
	for i := range n {
		m, _ := JSON(Progress{Done: int64(i + 1), Total: int64(n)})
		if err := c.Send(ctx, Piece{"progress", m}); err != nil {
			return Message{}, err
		}
		if err := c.Send(ctx, Piece{"", Text(fmt.Sprintln(i + 1))}); err != nil {
			return Message{}, err
		}
	}
	return Text("end"), nil
}

// Pieces come in order and before the answer, in both directions.
func TestStream(t *testing.T) {
	s, w := connect(t, Config{Handler: counting}, Config{Handler: counting})
	for _, c := range []*Conn{s, w} {
		var text strings.Builder
		var done int64
		m, err := c.CallStream(within(t), "count", Text("1000"), func(p Piece) error {
			if p.Name == "" {
				text.Write(p.Payload)
				return nil
			}
			var pr Progress
			if err := json.Unmarshal(p.Payload, &pr); err != nil || p.Name != "progress" || p.Codec != CodecJSON || pr.Done != done+1 || pr.Total != 1000 {
				return fmt.Errorf("after %d: %s %s, %v", done, p.Name, p.Payload, err)
			}
			done++
			return nil
		})
		var want strings.Builder
		for i := range 1000 {
			fmt.Fprintln(&want, i+1)
		}
		if err != nil || string(m.Payload) != "end" || text.String() != want.String() || done != 1000 {
			t.Errorf("%v: %q, %v, %d bytes of pieces, progress to %d", c.cfg.Role, m.Payload, err, text.Len(), done)
		}
	}
}

// A caller that asks for no stream gets the pieces of the answer in one, and
// nothing else.
func TestPiecesAreJoined(t *testing.T) {
	s, _ := connect(t, Config{}, Config{Handler: counting})
	m, err := s.Call(within(t), "count", Text("3"))
	if err != nil || string(m.Payload) != "1\n2\n3\nend" || m.Codec != CodecText {
		t.Errorf("%q %v, %v", m.Payload, m.Codec, err)
	}
}

// The codec of what is joined is the answer's, or the first piece's if the
// answer is empty.
func TestCodecOfJoinedPieces(t *testing.T) {
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	for _, x := range []struct {
		first, answer Codec
		payload       string
		want          Codec
	}{{CodecText, CodecJSON, "", CodecText}, {CodecText, CodecJSON, "1", CodecJSON}, {CodecBytes, CodecText, "", CodecBytes}} {
		o := calling(within(t), c, "x", Message{})
		id := p.next().ID
		one, two := data(id, "", []byte("[")), data(id, "", []byte("]"))
		one.Codec, two.Codec = x.first, CodecBytes
		end := result(id, []byte(x.payload))
		end.Codec = x.answer
		p.write(data(id, "other", []byte("dropped")), one, two, end)
		if o := got(t, o); o.err != nil || string(o.msg.Payload) != "[]"+x.payload || o.msg.Codec != x.want {
			t.Errorf("%q %v, %v; want %v", o.msg.Payload, o.msg.Codec, o.err, x.want)
		}
	}
}

// Joined pieces are an answer, which max_message bounds: the call is canceled
// when they become too many, and the connection goes on.
func TestJoinedPiecesAreBounded(t *testing.T) {
	var canceled atomic.Bool
	before := heap()
	endless := func(ctx context.Context, c *Call) (Message, error) {
		piece := Bytes(make([]byte, 50<<10))
		for {
			if err := c.Send(ctx, Piece{Message: piece}); err != nil {
				canceled.Store(errors.Is(err, context.Canceled))
				return Message{}, err
			}
		}
	}
	s, _ := connect(t, Config{}, Config{Handler: endless})
	_, err := s.Call(within(t), "endless", Message{})
	var ce *CallError
	if !errors.As(err, &ce) || ce.Code != ErrTooLarge || ce.Started != StartedYes || ce.Command != "endless" {
		t.Errorf("%#v", err)
	}
	eventually(t, "the handler was told", func() bool { return canceled.Load() && s.Open() == 0 })
	wantFlat(t, before)

	c, p := face(t, Supervisor, Config{Hello: Hello{MaxMessage: DefaultMaxMessage}})
	p.greet(Hello{})
	o := calling(within(t), c, "x", Message{})
	p.want(TypeCall, 1)
	for range DefaultMaxMessage / DefaultChunk / 2 {
		p.write(data(1, "", make([]byte, DefaultChunk)), data(1, "", make([]byte, DefaultChunk)))
		p.want(TypeWindow, 1)
		p.want(TypeWindow, 1)
	}
	p.write(result(1, []byte("x"))) // the answer itself is the byte too many
	wantCode(t, got(t, o).err, ErrFailed, StartedYes)
}

// DATA belongs to calls that are open.
func TestDataForNothing(t *testing.T) {
	for what, do := range map[string]func(c *Conn, p *rawPeer){
		"never made": func(_ *Conn, p *rawPeer) { p.write(data(1, "", nil)) },
		"its own":    func(_ *Conn, p *rawPeer) { p.write(call(2, "x", nil), data(2, "", nil)) },
		"answered": func(c *Conn, p *rawPeer) {
			calling(context.Background(), c, "x", Message{})
			p.want(TypeCall, 1)
			p.write(result(1, nil), data(1, "progress", []byte("{}")))
		},
		"failed": func(c *Conn, p *rawPeer) {
			calling(context.Background(), c, "x", Message{})
			p.want(TypeCall, 1)
			p.write(failure(1, "no"), data(1, "", nil))
		},
	} {
		c, p := face(t, Supervisor, Config{Handler: blockUntilDone})
		p.greet(Hello{})
		do(c, p)
		if err := ended(t, c); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "rule answer") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The consumer's error ends the call, at the callee too, and comes back as it
// is.
func TestConsumerSaysNo(t *testing.T) {
	noLeaks(t)
	told := make(chan error, 1)
	s, _ := connect(t, Config{}, Config{Handler: func(ctx context.Context, c *Call) (Message, error) {
		for {
			if err := c.Send(ctx, Piece{Message: Text("more")}); err != nil {
				told <- err
				return Message{}, err
			}
		}
	}})
	enough := errors.New("enough")
	n := 0
	_, err := s.CallStream(within(t), "x", Message{}, func(Piece) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	})
	if err != enough || n != 3 {
		t.Errorf("%d pieces, %v", n, err)
	}
	if err := <-told; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler was told %v", err)
	}
	eventually(t, "its terminal frame has come", func() bool { return s.Open() == 0 })
}

// After its CANCEL a caller drops pieces, and their terminal frame ends the
// call.
func TestPiecesAfterCancel(t *testing.T) {
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	ctx, cancel := context.WithCancel(within(t))
	seen := make(chan string, 10)
	o := streaming(ctx, c, "x", func(p Piece) error { seen <- string(p.Payload); return nil })
	p.want(TypeCall, 1)
	p.write(data(1, "", []byte("one")))
	if s := <-seen; s != "one" {
		t.Error(s)
	}
	cancel()
	wantCode(t, got(t, o).err, ErrCanceled, StartedYes)
	p.want(TypeCancel, 1)
	p.write(data(1, "", []byte("two")), data(1, "progress", nil))
	if c.Open() != 1 {
		t.Error("the call is not open")
	}
	p.write(failure(1, ErrCanceled), Frame{Header: Header{Type: TypePing}})
	p.want(TypePong, 0)
	if c.Open() != 0 || len(seen) != 0 {
		t.Errorf("%d open, %d pieces", c.Open(), len(seen))
	}
}

// A piece seen means started, whatever is said or happens later.
func TestPieceMeansStarted(t *testing.T) {
	for _, end := range []string{"lost", "error"} {
		c, p := face(t, Supervisor, Config{})
		p.greet(Hello{})
		n := 0
		o := streaming(within(t), c, "x", func(Piece) error { n++; return nil })
		p.want(TypeCall, 1)
		p.write(data(1, "", []byte("one")))
		code := ErrLost
		if end == "lost" {
			p.f.Close()
		} else {
			f := failure(1, ErrUnavailable)
			f.Payload, f.Codec = []byte(`{"started":"no"}`), CodecJSON
			p.write(f)
			code = ErrUnavailable
		}
		wantCode(t, got(t, o).err, code, StartedYes)
		if n != 1 {
			t.Errorf("%d pieces", n)
		}
	}
}

// What a handler can't send is told to it, and never reaches the peer.
func TestBadPieces(t *testing.T) {
	_, p := face(t, Worker, Config{Handler: func(ctx context.Context, c *Call) (Message, error) {
		for _, bad := range []Piece{
			{"two words", Message{}}, {strings.Repeat("n", maxName+1), Message{}}, {"", Message{Codec: 3}},
			{"", Bytes(make([]byte, DefaultChunk+1))}, {"name", Bytes(make([]byte, DefaultChunk))},
		} {
			if err := c.Send(ctx, bad); err == nil {
				return Message{}, fmt.Errorf("%q of %d bytes was sent", bad.Name, len(bad.Payload))
			}
		}
		return Text("fine"), c.Send(ctx, Piece{Message: Bytes(make([]byte, DefaultChunk))})
	}})
	p.greet(Hello{})
	p.write(call(1, "x", nil))
	if f := p.want(TypeData, 1); len(f.Payload) != DefaultChunk {
		t.Errorf("%d bytes", len(f.Payload))
	}
	if f := p.want(TypeResult, 1); string(f.Payload) != "fine" {
		t.Errorf("%s", f.Payload)
	}
}

// A piece after the answer is refused: its call is closed.
func TestPieceAfterTheAnswer(t *testing.T) {
	calls := make(chan *Call, 1)
	_, p := face(t, Worker, Config{Handler: func(ctx context.Context, c *Call) (Message, error) { calls <- c; return Message{}, nil }})
	p.greet(Hello{})
	p.write(call(1, "x", nil))
	p.want(TypeResult, 1)
	if err := (<-calls).Send(within(t), Piece{Message: Text("late")}); err == nil {
		t.Error("it was sent")
	}
	p.write(Frame{Header: Header{Type: TypePing}})
	p.want(TypePong, 0)
}

func TestRetire(t *testing.T) {
	told := make(chan string, 3)
	s, w := connect(t, Config{OnRetire: func(reason, text string) { told <- reason + "/" + text }}, Config{Handler: echo})
	if err := w.Retire("two words", ""); err == nil {
		t.Error("a reason with a space")
	}
	for _, err := range []error{w.Retire("memory", "it holds 3 GiB"), w.Retire("age", "")} {
		if err != nil {
			t.Error(err)
		}
	}
	if got := <-told; got != "memory/it holds 3 GiB" {
		t.Error(got)
	}
	if _, err := s.Call(within(t), "still", Message{}); err != nil || len(told) != 0 {
		t.Errorf("%v, and %d more", err, len(told))
	}
	if err := s.Retire("age", ""); err == nil {
		t.Error("the supervisor retires")
	}
}

// Inline handlers answer, in order, without a goroutine; what they send fits or
// fails.
func TestInline(t *testing.T) {
	s, _ := connect(t, Config{}, Config{Inline: func(c string) bool { return c != "other" }, Handler: func(ctx context.Context, c *Call) (Message, error) {
		if c.Command == "flood" {
			for n := 0; ; n++ {
				if err := c.Send(ctx, Piece{Message: Bytes(make([]byte, 60<<10))}); err != nil {
					if !errors.Is(err, ErrOverloaded) {
						return Message{}, err
					}
					return Text(fmt.Sprint(n)), nil
				}
			}
		}
		return c.Message, nil
	}})
	for _, command := range []string{"echo", "other"} {
		if m, err := s.Call(within(t), command, Text("hello")); err != nil || string(m.Payload) != "hello" {
			t.Errorf("%q, %v", m.Payload, err)
		}
	}
	n := 0
	m, err := s.CallStream(within(t), "flood", Message{}, func(Piece) error { n++; return nil })
	if err != nil || string(m.Payload) != fmt.Sprint(n) || n == 0 {
		t.Errorf("%s of %d, %v", m.Payload, n, err)
	}
}

// A stream that is given up while pieces wait has not gone well, though the
// answer has come too.
func TestStreamGivenUpBeforeItsLastPieces(t *testing.T) {
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	seen := 0
	o := streaming(ctx, c, "x", func(Piece) error {
		eventually(t, "the answer is there", func() bool { return c.Open() == 0 })
		cancel()
		seen++
		return nil
	})
	p.want(TypeCall, 1)
	p.write(data(1, "", []byte("1")), data(1, "", []byte("2")), result(1, nil))
	wantCode(t, got(t, o).err, ErrCanceled, StartedYes)
	if seen != 1 {
		t.Errorf("%d pieces were seen", seen)
	}
}

// Joined pieces are there in whole, or the call has not gone well, whenever it
// is given up.
func TestCancelRacesJoinedAnswer(t *testing.T) {
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	piece := make([]byte, 32<<10)
	for i := range 500 {
		ctx, cancel := context.WithCancel(within(t))
		o := calling(ctx, c, "x", Message{})
		f := p.next()
		for f.Type == TypeCancel { // of the last one
			f = p.next()
		}
		id := f.ID
		p.write(data(id, "", piece))
		go cancel()
		p.write(result(id, []byte("end")))
		if o := got(t, o); o.err == nil && len(o.msg.Payload) != len(piece)+3 {
			t.Fatalf("round %d: %d bytes of %d and no error", i, len(o.msg.Payload), len(piece)+3)
		}
		cancel()
	}
}
