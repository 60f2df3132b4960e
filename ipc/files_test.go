package ipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// scratch is a file with text in it.
func scratch(t *testing.T, text string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}

// contents reads f from its beginning.
func contents(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func taking(n int) Hello { return Hello{FDs: n} }

// Descriptors go along with calls, pieces and answers, in order, close-on-exec;
// those of the sender stay its own.
func TestFilesTravel(t *testing.T) {
	noLeaks(t)
	handler := func(ctx context.Context, c *Call) (Message, error) {
		for _, f := range c.Files {
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				return Message{}, fmt.Errorf("%s: not close-on-exec, %v", f.Name(), err)
			}
		}
		if err := c.Send(ctx, Piece{"", Message{Files: c.Files[:1]}}); err != nil {
			return Message{}, err
		}
		return c.Message, nil // and the connection closes them
	}
	s, w := connect(t, Config{Hello: taking(16), Handler: handler}, Config{Hello: taking(16), Handler: handler})
	for _, c := range []*Conn{s, w} {
		for n := 1; n <= 16; n++ {
			var files []*os.File
			for i := range n {
				files = append(files, scratch(t, fmt.Sprint("file ", i)))
			}
			pieces := 0
			m, err := c.CallStream(within(t), "x", Message{Payload: make([]byte, n*10000), Files: files}, func(p Piece) error {
				defer p.CloseFiles()
				if pieces++; len(p.Files) != 1 || contents(p.Files[0]) != "file 0" {
					return fmt.Errorf("a piece with %d files", len(p.Files))
				}
				return nil
			})
			if err != nil || len(m.Files) != n || pieces != 1 || len(m.Payload) != n*10000 {
				t.Fatalf("%d files and %d bytes came back of %d, %d pieces, %v", len(m.Files), len(m.Payload), n, pieces, err)
			}
			for i, f := range m.Files {
				if got := contents(f); got != fmt.Sprint("file ", i) {
					t.Errorf("file %d of %d: %q", i, n, got)
				}
			}
			m.CloseFiles()
			for _, f := range files {
				if err := f.Close(); err != nil {
					t.Errorf("the sender's own was closed: %v", err)
				}
			}
		}
	}
}

// Ten thousand across and back leave none behind.
func TestManyFilesLeakNone(t *testing.T) {
	noLeaks(t)
	s, _ := connect(t, Config{Hello: taking(16)}, Config{Hello: taking(16), Handler: echo})
	var files []*os.File
	for range 10 {
		files = append(files, scratch(t, ""))
	}
	done := make(chan error)
	const callers, rounds = 4, 250
	for range callers {
		go func() {
			for range rounds {
				m, err := s.Call(within(t), "x", Message{Files: files})
				m.CloseFiles()
				if err == nil && len(m.Files) != 10 {
					err = fmt.Errorf("%d came back", len(m.Files))
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Whatever becomes of a message, its descriptors are closed: refused, dropped,
// canceled, never sent, half sent.
func TestFilesOfWhatFails(t *testing.T) {
	noLeaks(t)
	f := scratch(t, "")
	files := []*os.File{f, f, f}
	with := Message{Files: files}

	s, w := connect(t, Config{Hello: taking(16)}, Config{Hello: Hello{FDs: 2, MaxInflight: 1}, Handler: func(ctx context.Context, c *Call) (Message, error) {
		c.CloseFiles()
		return blockUntilDone(ctx, c)
	}})
	_, err := s.Call(within(t), "too many", with)
	wantCode(t, err, ErrFailed, StartedNo)
	ctx, cancel := context.WithCancel(within(t))
	o := calling(ctx, s, "held", Message{Files: files[:2]})
	eventually(t, "it is held", func() bool { n, _ := w.Inflight(); return n == 1 })
	_, err = s.Call(within(t), "overloaded", Message{Files: files[:1]})
	wantCode(t, err, ErrOverloaded, StartedNo)
	cancel()
	got(t, o)
	s.Close()
	_, err = s.Call(within(t), "late", Message{Files: files[:1]})
	wantCode(t, err, ErrLost, StartedNo)

	// In a connection that does not move: nothing of it was sent.
	c, p := faceNarrow(t, Supervisor, Config{Hello: taking(16)})
	p.greet(taking(16))
	stuck(t, c, p)
	ctx, cancel = context.WithCancel(within(t))
	o = calling(ctx, c, "withdrawn", with)
	queued(t, c, 2)
	left := calling(within(t), c, "left", with)
	queued(t, c, 3)
	cancel()
	wantCode(t, got(t, o).err, ErrCanceled, StartedNo)
	c.Close()
	wantCode(t, got(t, left).err, ErrLost, StartedNo)

	closed := make(chan bool, 1)
	_, p = face(t, Worker, Config{Hello: taking(16), Handler: func(_ context.Context, c *Call) (Message, error) {
		c.CloseFiles()
		closed <- true
		return Message{Files: []*os.File{dup(t, f)}}, nil
	}})
	p.greet(Hello{}) // takes none
	p.pass(call(1, "x", nil), f)
	<-closed
	refused(t, p.want(TypeError, 1), ErrTooLarge, "yes")
}

func dup(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "duplicate")
}

// pass writes f, which declares the files that go with its first byte.
func (p *rawPeer) pass(f Frame, files ...*os.File) {
	p.t.Helper()
	f.NFDs = uint8(len(files))
	p.smuggle(AppendFrame(nil, f), files...)
}

// smuggle writes bytes, and files with the first of them; no files where the system
// lets none through to who takes none.
func (p *rawPeer) smuggle(b []byte, files ...*os.File) {
	p.t.Helper()
	p.last = p.sent
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	control(p.t, p.f, func(fd int) error {
		n, err := unix.SendmsgN(fd, b, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		if err == unix.EPERM {
			n, err = unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL)
		}
		p.sent += int64(n)
		if err == unix.EPIPE {
			return nil
		}
		return err
	})
}

// A peer that breaks the rules of descriptors loses its connection, and this
// end none of its own.
func TestDescriptorRules(t *testing.T) {
	noLeaks(t)
	f := scratch(t, "")
	many := func(n int) []*os.File {
		var files []*os.File
		for range n {
			files = append(files, f)
		}
		return files
	}
	declared := func(f Frame, n int) Frame { f.NFDs = uint8(n); return f }
	for _, b := range []struct {
		what string
		at   int64
		take int
		do   func(p *rawPeer)
	}{
		{"none of those declared", 18, 16, func(p *rawPeer) { p.write(declared(call(1, "x", nil), 1)) }},
		{"fewer than declared", 18, 16, func(p *rawPeer) { p.smuggle(AppendFrame(nil, declared(call(1, "x", nil), 3)), many(2)...) }},
		{"more than declared", 18, 16, func(p *rawPeer) {
			p.smuggle(AppendFrame(nil, declared(call(1, "x", nil), 1)), many(2)...)
			p.write(Frame{Header: Header{Type: TypePing}})
		}},
		{"undeclared", 18, 16, func(p *rawPeer) {
			p.smuggle(AppendFrame(nil, call(1, "x", nil)), f)
			p.write(Frame{Header: Header{Type: TypePing}})
		}},
		{"with a type that takes none", 18, 16, func(p *rawPeer) {
			p.smuggle(AppendFrame(nil, Frame{Header: Header{Type: TypePing}}), f)
			p.write(Frame{Header: Header{Type: TypePing}})
		}},
		{"more than the HELLO said", 18, 2, func(p *rawPeer) { p.pass(call(1, "x", nil), many(3)...) }},
		{"any, and the HELLO said none", 18, 0, func(p *rawPeer) { p.pass(call(1, "x", nil), f) }},
		{"more than one frame may have", 0, 16, func(p *rawPeer) { p.pass(call(1, "x", nil), many(17)...) }},
		{"as many as the system passes", 0, 16, func(p *rawPeer) { p.smuggle(AppendFrame(nil, declared(call(1, "x", nil), 16)), many(253)...) }},
		{"in the middle of a frame", 0, 16, func(p *rawPeer) {
			whole := AppendFrame(nil, call(1, "x", make([]byte, 100)))
			p.bytes(whole[:50])
			p.smuggle(whole[50:60], many(9)...)
			p.smuggle(whole[60:70], many(9)...)
		}},
		{"in the middle of a frame, and the next declares them", 18, 16, func(p *rawPeer) {
			whole := AppendFrame(nil, call(1, "x", make([]byte, 100)))
			p.bytes(whole[:50])
			p.smuggle(whole[50:60], f)
			p.bytes(whole[60:])
			p.write(declared(call(3, "x", nil), 1))
		}},
	} {
		t.Run(b.what, func(t *testing.T) {
			fds := len(openFDs())
			c, p := face(t, Worker, Config{Hello: taking(b.take), Handler: func(_ context.Context, c *Call) (Message, error) {
				c.CloseFiles()
				return Message{}, nil
			}})
			p.greet(Hello{})
			b.do(p)
			var pe *ProtocolError
			if err := ended(t, c); !errors.As(err, &pe) || (pe.Rule != "fds" && pe.Rule != "nfds") {
				t.Fatalf("ended by %v", err)
			}
			if b.at != 0 && pe.Offset != p.last+b.at {
				t.Errorf("%v, want byte %d", pe, p.last+b.at)
			}
			p.f.Close()
			eventually(t, "all are closed", func() bool { return len(openFDs()) <= fds })
		})
	}
	t.Run("with a continuation", func(t *testing.T) {
		c, p := face(t, Worker, Config{Hello: taking(16), Handler: echo})
		p.greet(Hello{})
		p.pass(more(call(1, "x", nil)), f)
		p.pass(Frame{Header: Header{Type: TypeCall, ID: 1}}, f)
		wantBreach(t, c, "continuation", p.last+12)
	})
}

// Descriptors that come with bytes of a long frame alone, which is read straight
// to where it belongs, are refused there; those of the next frame are not.
func TestDescriptorsWithinALongFrame(t *testing.T) {
	noLeaks(t)
	f := scratch(t, "text")
	whole := AppendFrame(nil, call(2, "x", make([]byte, 30000)))
	next := call(4, "y", nil)
	next.NFDs = 1
	for what, x := range map[string]struct {
		with []byte // what they come with
		fine bool
	}{
		"in the middle": {whole[5000:6000], false},
		"at the end":    {whole[5000:], false},
		"with the next": {AppendFrame(slices.Clone(whole[5000:]), next), true},
	} {
		t.Run(what, func(t *testing.T) {
			seen := make(chan int, 2)
			c, p := face(t, Supervisor, Config{Hello: taking(16), Inline: func(string) bool { return true }, Handler: func(_ context.Context, c *Call) (Message, error) {
				seen <- len(c.Files)
				c.CloseFiles()
				return Message{}, nil
			}})
			p.greet(Hello{})
			p.bytes(whole[:5000])
			at := p.sent
			pauseAt(t, c, at)
			if !c.partial.direct {
				t.Fatal("it is not read straight to where it belongs")
			}
			c.Resume()
			p.smuggle(x.with, f)
			if x.fine {
				if one, two := <-seen, <-seen; one != 0 || two != 1 {
					t.Errorf("%d files with the long one, %d with the next", one, two)
				}
				return
			}
			wantBreach(t, c, "fds", at-5000)
		})
	}
}

// Descriptors belong to the frame that declares them, even if one system call
// reads several frames; half a frame waits with its own.
func TestDescriptorsFindTheirFrame(t *testing.T) {
	noLeaks(t)
	reading, held := make(chan bool), make(chan bool)
	seen := make(chan string, 10)
	c, p := face(t, Supervisor, Config{
		Hello:   taking(16),
		OnEvent: func(Event) { reading <- true; <-held },
		Handler: func(_ context.Context, c *Call) (Message, error) {
			text := c.Command
			for _, f := range c.Files {
				text += " " + contents(f)
			}
			c.CloseFiles()
			seen <- text
			return Message{}, nil
		},
		Inline: func(string) bool { return true },
	})
	p.greet(Hello{})
	one, two := scratch(t, "one"), scratch(t, "two")
	p.write(Frame{Header: Header{Type: TypeEvent}, Name: []byte("hold")})
	<-reading
	// All of this waits in the socket; what has no descriptors is read together
	// with what follows it.
	p.write(call(2, "none", nil), Frame{Header: Header{Type: 99}})
	p.pass(call(4, "first", make([]byte, 100)), one)
	p.write(call(6, "none", nil))
	half := call(8, "half", make([]byte, 100))
	half.NFDs = 2
	b := AppendFrame(nil, half)
	p.smuggle(b[:3], two, one)
	held <- true
	for _, want := range []string{"none", "first one", "none"} {
		if got := <-seen; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	p.bytes(b[3:60])
	next := call(10, "next", nil)
	next.NFDs = 1
	p.bytes(b[60:])
	p.smuggle(AppendFrame(nil, next), two)
	p.pass(Frame{Header: Header{Type: 99}}, one, two) // skipped, and closed
	p.pass(call(12, "last", nil), one)
	for _, want := range []string{"half two one", "next two", "last one"} {
		if got := <-seen; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// A frame with descriptors begins a system call of its own, so that they come
// with its first byte; pings are not held up by such frames, nor they by pings.
func TestFilesBetweenPings(t *testing.T) {
	noLeaks(t)
	c, p := faceNarrow(t, Worker, Config{Hello: taking(16)})
	p.greet(taking(16))
	f := scratch(t, "file")
	ctx, cancel := context.WithCancel(within(t))
	var calls []<-chan outcome
	stuck(t, c, p)
	for range 20 {
		calls = append(calls, calling(ctx, c, "x", Message{Payload: make([]byte, 100), Files: []*os.File{f, f}}))
		c.SendPing()
	}
	var a arrivals
	defer a.close()
	seen := map[Type]int{}
	buf := make([]byte, 0, 1<<20)
	for seen[TypeCall] < 20 || seen[TypePing] < 20 {
		n := 0
		for n == 0 {
			control(t, p.f, func(fd int) (err error) {
				if n, _, err = a.receive(fd, [][]byte{buf[len(buf) : len(buf)+4096]}, true, recvFlags); err == unix.EAGAIN {
					err = nil
				}
				return err
			})
		}
		buf = buf[:len(buf)+n]
		a.until = 1 << 40
		for {
			f, n, err := ParseFrame(append(p.in, buf...), DefaultChunk)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			buf = append(buf[:0], append(p.in, buf...)[n:]...)
			p.in = nil
			if f.NFDs == 0 && string(f.Name) != "x" && f.Type == TypeCall {
				continue // of stuck
			}
			if br := a.claim(f.Header, 0, 16); br != nil {
				t.Fatal(br)
			}
			if f.Type == TypePing && len(a.fds) != 0 {
				t.Error("descriptors came with a ping")
			}
			a.drop()
			seen[f.Type]++
		}
	}
	cancel()
	for _, o := range calls {
		got(t, o)
	}
}
