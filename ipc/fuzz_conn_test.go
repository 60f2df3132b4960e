package ipc

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What FuzzConn's second argument asks for.
const (
	asWorker = 1 << iota // the Conn is the worker's end
	greeted              // a HELLO goes ahead of the bytes
	withCall             // the Conn makes calls meanwhile
	split                // the bytes come one at a time, of long inputs a few
	unread               // nothing is read from the Conn before the end
	passing              // descriptors come along, and are taken
	streamed             // the calls of withCall take streams
	inlined              // handlers are inline
)

// Any bytes, to either end: the connection ends in one of three ways, each call
// has its outcome, and nothing is left behind.
func FuzzConn(f *testing.F) {
	for _, frames := range conversations {
		var b []byte
		for _, fr := range frames {
			b = AppendFrame(b, fr)
		}
		for how := range byte(32) {
			f.Add(b, how)
			f.Add(b, how|passing|streamed|inlined)
		}
		f.Add(b[:len(b)-1], byte(greeted|asWorker))
	}
	f.Add([]byte("SSH-2.0-OpenSSH\r\n"), byte(0))
	f.Fuzz(func(t *testing.T, in []byte, how byte) {
		before := takeCensus()
		role := Supervisor
		if how&asWorker != 0 {
			role = Worker
		}
		closes, closed := closeCounter()
		own, other, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		own.SetDeadline(time.Now().Add(longest))
		cfg := Config{Role: role, OnClose: closed, Handler: streamEcho, Inline: func(string) bool { return how&inlined != 0 }}
		if how&passing != 0 {
			cfg.Hello.FDs = maxFDs
		}
		c, err := NewConn(nonblocking(t, other), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var calls []<-chan outcome
		if how&withCall != 0 {
			for range 2 {
				if how&streamed != 0 {
					calls = append(calls, streaming(context.Background(), c, "open", func(p Piece) error { p.CloseFiles(); return nil }))
				} else {
					calls = append(calls, calling(context.Background(), c, "open", Text("one")))
				}
			}
		}
		converse(t, own, in, how)
		checkFuzzedEnd(t, c, len(in))
		for _, ch := range calls {
			got(t, ch).msg.CloseFiles()
		}
		own.Close()
		if told := closes.Load(); told == nil || *told != c.Err() {
			t.Fatalf("OnClose was told %v, the connection ended by %v", told, c.Err())
		}
		if leak := before.leak(); leak != "" {
			t.Fatal(leak)
		}
	})
}

// converse writes in to the peer's end of the socket and reads it to its end.
func converse(t *testing.T, f interface {
	io.ReadWriter
	SyscallConn() (syscall.RawConn, error)
}, in []byte, how byte) {
	if how&greeted != 0 {
		in = append(AppendFrame(nil, helloFrame(t, Hello{})), in...)
	}
	read := make(chan struct{})
	begin := make(chan struct{})
	go func() {
		defer close(read)
		<-begin
		io.Copy(io.Discard, f)
	}()
	if how&unread == 0 {
		close(begin)
	}
	step := max(1, len(in))
	if how&split != 0 {
		step = max(1, len(in)/1000)
	}
	for i := 0; i < len(in); {
		n, err := say(f, in[i:min(i+step, len(in))], how)
		if err != nil {
			break // the Conn has had enough
		}
		i += n
	}
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	if how&unread != 0 {
		close(begin)
	}
	<-read
}

// say writes b. Of what passes descriptors they are as many as a frame that
// begins there declares, or a few if b says so otherwise.
func say(f interface {
	io.Writer
	SyscallConn() (syscall.RawConn, error)
}, b []byte, how byte) (n int, err error) {
	fds := 0
	if len(b) > 18 && b[0] == Magic {
		fds = int(b[18])
	} else if b[0]%16 == 7 {
		fds = int(b[0] >> 6)
	}
	if how&passing == 0 || fds == 0 {
		return f.Write(b)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	rights := make([]int, min(fds, 40))
	rawErr := raw.Write(func(fd uintptr) bool {
		for i := range rights {
			rights[i] = int(fd)
		}
		n, err = unix.SendmsgN(int(fd), b, unix.UnixRights(rights...), nil, sendFlags)
		if err == unix.EPERM { // it takes none
			n, err = unix.SendmsgN(int(fd), b, nil, nil, sendFlags)
		}
		return err != unix.EAGAIN
	})
	if rawErr != nil {
		return 0, rawErr
	}
	return n, err
}

// streamEcho echoes, after a piece, and with the files that came.
func streamEcho(ctx context.Context, c *Call) (Message, error) {
	if err := c.Send(ctx, Piece{Message: Message{Payload: c.Payload[:min(len(c.Payload), 100)], Files: c.Files}}); err != nil {
		c.CloseFiles()
		return Message{}, err
	}
	return c.Message, nil
}

func checkFuzzedEnd(t *testing.T, c *Conn, n int) {
	t.Helper()
	err := ended(t, c)
	if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.Is(err, ErrProtocol) {
		t.Fatalf("ended by %v", err)
	}
	var pe *ProtocolError
	if errors.As(err, &pe) && (pe.Offset < 0 || pe.Offset > int64(n)+4096) {
		t.Fatalf("%v points beyond the %d bytes there were", pe, n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.partial.buf) > n || c.out.urgent != nil || c.out.msgs.len() != 0 || c.calls.n != 0 {
		t.Fatalf("the connection has ended and holds %d bytes of a message, %d to write, %d calls", len(c.partial.buf), len(c.out.urgent), c.calls.n)
	}
}

// conversations are what a peer may say, some of it rightly.
var conversations = [][]Frame{
	{{Header: Header{Type: TypeHello, Codec: CodecJSON}, Payload: []byte(`{"protocol":[1,1],"max_message":1,"max_inflight":1}`)}, call(1, "echo", nil)},
	{{Header: Header{Type: TypePing, Arg: 1}}, {Header: Header{Type: TypePong, Arg: 1, Codec: CodecJSON}, Payload: []byte(`{"inflight":1}`)}},
	{call(1, "echo", []byte("a")), {Header: Header{Type: TypeCancel, ID: 1}}, call(3, "echo", nil), more(call(5, "echo", []byte("b")))},
	{call(2, "echo", []byte("a")), more(call(4, "echo", []byte("b"))), call(4, "", []byte("c"))},
	{result(1, []byte("a")), more(result(3, []byte("b"))), result(3, nil)},
	{failure(2, "no"), {Header: Header{Type: TypeError, ID: 4, Codec: CodecJSON}, Name: []byte("lost"), Payload: []byte(`{"started":"no","details":[]}`)}},
	{{Header: Header{Type: TypeReady}}, {Header: Header{Type: TypeEvent, Codec: CodecText}, Name: []byte("status"), Payload: []byte("up")}},
	{{Header: Header{Type: TypeDrain, Arg: 1000}}, call(1, "echo", nil), {Header: Header{Type: TypeDrain}}},
	{data(1, "", []byte("a")), window(1, 9), data(1, "progress", []byte("{}")), result(1, nil), {Header: Header{Type: 200, Flags: FlagMust}}},
	{data(2, "", make([]byte, 60000)), data(2, "", make([]byte, 60000)), data(2, "x", make([]byte, 60000)), data(2, "", make([]byte, 60000)), data(2, "", make([]byte, 60000))},
	{call(1, "echo", []byte("a")), window(1, maxCredit), window(1, 1), {Header: Header{Type: TypeRetire}, Name: []byte("age")}},
	{{Header: Header{Type: TypeCall, ID: 1, NFDs: 2}, Name: []byte("echo"), Payload: []byte("a")}},
	{{Header: Header{Type: TypeResult, ID: 1, NFDs: 1}}, {Header: Header{Type: TypeData, ID: 3, NFDs: 16}}, {Header: Header{Type: 99, NFDs: 3}}},
	{more(call(1, "echo", make([]byte, 65000))), more(Frame{Header: Header{Type: TypeCall, ID: 1}, Payload: make([]byte, 65536)}), {Header: Header{Type: TypeCall, ID: 1}, Payload: make([]byte, 40000)}, {Header: Header{Type: TypePing}}},
}
