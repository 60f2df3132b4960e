package supervisor

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

// system is where the supervisor meets the operating system. A test drives the
// loop, the gates and all that a command goes through with one of its own.
type system struct {
	begin func() error // makes what Run needs
	end   func() error // gives it back, once no worker is left
	watch func()       // tells of exits and reads output, until end

	do    func(f func()) // has f, which starts a process, run soon
	after func(f func()) // has f, which does not wait, run behind the starts under way
	// start starts a process, posts Spawned before anything else of it, and has
	// exited called at its end.
	start func(id lifecycle.ID, from *launch, pl *place) (*live, error)

	last   func(*live) *ExitStatus // the last words of a process that has ended
	clear  func(*live)             // kills what one has left behind
	note   func(*live)             // puts down what one has made that could outlive it
	chance func() float64          // [0, 1)
}

// operating is the system that there is.
func (s *Supervisor) operating() system {
	return system{
		begin: s.begin, end: s.end,
		watch: func() { s.watched.Run() },
		do:    func(f func()) { s.spawner.Do(f) },
		after: func(f func()) { s.spawner.After(f) },
		start: s.startLive,
		last:  (*live).lastWords, clear: s.clearAfter,
		note:   func(l *live) { l.family.Note() },
		chance: rand.Float64,
	}
}

// link is what the supervisor needs of a worker's connection: *ipc.Conn.
type link interface {
	Call(ctx context.Context, command string, m ipc.Message) (ipc.Message, error)
	CallStream(ctx context.Context, command string, m ipc.Message, piece func(ipc.Piece) error) (ipc.Message, error)
	Ping(ctx context.Context) (time.Duration, ipc.Pong, error)
	SendPing() (uint32, error)
	Drain(grace time.Duration) error
	Peer() (ipc.Hello, bool)
	Open() int
	Done() <-chan struct{}
	Close() error
}

// handle is what it needs of the process: *process.Process.
type handle interface {
	Signal(syscall.Signal) error       // to the process group
	SignalLeader(syscall.Signal) error // to the program itself
}

var _ link = (*ipc.Conn)(nil)
