// Package worker is what a program imports to be a brood worker: it answers
// pings, serves named commands, and stops when it is told to or when its
// supervisor is gone.
//
//	func main() {
//		var w worker.Worker
//		w.Handle("greet", "say hello to somebody", func(ctx context.Context, r *worker.Request) (any, error) {
//			return "hello " + strings.Join(r.Args(), " "), nil
//		})
//		if err := w.Run(context.Background()); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// Promises: pings are answered even while every handler is busy; a drain ends
// in Run returning nil once all commands are answered; EOF on the socketpair,
// which is the death of the supervisor, ends in Run returning
// [ErrSupervisorGone] at once.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/brood/ipc"
)

// Errors of Start, Run and Wait.
var (
	// ErrNotSupervised: this process was not started by brood.
	ErrNotSupervised = errors.New("worker: not started by brood; start it with `brood run -- COMMAND`")
	// ErrSupervisorGone: the supervisor has died or let go of this worker.
	ErrSupervisorGone = errors.New("worker: the supervisor is gone")
	// ErrDrainTimeout: commands were still at work when the grace was over.
	ErrDrainTimeout = errors.New("worker: the grace for draining is over")
)

// Handler answers one command. ctx ends when the caller gives up, its time is
// over, or the supervisor is gone.
//
// What it returns is sent by type: a string as text, a []byte as bytes, an
// [ipc.Message] as it is, nil as no bytes, all else as JSON. An error is sent
// with code "error" unless it is, or wraps, an *[Error].
type Handler func(ctx context.Context, r *Request) (any, error)

// Self is who this worker is, as the supervisor has set it in the environment.
type Self struct {
	Name       string // web/2
	Pool       string
	Slot       int
	Generation uint64
	Socket     string // the control socket, or ""
}

// Worker is a worker. The zero value is ready to use; the exported fields are
// set before Start.
type Worker struct {
	// MaxInflight is how many commands are served at once; further ones are
	// refused with "overloaded". 0: 64.
	MaxInflight int

	commands []ipc.CommandInfo
	handlers map[string]Handler
	inline   map[string]ipc.Handler
	conn     *ipc.Conn
	self     Self
	status   atomic.Pointer[string]
	beat     atomic.Int64 // nanoseconds since epoch of the process; 0: never
	draining chan struct{}
	drain    sync.Once          // closes draining
	grace    chan time.Duration // has room for one: what the supervisor has said last, until Wait heeds it
}

// epoch makes beats monotonic.
var epoch = time.Now()

// Handle registers a command. It panics if the name is no name, is taken, or
// the worker has started: these are faults of the program.
func (w *Worker) Handle(name, help string, h Handler) {
	switch {
	case !ipc.ValidName(name):
		panic(fmt.Sprintf("worker: command name %q: 1 to 255 bytes of printable ASCII without spaces", name))
	case w.handlers[name] != nil:
		panic(fmt.Sprintf("worker: command %q is registered twice", name))
	case w.conn != nil:
		panic(fmt.Sprintf("worker: command %q is registered after Start", name))
	}
	if w.handlers == nil {
		w.handlers = map[string]Handler{}
	}
	w.handlers[name] = h
	w.commands = append(w.commands, ipc.CommandInfo{Name: name, Help: help})
}

// HandleInline registers a command that is so quick that it need not have a
// goroutine of its own: it is run by what reads the connection, and while it
// runs no ping is answered and no other command begun. So it must not wait for
// anything: no lock that is held for long, no file, no network, no call. Its
// ctx ends with the connection only, and the call and its payload are valid
// until it returns. It allocates nothing but what h does.
func (w *Worker) HandleInline(name, help string, h ipc.Handler) {
	w.Handle(name, help, func(ctx context.Context, r *Request) (any, error) { return h(ctx, r.call) })
	if w.inline == nil {
		w.inline = map[string]ipc.Handler{}
	}
	w.inline[name] = h
}

// Run is Start, Ready and Wait.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.Start(); err != nil {
		return err
	}
	if err := w.Ready(); err != nil {
		return err
	}
	return w.Wait(ctx)
}

// Start takes the connection up and says HELLO. Commands may come from now on,
// but the supervisor waits for Ready before it sends any.
func (w *Worker) Start() error {
	if w.conn != nil {
		return errors.New("worker: started twice")
	}
	f, err := attach()
	if err != nil {
		return err
	}
	w.self = selfFromEnv()
	w.draining, w.grace = make(chan struct{}), make(chan time.Duration, 1)
	_, err = ipc.NewConn(f, ipc.Config{
		Role:   ipc.Worker,
		OnOpen: func(c *ipc.Conn) { w.conn = c },
		Hello: ipc.Hello{
			PID: os.Getpid(), SDK: "brood-go/" + version(), Commands: w.commands, MaxInflight: w.MaxInflight, FDs: maxFiles,
		},
		Handler: w.serve,
		Inline:  func(command string) bool { return w.inline[command] != nil },
		Pong:    w.pong,
		OnDrain: w.onDrain,
	})
	return err
}

// maxFiles is how many descriptors a command may bring along: as many as the
// protocol knows.
const maxFiles = 16

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == "example.com/brood" && m.Version != "" && m.Version != "(devel)" {
				return m.Version
			}
		}
	}
	return "devel"
}

// Self is who this worker is. It is zero before Start.
func (w *Worker) Self() Self { return w.self }

func selfFromEnv() Self {
	slot, _ := strconv.Atoi(os.Getenv("BROOD_SLOT"))
	generation, _ := strconv.ParseUint(os.Getenv("BROOD_GENERATION"), 10, 64)
	return Self{
		Name: os.Getenv("BROOD_WORKER"), Pool: os.Getenv("BROOD_POOL"),
		Slot: slot, Generation: generation, Socket: os.Getenv("BROOD_SOCKET"),
	}
}

// Ready says that this worker serves from now on.
func (w *Worker) Ready() error { return w.conn.Ready() }

// maxStatus is in bytes. A status goes along with each answer to a ping.
const maxStatus = 1024

// Status sets the line that `brood status` shows for this worker: its first
// 1024 bytes, or fewer where that would cut a character in two.
func (w *Worker) Status(text string) error {
	if len(text) > maxStatus {
		text = strings.ToValidUTF8(text[:maxStatus], "")
	}
	w.status.Store(&text)
	return w.conn.Event("status", ipc.Text(text))
}

// Event tells the supervisor something; v is sent by type as a handler's
// answer is.
func (w *Worker) Event(name string, v any) error {
	m, err := message(v)
	if err != nil {
		return err
	}
	return w.conn.Event(name, m)
}

// Retire asks the supervisor to replace this worker: reason is "count", "age",
// "memory" or the program's own words. It goes on serving until it is drained,
// which is once another is ready where the pool can do that.
func (w *Worker) Retire(reason string) error {
	if ipc.ValidName(reason) {
		return w.conn.Retire(reason, "")
	}
	return w.conn.Retire("requested", reason)
}

// Beat says that the main loop moves. A worker that has ever called it is
// *progressing* only as long as it goes on doing so.
func (w *Worker) Beat() { w.beat.Store(max(1, int64(time.Since(epoch)))) }

// Call sends a command to the supervisor's own handler.
func (w *Worker) Call(ctx context.Context, command string, v any) (ipc.Message, error) {
	m, err := message(v)
	if err != nil {
		return ipc.Message{}, err
	}
	return w.conn.Call(ctx, command, m)
}

// Draining is closed when the supervisor has asked this worker to finish. It
// is nil before Start.
func (w *Worker) Draining() <-chan struct{} { return w.draining }

func (w *Worker) beginDrain() { w.drain.Do(func() { close(w.draining) }) }

// onDrain is told of each DRAIN, by the connection's reader. A later one changes
// the grace; 0 says none.
func (w *Worker) onDrain(grace time.Duration) {
	if grace > 0 {
		select {
		case <-w.grace: // Wait has not looked, and the last word counts
		default:
		}
		w.grace <- grace
	}
	w.beginDrain()
}

// defaultGrace is for a drain that comes from ctx rather than the supervisor.
const defaultGrace = 10 * time.Second

// Wait serves until the supervisor asks to drain or ctx ends, then until the
// commands at work are answered: nil. It returns ErrDrainTimeout when they are
// not in time, and ErrSupervisorGone when the connection ended first.
func (w *Worker) Wait(ctx context.Context) error {
	defer w.conn.Close()
	var grace time.Duration
	select {
	case <-w.conn.Done():
		return w.gone()
	case <-ctx.Done():
		grace = defaultGrace
		w.beginDrain()
	case <-w.draining:
	}
	over := time.NewTimer(defaultGrace)
	defer over.Stop()
	if grace == 0 {
		over.Stop()
	}
	idle := w.conn.Refuse()
	for {
		select {
		case <-idle:
			if err := w.conn.Err(); err != nil {
				return w.gone()
			}
			return nil
		case grace = <-w.grace:
			over.Reset(grace)
		case <-over.C:
			n, _ := w.conn.Inflight()
			return fmt.Errorf("%w: %d commands did not finish within %v", ErrDrainTimeout, n, grace)
		}
	}
}

func (w *Worker) gone() error { return fmt.Errorf("%w: %w", ErrSupervisorGone, w.conn.Err()) }

func (w *Worker) pong() ipc.Pong {
	var p ipc.Pong
	if beat := w.beat.Load(); beat != 0 {
		ms := (time.Since(epoch) - time.Duration(beat)).Milliseconds()
		p.BeatMS = &ms
	}
	if s := w.status.Load(); s != nil {
		p.Status = *s
	}
	return p
}

// serve is the connection's handler.
func (w *Worker) serve(ctx context.Context, c *ipc.Call) (ipc.Message, error) {
	if h := w.inline[c.Command]; h != nil {
		m, err := h(ctx, c)
		if err != nil {
			err = wireError(err)
		}
		return m, err
	}
	h := w.handlers[c.Command]
	if h == nil {
		c.CloseFiles()
		return ipc.Message{}, &ipc.CallError{
			Code: ipc.ErrUnknownCommand, Started: ipc.StartedNo,
			Message: fmt.Sprintf("this worker has no command %q; it has %s", c.Command, w.names()),
		}
	}
	v, err := h(ctx, &Request{Command: c.Command, Message: c.Message, ctx: ctx, call: c})
	if err != nil {
		return ipc.Message{}, wireError(err)
	}
	return message(v)
}

func (w *Worker) names() string {
	if len(w.commands) == 0 {
		return "none"
	}
	var b []byte
	for i, c := range w.commands {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, c.Name...)
	}
	return string(b)
}

func wireError(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	out := &ipc.CallError{Code: ipc.Code(e.Code), Message: e.Message, Started: ipc.StartedYes}
	if e.Details != nil {
		details, jerr := json.Marshal(e.Details)
		if jerr != nil {
			out.Message += fmt.Sprintf(" (details left out: %v)", jerr)
		} else {
			out.Details = details
		}
	}
	return out
}

func message(v any) (ipc.Message, error) {
	switch v := v.(type) {
	case nil:
		return ipc.Message{}, nil
	case string:
		return ipc.Text(v), nil
	case []byte:
		return ipc.Bytes(v), nil
	case ipc.Message:
		return v, nil
	}
	return ipc.JSON(v)
}
