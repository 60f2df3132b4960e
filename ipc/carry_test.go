package ipc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// journal is what a supervisor's end is told, by whichever Conn.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) config() Config {
	return Config{
		OnHello:  func(h Hello) { j.add("hello %d", h.PID) },
		OnReady:  func() { j.add("ready") },
		OnEvent:  func(e Event) { j.add("event %s %x", e.Name, sha256.Sum256(e.Payload)) },
		OnPong:   func(token uint32, _ time.Duration, p Pong) { j.add("pong %d %q", token, p.Status) },
		OnRetire: func(reason, text string) { j.add("retire %s %s", reason, text) },
		OnClose:  func(err error) { j.add("close %v", err) },
		Inline:   func(string) bool { return true },
		Handler: func(_ context.Context, c *Call) (Message, error) {
			j.add("call %s %v %x", c.Command, c.Codec, sha256.Sum256(c.Payload))
			return Bytes(c.Payload[:min(len(c.Payload), 10)]), nil
		},
	}
}

// conversation is all kinds of frames that a worker may send, after three calls
// that were given up and two pings; size is how large the large ones are.
func conversation(t *testing.T, size int) []byte {
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i % 251)
	}
	continued := func(f Frame) Frame { f.Name = nil; return f }
	var b []byte
	for _, f := range []Frame{
		helloFrame(t, Hello{PID: 7}),
		{Header: Header{Type: TypeReady}},
		{Header: Header{Type: TypePong, Arg: 1, Codec: CodecJSON}, Payload: []byte(`{"status":"one"}`)},
		call(2, "short", payload[:9]),
		more(call(4, "long", payload)),
		{Header: Header{Type: TypePing, Arg: 17}},
		data(1, "progress", payload[:50]),
		{Header: Header{Type: TypePong, Arg: 2}},
		more(continued(call(4, "", payload[:0]))),
		more(continued(call(4, "", payload))),
		{Header: Header{Type: TypeEvent}, Name: []byte("log"), Payload: payload},
		continued(call(4, "", payload[:size/2])),
		more(call(6, "empty", nil)),
		{Header: Header{Type: 99}, Name: []byte("unknown"), Payload: payload[:30]},
		continued(call(6, "", payload[:1])),
		more(result(1, payload)),
		failure(3, "no"),
		more(result(1, payload)),
		result(1, payload),
		{Header: Header{Type: TypeRetire, Codec: CodecJSON}, Name: []byte("age"), Payload: []byte(`{"text":"old"}`)},
		{Header: Header{Type: TypeRetire}, Name: []byte("again")},
		data(5, "", payload),
		call(8, "single", payload),
		result(5, nil),
		{Header: Header{Type: TypeEvent}, Name: []byte("end")},
	} {
		b = AppendFrame(b, f)
	}
	return b
}

// saidIn has a supervisor's end hear b, which is cut where the cuts are. At each
// it has read all there is, and between is called.
func saidIn(t *testing.T, b []byte, cuts []int, between func(*journal, *Conn) *Conn) (heard []string, answers map[Type][]string) {
	t.Helper()
	j := &journal{}
	c, p := face(t, Supervisor, j.config())
	p.want(TypeHello, 0)
	hello := HeaderSize + int(b[4])<<24 + int(b[5])<<16 + int(b[6])<<8 + int(b[7])
	converse := func(from, to int) {
		for at := from; at < to; {
			i, _ := slices.BinarySearch(cuts, at+1)
			end := to
			if i < len(cuts) {
				end = min(end, cuts[i])
			}
			p.bytes(b[at:end])
			if at = end; i < len(cuts) && end == cuts[i] {
				pauseAt(t, c, int64(end))
				c = between(j, c)
			}
		}
	}
	converse(0, hello)
	eventually(t, "the HELLO is read", func() bool { _, ok := c.Peer(); return ok })
	for id := uint32(1); id < 6; id += 2 {
		ctx, cancel := context.WithCancel(within(t))
		o := calling(ctx, c, "x", Message{})
		p.want(TypeCall, id)
		cancel()
		wantCode(t, got(t, o).err, ErrCanceled, StartedUnknown)
		p.want(TypeCancel, id)
	}
	for range 2 {
		if _, err := c.SendPing(); err != nil {
			t.Fatal(err)
		}
		p.want(TypePing, 0)
	}
	converse(hello, len(b))
	p.shut(unix.SHUT_WR)
	if err := ended(t, c); err.Error() != "EOF" {
		t.Fatalf("ended by %v, cut at %v", err, cuts)
	}
	answers = map[Type][]string{}
	for {
		f, err := p.read()
		if err != nil {
			break
		}
		answers[f.Type] = append(answers[f.Type], fmt.Sprint(f.ID, f.Arg, string(f.Payload)))
	}
	if n := c.Open(); n != 0 {
		t.Fatalf("%d calls are open", n)
	}
	return j.lines, answers
}

// pauseAt pauses c once it has read n bytes.
func pauseAt(t *testing.T, c *Conn, n int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d bytes are read", n), func() bool {
		pause(t, c)
		if c.got+int64(len(c.before)) == n {
			return true
		}
		c.Resume()
		return false
	})
}

// Whatever the worker has said half when the connection is carried over, or only
// paused, is heard as if nothing had been, once and in order.
func TestCarriedWithinWhatComes(t *testing.T) {
	noLeaks(t)
	resumed := func(_ *journal, c *Conn) *Conn { c.Resume(); return c }
	carried := func(j *journal, c *Conn) *Conn { return carry(t, c, j.config()) }
	twice := func(j *journal, c *Conn) *Conn {
		c = carry(t, c, j.config())
		pause(t, c)
		return carry(t, c, j.config())
	}
	check := func(t *testing.T, b []byte, cuts []int, between func(*journal, *Conn) *Conn) {
		t.Helper()
		want, answers := saidIn(t, b, nil, nil)
		heard, told := saidIn(t, b, cuts, between)
		if !slices.Equal(heard, want) {
			t.Fatalf("cut at %v, heard\n%s\nwant\n%s", cuts, strings.Join(heard, "\n"), strings.Join(want, "\n"))
		}
		if fmt.Sprint(told) != fmt.Sprint(answers) {
			t.Fatalf("cut at %v, answered %v, want %v", cuts, told, answers)
		}
	}
	small := conversation(t, 60)
	every := make([]int, len(small))
	for i := range every {
		every[i] = i + 1
	}
	t.Run("each byte", func(t *testing.T) {
		check(t, small, every, resumed)
		check(t, small, every, carried)
		check(t, small, every, twice)
	})
	large := conversation(t, 40000)
	for range 20 {
		t.Run("large", func(t *testing.T) {
			var cuts []int
			for range rand.IntN(40) + 1 {
				cuts = append(cuts, rand.IntN(len(large))+1)
			}
			for at := 0; at < len(large); { // around each header
				if rand.IntN(4) == 0 {
					cuts = append(cuts, min(len(large), max(1, at+rand.IntN(2*HeaderSize)-5)))
				}
				_, n, err := ParseFrame(large[at:], DefaultChunk)
				if err != nil {
					t.Fatal(err)
				}
				at += n
			}
			slices.Sort(cuts)
			check(t, large, slices.Compact(cuts), carried)
		})
	}
}

// Offsets of what is broken after a connection was carried over count from its
// first byte.
func TestCarriedOffsets(t *testing.T) {
	noLeaks(t)
	for _, cut := range []int{0, 1, 50, HeaderSize + 9000, HeaderSize + 9001} {
		c, p := face(t, Supervisor, Config{})
		p.greet(Hello{})
		b := AppendFrame(nil, more(call(2, "x", make([]byte, 9000))))
		b = AppendFrame(b, Frame{Header: Header{Type: TypeCall, ID: 2}})
		from := p.sent
		p.bytes(b[:cut])
		pauseAt(t, c, p.sent)
		c = carry(t, c, Config{})
		p.bytes(b[cut:])
		p.bytes([]byte("junk"))
		want := fmt.Sprintf("ipc: protocol violation at byte %d: rule magic", from+int64(len(b)))
		if err := ended(t, c); !strings.HasPrefix(err.Error(), want) {
			t.Errorf("cut at %d: %v, want %s", cut, err, want)
		}
	}
}

// What is half written, and what waits behind it, reaches the worker whole and
// in order however often the connection is carried over meanwhile.
func TestCarriedWithinWhatGoes(t *testing.T) {
	noLeaks(t)
	for _, x := range []struct{ size, step, apart int }{{1000, 1, 1}, {9000, 11, 50}, {150_000, 3000, 4000}, {400_000, 40_000, 20_000}, {4 << 20, 1 << 20, 3 << 19}} {
		t.Run(fmt.Sprint(x), func(t *testing.T) {
			payload := make([]byte, x.size)
			for i := range payload {
				payload[i] = byte(i % 251)
			}
			cfg := Config{Inline: func(string) bool { return true }, Handler: func(_ context.Context, c *Call) (Message, error) {
				return Bytes(payload[:len(payload)/2]), nil
			}}
			c, p := faceNarrow(t, Supervisor, cfg)
			p.greet(Hello{})
			heard(t, c)
			pause(t, c) // so that what is queued waits together
			ctx, cancel := context.WithCancel(within(t))
			o := calling(ctx, c, "given", Bytes(payload))
			eventually(t, "the call is queued", func() bool { return c.Waiting() == 1 })
			p.write(call(2, "answered", nil), call(4, "answered_too", nil))
			for range 3 {
				c.SendPing()
			}
			c.Resume()
			eventually(t, "the call is begun", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.calls.get(1).msg.begun })
			cancel()
			wantCode(t, got(t, o).err, ErrCanceled, StartedUnknown)
			pauseAt(t, c, p.sent)
			if err := c.Drain(time.Second); err != nil {
				t.Fatal(err)
			}
			c = carry(t, c, cfg)
			var came []byte
			buf := make([]byte, x.step)
			for drained, carried := false, 0; !drained; {
				n, err := p.f.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				p.goesOn()
				came = append(came, buf[:n]...)
				if len(came)-carried >= x.apart {
					carried = len(came)
					pause(t, c)
					c = carry(t, c, cfg)
				}
				drained = bytes.Contains(came[max(0, len(came)-n-HeaderSize):], AppendFrame(nil, Frame{Header: Header{Type: TypeDrain, Arg: 1000}}))
			}
			p.in = came
			frames := map[Type]int{}
			messages := map[uint32][]byte{}
			for {
				f, n, err := ParseFrame(p.in, DefaultChunk)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				p.in = p.in[n:]
				frames[f.Type]++
				if f.ID != 0 {
					messages[f.ID] = append(messages[f.ID], f.Payload...)
				}
			}
			if len(p.in) > 0 || frames[TypePing] != 3 || frames[TypeCancel] != 1 || frames[TypeDrain] != 1 ||
				!bytes.Equal(messages[1], payload) || !bytes.Equal(messages[2], payload[:len(payload)/2]) || !bytes.Equal(messages[4], messages[2]) {
				t.Errorf("%v, %d bytes left", frames, len(p.in))
			}
			p.write(failure(1, ErrCanceled), call(2, "again", nil))
			p.message(TypeResult, 2)
			eventually(t, "the call is over", func() bool { return c.Open() == 0 })
			if _, err := c.Call(within(t), "x", Message{}); err == nil {
				t.Error("a call was taken after DRAIN")
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.unwritten != 0 || c.serving.n != 0 || c.out.data != 0 {
				t.Errorf("%d answers, %d calls, %d bytes of DATA are counted", c.unwritten, c.serving.n, c.out.data)
			}
		})
	}
}

// What this end has told the worker of itself holds for who goes on.
func TestCarriedLimits(t *testing.T) {
	noLeaks(t)
	c, p := face(t, Supervisor, Config{Handler: echo, Hello: Hello{Chunk: 128 << 10, MaxMessage: 32 << 20, MaxInflight: 1}})
	p.greet(Hello{MaxMessage: 100})
	heard(t, c)
	long := call(2, "x", make([]byte, 100<<10))
	b := AppendFrame(nil, long)
	p.bytes(b[:1000])
	pauseAt(t, c, p.sent)
	c = carry(t, c, Config{Handler: echo})
	p.bytes(b[1000:])
	if f := p.want(TypeError, 2); string(f.Name) != string(ErrTooLarge) {
		t.Errorf("got %s", f.Name)
	}
	if _, err := c.Call(within(t), "x", Bytes(make([]byte, 101))); err == nil {
		t.Error("what the worker has said is forgotten")
	}
	idle := c.Refuse()
	<-idle
	pause(t, c)
	c = carry(t, c, Config{Handler: echo})
	p.write(call(4, "x", nil))
	if f := p.want(TypeError, 4); string(f.Name) != string(ErrUnavailable) {
		t.Errorf("got %s", f.Name)
	}
	<-c.Refuse()
}

// A call that was given up may be streamed to within the credit it had, and no
// further.
func TestCarriedCredit(t *testing.T) {
	noLeaks(t)
	for _, beyond := range []int{0, 1} {
		c, p := face(t, Supervisor, Config{})
		p.greet(Hello{})
		ctx, cancel := context.WithCancel(within(t))
		o := calling(ctx, c, "x", Message{})
		p.want(TypeCall, 1)
		p.write(data(1, "", make([]byte, 60000)))
		eventually(t, "the piece has come", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.calls.get(1).stream != nil })
		cancel()
		wantCode(t, got(t, o).err, ErrCanceled, StartedYes)
		p.want(TypeCancel, 1)
		pause(t, c)
		c = carry(t, c, Config{})
		for left := firstCredit - HeaderSize - 60000 + beyond; left > 0; left -= 60000 {
			p.write(data(1, "", make([]byte, min(left, 60000)-HeaderSize)))
		}
		if beyond == 0 {
			p.write(result(1, nil))
			eventually(t, "the call is over", func() bool { return c.Open() == 0 })
		} else if err := ended(t, c); !strings.Contains(err.Error(), "rule credit") {
			t.Error(err)
		}
	}
}

// A worker that is stopped in the middle of whatever goes on when its supervisor
// is replaced, and wakes afterwards, sees nothing of it.
func TestCarriedPastAStoppedWorker(t *testing.T) {
	noLeaks(t)
	big := Bytes(make([]byte, DefaultMaxMessage))
	for _, x := range []struct {
		what string
		when func(c *Conn) bool // the worker is stopped then, c is paused
	}{
		{"while it is sent a message", func(c *Conn) bool { return c.pause.kept != nil }},
		// more of it is to come than a socket holds
		{"while it sends one", func(c *Conn) bool { return len(c.partial.buf) > 1<<20 && len(c.partial.buf) < DefaultMaxMessage/2 }},
		{"in the middle of a frame", func(c *Conn) bool { return c.partial.direct && len(c.partial.buf) < DefaultMaxMessage/2 }},
	} {
		t.Run(x.what, func(t *testing.T) {
			c := startConn(t)
			ctx, cancel := context.WithCancel(within(t))
			if _, err := c.Call(ctx, "echo", Text("one")); err != nil {
				t.Fatal(err)
			}
			pid := c.peer.PID
			var o <-chan outcome
			for ok := false; !ok; {
				o = calling(ctx, c, "echo", big)
				for !ok && len(o) == 0 {
					pause(t, c)
					if ok = x.when(c); ok {
						unix.Kill(pid, unix.SIGSTOP)
					}
					c.Resume()
					pollerTurn() // it gets on between two pauses
				}
				if !ok {
					if o := <-o; o.err != nil {
						t.Fatal(o.err)
					}
				}
			}
			cancel()
			wantCode(t, got(t, o).err, ErrCanceled, StartedUnknown)
			for range 3 {
				if _, err := c.SendPing(); err != nil {
					t.Fatal(err)
				}
			}
			pongs := make(chan uint32, 3)
			for range 2 {
				pause(t, c)
				c = carry(t, c, Config{OnPong: func(token uint32, _ time.Duration, _ Pong) { pongs <- token }})
			}
			unix.Kill(pid, unix.SIGCONT)
			if m, err := c.Call(within(t), "go", Text("two")); err != nil || string(m.Payload) != "two" {
				t.Fatalf("%q, %v", m.Payload, err)
			}
			for i := range uint32(3) {
				if n := <-pongs; n != i+1 {
					t.Errorf("pong %d is that of %d", i+1, n)
				}
			}
			eventually(t, "the call is over", func() bool { return c.Open() == 0 })
		})
	}
}
