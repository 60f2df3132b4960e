package ipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Config is how one end behaves. The functions are called one at a time by the
// connection's reader: they must not block, and not call Close.
type Config struct {
	Role  Role  // which end this is
	Hello Hello // what it says of itself; zero limits are the defaults

	Handler Handler // answers the peer's calls; nil: ErrUnknownCommand
	// Inline says which commands the reader itself runs the Handler for, rather
	// than a goroutine: those that wait for nothing. Their ctx ends with the
	// connection only. nil: none.
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

	// Owned by the reader.
	read    int64 // bytes before the frame at hand
	partial assembly
	arrived arrivals
	retired bool // OnRetire was told

	mu       sync.Mutex
	err      error // what ended the connection; nil while it lives
	peer     Hello // valid once greeted is closed
	nextID   uint32
	calls    map[uint32]*pending // ours, until their terminal frame
	serving  map[uint32]*serving // the peer's, until their terminal frame
	drained  bool                // DRAIN was queued: no calls of ours any more
	refusing bool                // new calls are answered with ErrUnavailable
	idle     chan struct{}       // closed while refusing and nothing is served; nil before
	pings    []ping              // sent and not answered, oldest first
	lastPing uint32              // token
	out      outbox
}

// ping is one that waits for its PONG.
type ping struct {
	token uint32
	at    time.Time
	wait  chan<- pongAt // nil: OnPong is told
}

type pongAt struct {
	rtt  time.Duration
	pong Pong
}

// maxPings bounds what is remembered of SendPing's pings that nobody answers.
const maxPings = 32

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
		calls:       map[uint32]*pending{},
		serving:     map[uint32]*serving{},
	}
	c.nextID = uint32(cfg.Role) // supervisor 1, 3, 5 …; worker 2, 4, 6 …
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.wg.Add(1)
	c.out.urgent = AppendFrame(nil, Frame{Header: Header{Type: TypeHello, Codec: CodecJSON}, Payload: hello})
	if cfg.OnOpen != nil {
		cfg.OnOpen(c)
	}
	c.flush()
	go c.readLoop()
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
// not waited for.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	<-c.done
	return nil
}

// end closes the descriptor and ends every open call, once.
func (c *Conn) end(cause error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = cause
	calls := c.calls
	c.calls = nil
	fds := c.out.drop()
	c.settleIdle()
	for _, p := range calls {
		if !p.given {
			p.settle(answer{err: lost(p, cause)}, 0)
		}
	}
	c.mu.Unlock()
	closeFDs(fds)
	c.cancel(cause)
	c.file.Close()
}

// Ready tells the supervisor that this worker serves from now on.
func (c *Conn) Ready() error { return c.control(Header{Type: TypeReady}) }

// Drain asks the worker to take no new work, finish and exit within grace. It
// goes behind the calls that are queued, and later ones are refused here: none
// may reach a worker that has finished and is about to exit.
func (c *Conn) Drain(grace time.Duration) error {
	return c.queue(TypeDrain, func(o *outbox) bool {
		c.drained = true // under mu, as queue says
		o.msgs = append(o.msgs, &outgoing{Header: Header{Type: TypeDrain, Arg: millis(grace)}})
		return true
	})
}

// Event tells the supervisor something, in the order of events and answers. It
// fails with ErrOverloaded when 256 KiB of events wait to be written.
func (c *Conn) Event(name string, m Message) error {
	size := len(name) + len(m.Payload)
	switch {
	case !ValidName(name):
		return fmt.Errorf("ipc: event name %q: 1 to %d bytes of printable ASCII without spaces", name, maxName)
	case m.Codec > CodecText:
		return fmt.Errorf("ipc: event %s: %v", name, m.Codec)
	case size > DefaultChunk:
		return &CallError{Code: ErrTooLarge, Message: fmt.Sprintf("an event of %d bytes, at most %d", size, DefaultChunk), Started: StartedNo}
	}
	return c.tell(TypeEvent, name, m)
}

// Retire asks the supervisor to replace this worker. reason is count, age,
// memory or the worker's own; text says more, or is empty. The worker goes on
// serving until it is drained. A second request changes nothing.
func (c *Conn) Retire(reason, text string) error {
	if !ValidName(reason) {
		return fmt.Errorf("ipc: reason %q: 1 to %d bytes of printable ASCII without spaces", reason, maxName)
	}
	var m Message
	if text != "" {
		m, _ = JSON(retirement{shorten(text)}) // a string always encodes
	}
	return c.tell(TypeRetire, reason, m)
}

// retirement is the payload of RETIRE.
type retirement struct {
	Text string `json:"text,omitempty"`
}

// tell queues an EVENT or a RETIRE behind the answers.
func (c *Conn) tell(t Type, name string, m Message) error {
	e := &outgoing{Header: Header{Type: t, Codec: m.Codec}, name: []byte(name), payload: bytes.Clone(m.Payload)}
	return c.queue(t, func(o *outbox) bool {
		if o.events+len(m.Payload) > maxEvents {
			return false
		}
		o.events += len(m.Payload)
		o.msgs = append(o.msgs, e)
		return true
	})
}

// Ping measures a round trip. The answer comes from the peer's reader, so it
// says that the process runs, not that its commands do.
func (c *Conn) Ping(ctx context.Context) (time.Duration, Pong, error) {
	wait := make(chan pongAt, 1)
	token, err := c.sendPing(wait)
	defer c.takePing(token)
	if err != nil && c.Err() == nil {
		return 0, Pong{}, err
	}
	select {
	case p := <-wait:
		return p.rtt, p.pong, nil
	case <-ctx.Done():
		return 0, Pong{}, &CallError{Code: ctxCode(ctx), Message: "no answer to a ping"}
	case <-c.ctx.Done():
		return 0, Pong{}, &CallError{Code: ErrLost, Message: "the connection ended: " + context.Cause(c.ctx).Error()}
	}
}

// SendPing sends a ping and returns its token; OnPong is called with it when
// the answer comes, if it comes. It fails with ErrOverloaded when the peer has
// not read for so long that there is no room.
func (c *Conn) SendPing() (token uint32, err error) { return c.sendPing(nil) }

func (c *Conn) sendPing(wait chan<- pongAt) (uint32, error) {
	c.mu.Lock()
	c.lastPing++
	token := c.lastPing
	if wait == nil {
		c.dropOldPing()
	}
	c.pings = append(c.pings, ping{token, time.Now(), wait})
	c.mu.Unlock()
	return token, c.control(Header{Type: TypePing, Arg: token})
}

// dropOldPing makes room for one more of SendPing's. Those that are waited for
// are as many as their callers. The caller holds mu.
func (c *Conn) dropOldPing() {
	oldest, n := 0, 0
	for i, p := range slices.Backward(c.pings) {
		if p.wait == nil {
			oldest = i
			n++
		}
	}
	if n >= maxPings {
		c.pings = slices.Delete(c.pings, oldest, oldest+1)
	}
}

// takePing removes a ping from those that wait; false: it was not there.
func (c *Conn) takePing(token uint32) (ping, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.pings, func(p ping) bool { return p.token == token })
	if i < 0 {
		return ping{}, false
	}
	p := c.pings[i]
	c.pings = slices.Delete(c.pings, i, i+1)
	return p, true
}

// onPong pairs an answer with its ping. One nobody waits for is dropped: it
// came after its time.
func (c *Conn) onPong(token uint32, p Pong) {
	now := time.Now()
	sent, ok := c.takePing(token)
	switch {
	case !ok:
	case sent.wait != nil:
		sent.wait <- pongAt{now.Sub(sent.at), p}
	case c.cfg.OnPong != nil:
		c.cfg.OnPong(token, now.Sub(sent.at), p)
	}
}

// control sends a frame without a body, ahead of all waiting messages.
func (c *Conn) control(h Header) error {
	return c.queue(h.Type, func(o *outbox) bool {
		if !o.room(HeaderSize, maxOwn) {
			return false
		}
		o.urgent = h.append(o.urgent)
		return true
	})
}

// queue has put, which reports whether there was room, queue a frame of type t
// and sends it.
func (c *Conn) queue(t Type, put func(*outbox) bool) error {
	if from := shapes[t].from; from != 0 && from != c.cfg.Role {
		return fmt.Errorf("ipc: %v is not the %v's to send", t, c.cfg.Role)
	}
	c.mu.Lock()
	err := c.err
	if err != nil {
		err = fmt.Errorf("ipc: %v not sent: %w", t, err)
	} else if !put(&c.out) {
		err = &CallError{Code: ErrOverloaded, Message: t.String() + " not sent: the peer does not read", Started: StartedNo}
	}
	c.mu.Unlock()
	c.flush()
	return err
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
