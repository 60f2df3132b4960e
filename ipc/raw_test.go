package ipc

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rawPeer is the other end of a Conn's socket, written by hand.
type rawPeer struct {
	t    *testing.T
	f    *os.File
	role Role  // the one it plays
	sent int64 // bytes written
	last int64 // where the last frame written begins
	in   []byte
}

// face joins a Conn in the given role with a rawPeer. Nothing has been written
// or read by the latter.
func face(t *testing.T, role Role, cfg Config) (*Conn, *rawPeer) {
	t.Helper()
	return faceThrough(t, role, cfg, nil)
}

// faceNarrow is face over a socket that takes a few KiB at a time.
func faceNarrow(t *testing.T, role Role, cfg Config) (*Conn, *rawPeer) {
	t.Helper()
	return faceThrough(t, role, cfg, func(f *os.File) { narrow(t, f) })
}

func faceThrough(t *testing.T, role Role, cfg Config, prepare func(*os.File)) (*Conn, *rawPeer) {
	t.Helper()
	own, other, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	end := nonblocking(t, other)
	if prepare != nil {
		prepare(end)
	}
	p := &rawPeer{t: t, f: own, role: role.peer()}
	p.goesOn()
	cfg.Role = role
	c, err := NewConn(end, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); own.Close() })
	return c, p
}

// goesOn has the time begin anew that all that p reads and writes may take.
func (p *rawPeer) goesOn() { p.f.SetDeadline(time.Now().Add(longest)) }

// narrow makes the socket's send buffer as small as the system allows.
func narrow(t *testing.T, f *os.File) {
	t.Helper()
	control(t, f, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1) })
}

func control(t *testing.T, f *os.File, do func(fd int) error) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = do(int(fd)) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}

// bytes writes b. The Conn may have ended by now.
func (p *rawPeer) bytes(b []byte) {
	p.t.Helper()
	n, err := p.f.Write(b)
	p.sent += int64(n)
	if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("raw write: %v", err)
	}
}

func (p *rawPeer) write(frames ...Frame) {
	p.t.Helper()
	for _, f := range frames {
		p.last = p.sent
		p.bytes(AppendFrame(nil, f))
	}
}

func helloFrame(t testing.TB, h Hello) Frame {
	h.Protocol = [2]int{Version, Version}
	m, err := JSON(h)
	if err != nil {
		t.Fatal(err)
	}
	return Frame{Header: Header{Type: TypeHello, Codec: CodecJSON}, Payload: m.Payload}
}

// greet exchanges HELLOs.
func (p *rawPeer) greet(h Hello) {
	p.t.Helper()
	p.write(helloFrame(p.t, h))
	if f := p.next(); f.Type != TypeHello {
		p.t.Fatalf("the first frame is %v", f.Type)
	}
}

// read returns the next frame, or what ended the stream.
func (p *rawPeer) read() (Frame, error) {
	for {
		f, n, err := ParseFrame(p.in, DefaultChunk)
		if err != nil {
			return f, err
		}
		if n > 0 {
			p.in = p.in[n:]
			return f, nil
		}
		buf := make([]byte, 32<<10)
		k, err := p.f.Read(buf)
		p.in = append(p.in[:len(p.in):len(p.in)], buf[:k]...)
		if k == 0 && err != nil {
			return f, err
		}
	}
}

func (p *rawPeer) next() Frame {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("raw read: %v", err)
	}
	return f
}

// want reads the next frame, which is of type typ and of the call id.
func (p *rawPeer) want(typ Type, id uint32) Frame {
	p.t.Helper()
	f := p.next()
	if f.Type != typ || f.ID != id {
		p.t.Fatalf("got %v %d %q, want %v %d", f.Type, f.ID, f.Name, typ, id)
	}
	return f
}

// message reads frames of type typ until the message is whole.
func (p *rawPeer) message(typ Type, id uint32) (payload []byte) {
	p.t.Helper()
	for {
		f := p.want(typ, id)
		payload = append(payload, f.Payload...)
		if f.Flags&FlagMore == 0 {
			return payload
		}
	}
}

// drained reads to the end of the stream.
func (p *rawPeer) drained() {
	p.t.Helper()
	_, err := io.Copy(io.Discard, p.f)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("raw read to the end: %v", err)
	}
}

// id is the n-th id that the peer's calls have, from 0.
func (p *rawPeer) id(n uint32) uint32 { return uint32(p.role) + 2*n }

func call(id uint32, name string, payload []byte) Frame {
	return Frame{Header: Header{Type: TypeCall, ID: id}, Name: []byte(name), Payload: payload}
}

func result(id uint32, payload []byte) Frame {
	return Frame{Header: Header{Type: TypeResult, ID: id}, Payload: payload}
}

func failure(id uint32, code Code) Frame {
	return Frame{Header: Header{Type: TypeError, ID: id}, Name: []byte(code)}
}

func more(f Frame) Frame {
	f.Flags |= FlagMore
	return f
}

// ended waits for the end of c and returns what it was.
func ended(t *testing.T, c *Conn) error {
	t.Helper()
	select {
	case <-c.Done():
		return c.Err()
	case <-within(t).Done():
		t.Fatal("the connection did not end")
		return nil
	}
}

// outcome is what came of a call.
type outcome struct {
	msg Message
	err error
}

// calling makes a call of c's and returns where its outcome will be.
func calling(ctx context.Context, c *Conn, command string, m Message) <-chan outcome {
	ch := make(chan outcome, 1)
	go func() {
		msg, err := c.Call(ctx, command, m)
		ch <- outcome{msg, err}
	}()
	return ch
}

// got waits for an outcome.
func got(t *testing.T, ch <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-ch:
		return o
	case <-within(t).Done():
		t.Fatal("the call has no outcome")
		return outcome{}
	}
}

// wantCode holds err, of a call, against the outcome it should be.
func wantCode(t *testing.T, err error, code Code, started Started) {
	t.Helper()
	var ce *CallError
	if !errors.As(err, &ce) || !errors.Is(err, code) || ce.Started != started {
		t.Fatalf("got %#v, want %s, started %v", err, code, started)
	}
}
