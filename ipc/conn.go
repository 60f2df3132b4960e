package ipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config is how one end behaves. The functions are called one at a time by the
// connection's reader: they must not block, and not call Close.
type Config struct {
	Role  Role  // which end this is
	Hello Hello // what it says of itself; zero limits are the defaults

	Handler Handler // answers the peer's calls; nil: ErrUnknownCommand
	// Inline says which commands the reader itself runs the Handler for, rather
	// than a goroutine: those that wait for nothing, since all else waits for
	// them. Their ctx ends with the connection only. It is asked once for each
	// command. nil: none.
	Inline func(command string) bool
	Pong   func() Pong // beat and status for a PONG, the rest is filled in; nil: none

	// OnOpen is given the connection before anything is read.
	OnOpen  func(*Conn)
	OnHello func(Hello)               // the peer's HELLO, limits filled in
	OnReady func()                    // supervisor only
	OnEvent func(Event)               // supervisor only; Payload is valid until it returns
	OnDrain func(grace time.Duration) // worker only; new calls are refused already
	// OnRetire is told, once, that the worker asks to be replaced. Supervisor only.
	OnRetire func(reason, text string)
	// OnPong answers SendPing.
	OnPong func(token uint32, rtt time.Duration, p Pong)
	// OnClose is called exactly once, after all the others, with what ended the
	// connection: io.EOF, io.ErrUnexpectedEOF in the middle of something,
	// ErrClosed, a *ProtocolError or a socket's error.
	OnClose func(error)
}

// ErrClosed is what ended a connection that this end closed.
var ErrClosed = errors.New("ipc: connection closed")

// Conn is one end of a connection. All methods may be called from any
// goroutine.
type Conn struct {
	cfg  Config
	file *os.File // closed by end, once
	raw  syscall.RawConn

	ctx    context.Context // ends with the connection; parent of every handler's
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when reader and writer have returned
	wg     sync.WaitGroup

	maxMessage  int // bytes accepted of one message
	maxInflight int // calls accepted at once
	chunk       uint32

	greeted chan struct{} // closed when peer is set

	reading             // the reader's
	sender  sender      // the writer's, whoever that is
	crowded atomic.Bool // many are served at once: who writes waits for others to join

	mu        sync.Mutex
	err       error // what ended the connection; nil while it lives
	peer      Hello // valid once greeted is closed
	nextID    uint32
	calls     table[pending] // ours, until their terminal frame
	serving   table[serving] // the peer's, until their terminal frame
	unwritten int            // answers of inline handlers that are not among serving and not yet written
	drained   bool           // DRAIN was queued: no calls of ours any more
	refusing  bool           // new calls are answered with ErrUnavailable
	idle      chan struct{}  // closed while refusing and nothing is served; nil before
	pings     []ping         // sent and not answered, oldest first
	lastPing  uint32         // token
	clock     clock
	out       outbox
	pause     *pausing // nil: it is not paused, nor about to be
}

// maxOpen bounds the calls of this end that are open at once, whatever the
// peer would accept.
const maxOpen = 1 << 16

// NewConn says HELLO and starts reading. It takes f over, a non-blocking
// stream socket, and closes it when the connection ends.
func NewConn(f *os.File, cfg Config) (*Conn, error) {
	if cfg.Role != Supervisor && cfg.Role != Worker {
		f.Close()
		return nil, fmt.Errorf("ipc: Config.Role is %v; set it to Supervisor or Worker", cfg.Role)
	}
	cfg.Hello = cfg.Hello.withDefaults()
	hello, err := cfg.Hello.encode()
	if err != nil {
		f.Close()
		return nil, err
	}
	c, err := makeConn(f, cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Role == Worker {
		c.raw.Control(func(fd uintptr) { c.spell.prepare(int(fd)) })
	}
	c.nextID = uint32(cfg.Role) // supervisor 1, 3, 5 …; worker 2, 4, 6 …
	c.out.urgent = AppendFrame(nil, Frame{Header: Header{Type: TypeHello, Codec: CodecJSON}, Payload: hello})
	if cfg.OnOpen != nil {
		cfg.OnOpen(c)
	}
	c.flush()
	go c.readLoop()
	return c, nil
}

// makeConn makes a Conn that neither reads nor writes yet. Its HELLO has all its
// limits.
func makeConn(f *os.File, cfg Config) (*Conn, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("ipc: %w", err)
	}
	c := &Conn{
		cfg: cfg, file: f, raw: raw,
		done:    make(chan struct{}),
		greeted: make(chan struct{}),
		// What the peer may send before it has read this end's HELLO is bounded
		// by the defaults, so they are accepted in any case.
		maxMessage:  max(cfg.Hello.MaxMessage, DefaultMaxMessage),
		maxInflight: cfg.Hello.MaxInflight,
		chunk:       uint32(cfg.Hello.Chunk),
	}
	c.sender.try, c.reading.try = c.trySend, c.tryRead
	raw.Control(func(fd uintptr) { c.prepareBrief(int(fd)) })
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.wg.Add(1) // the reader
	return c, nil
}

// Peer is what the other end said in its HELLO, limits filled in; false before
// it has come.
func (c *Conn) Peer() (Hello, bool) {
	select {
	case <-c.greeted:
		return c.peer, true
	default:
		return Hello{}, false
	}
}

// Done is closed when the connection has ended and OnClose has returned.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is what ended the connection, nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection at once and waits until its reader and writer have
// returned. Handlers still running have had their context canceled; they are
// not waited for. It ends a pause too.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	c.Resume() // the reader of one that was paused calls OnClose
	<-c.done
	return nil
}

// end closes the descriptor and ends every open call, once.
func (c *Conn) end(cause error) {
	if !c.endCalls(cause) {
		return
	}
	c.raw.Control(func(fd uintptr) { // a reader that waits in the kernel is woken
		unix.Shutdown(int(fd), unix.SHUT_RD)
	})
	c.file.Close()
}

// endCalls is what end does besides closing. False: it has been done.
func (c *Conn) endCalls(cause error) bool {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return false
	}
	c.err = cause
	calls := c.calls
	c.calls = table[pending]{}
	fds := c.out.drop()
	c.settleIdle()
	calls.each(func(_ uint32, p *pending) {
		c.out.letGo(&p.msg)
		if !p.given {
			p.done = true
			p.settle(answer{err: lost(p, cause)}, 0)
		}
	})
	var atWork []*Call
	c.serving.each(func(_ uint32, s *serving) { atWork = append(atWork, s.call) })
	if c.clock.timer != nil {
		c.clock.timer.Stop()
	}
	kept := c.dropKept()
	c.mu.Unlock()
	closeFDs(fds)
	if kept != nil {
		kept.giveBack()
	}
	c.cancel(cause)
	for _, call := range atWork {
		call.ctx.end(context.Canceled)
	}
	return true
}

// millis is d in milliseconds, rounded up.
func millis(d time.Duration) uint32 {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return uint32(min(max(ms, 0), 1<<32-1))
}

func ctxCode(ctx context.Context) Code {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrTimeout
	}
	return ErrCanceled
}

// decodeJSON reads a frame's JSON object; no payload leaves v as it is.
func decodeJSON(f Frame, v any) *breach {
	if len(f.Payload) == 0 {
		return nil
	}
	err := json.Unmarshal(f.Payload, v)
	if err == nil && bytes.TrimLeft(f.Payload, " \t\r\n")[0] != '{' {
		err = errors.New("not an object")
	}
	if err != nil {
		return broke("json", HeaderSize+len(f.Name), "%v: %v", f.Type, err)
	}
	return nil
}
