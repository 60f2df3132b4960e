package ipc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// trial is one connection with calls in both directions, each of a random kind,
// that dies at a random moment.
type trial struct {
	seed  uint64
	begun chan struct{} // closed when all else here is set
	ends  [2]*Conn
	runs  [][2]atomic.Int32 // by number of the call: how often it was started, at each end
	moves atomic.Int64
	doom  int64 // the move at which the connection dies
	kill  func()
	once  sync.Once
	dead  chan struct{}
}

// One call each in what its payload begins with: who made it, and its number.
func (tr *trial) key(from, n int) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(from)}, uint32(n))
}

// serve counts the start and then does what the call's number says.
func (tr *trial) serve(ctx context.Context, c *Call) (Message, error) {
	<-tr.begun
	from, n := c.Payload[0], binary.BigEndian.Uint32(c.Payload[1:])
	tr.runs[n][from].Add(1)
	if c.Command == "quick" { // it is the reader that is here
		return c.Message, nil
	}
	tr.moved()
	rng := rand.New(rand.NewPCG(tr.seed, uint64(n)))
	switch rng.IntN(11) {
	case 0:
		return Message{}, errors.New("no")
	case 1:
		return Message{}, &CallError{Code: "own", Started: StartedYes}
	case 2:
		<-ctx.Done()
		return Message{}, ctx.Err()
	case 3:
		<-ctx.Done()
		return c.Message, nil
	case 4:
		runtime.Gosched()
		return Bytes(make([]byte, rng.IntN(100<<10))), nil
	case 5:
		runtime.Goexit()
	case 6, 7, 8:
		for i := range rng.IntN(200) {
			m := Bytes(binary.BigEndian.AppendUint32(make([]byte, 0, 4+n*50), uint32(i)))
			m.Payload = m.Payload[:cap(m.Payload)]
			if err := c.Send(ctx, Piece{Message: m}); err != nil {
				return Message{}, err
			}
		}
		return Text("streamed"), nil
	}
	return c.Message, nil
}

// caller makes call n from an end and returns its outcome.
func (tr *trial) caller(from, n int, rng *rand.Rand) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch rng.IntN(4) {
	case 0:
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(rng.IntN(3000))*time.Microsecond)
		defer stop()
	case 1:
		stop := context.AfterFunc(tr.ends[1-from].ctx, cancel) // just as the peer sees the end
		defer stop()
	case 2:
		turns := rng.IntN(100)
		go func() {
			for range turns {
				runtime.Gosched()
			}
			cancel()
		}()
	}
	size := rng.IntN(2000)
	if rng.IntN(8) == 0 {
		size = rng.IntN(150 << 10)
	}
	defer tr.moved()
	command := "x"
	if rng.IntN(3) == 0 {
		command = "quick"
	}
	m := Bytes(append(tr.key(from, n), make([]byte, size)...))
	if rng.IntN(2) == 0 {
		_, err := tr.ends[from].CallInto(ctx, command, m, make([]byte, rng.IntN(1000)))
		return err
	}
	// Pieces come in order, and each that has been seen was sent by a call that
	// has started.
	seen := uint32(0)
	enough := uint32(rng.IntN(400))
	_, err := tr.ends[from].CallStream(ctx, command, m, func(p Piece) error {
		if i := binary.BigEndian.Uint32(p.Payload); i != seen {
			return fmt.Errorf("piece %d came instead of %d", i, seen)
		}
		if seen++; seen == enough {
			return &CallError{Code: ErrCanceled, Started: StartedYes}
		}
		return nil
	})
	var ce *CallError
	if seen > 0 && errors.As(err, &ce) && ce.Started != StartedYes {
		return fmt.Errorf("%d pieces were seen, and %#v", seen, ce.Started)
	}
	return err
}

// moved counts a start or an outcome; at the doomed one the connection dies.
func (tr *trial) moved() {
	if tr.moves.Add(1) == tr.doom {
		tr.die()
	}
}

func (tr *trial) die() {
	tr.once.Do(func() {
		tr.kill()
		close(tr.dead)
	})
}

// check holds an outcome against how often the call has run.
func (tr *trial) check(from, n int, err error) error {
	runs := tr.runs[n][from].Load()
	var ce *CallError
	switch {
	case runs > 1:
		return fmt.Errorf("ran %d times", runs)
	case err == nil && runs != 1:
		return fmt.Errorf("ok, and never ran")
	case err == nil:
		return nil
	case !errors.As(err, &ce):
		return fmt.Errorf("no CallError: %w", err)
	case ce.Started == StartedNo && runs != 0:
		return fmt.Errorf("it has run, but: %#v", ce)
	case ce.Started == StartedYes && runs != 1:
		return fmt.Errorf("it never ran, but: %#v", ce)
	}
	switch ce.Outcome() {
	case ErrFailed, ErrLost, ErrTimeout, ErrCanceled, ErrOverloaded:
		return nil
	}
	return fmt.Errorf("no outcome of these: %#v", ce)
}

func quick(command string) bool { return command == "quick" }

func newTrial(t *testing.T, seed uint64, calls int) *trial {
	rng := rand.New(rand.NewPCG(seed, 0))
	tr := &trial{seed: seed, runs: make([][2]atomic.Int32, calls), doom: 1 + rng.Int64N(int64(2*calls)), begun: make(chan struct{}), dead: make(chan struct{})}
	p, other, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	w := nonblocking(t, other)
	if rng.IntN(2) == 0 {
		narrow(t, p)
		narrow(t, w)
	}
	hello := Hello{MaxInflight: 1 + rng.IntN(100)}
	if tr.ends[0], err = NewConn(p, Config{Role: Supervisor, Handler: tr.serve, Hello: hello, Inline: quick}); err != nil {
		t.Fatal(err)
	}
	if tr.ends[1], err = NewConn(w, Config{Role: Worker, Handler: tr.serve, Hello: hello, Inline: quick}); err != nil {
		t.Fatal(err)
	}
	end := tr.ends[rng.IntN(2)]
	how := []int{-1, unix.SHUT_RD, unix.SHUT_WR, unix.SHUT_RDWR}[rng.IntN(4)]
	tr.kill = func() {
		if how < 0 {
			end.Close()
			return
		}
		end.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), how) })
	}
	close(tr.begun)
	return tr
}

// Each call ends in exactly one outcome, whatever happens, and "it has not
// started" is said only of calls that never ran.
func TestEveryCallHasOneOutcome(t *testing.T) {
	trials := 100
	if testing.Short() {
		trials = 20
	}
	for range trials {
		seed := rand.Uint64()
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { runTrial(t, seed) }) {
			return
		}
	}
}

// stall is when a trial is given up on which all that is left waits for its end.
const stall = 200 * time.Millisecond

func runTrial(t *testing.T, seed uint64) {
	before := takeCensus()
	const calls = 60
	tr := newTrial(t, seed, calls)
	outcomes := make([][2]error, calls)
	var wg sync.WaitGroup
	for n := range calls {
		for from := range 2 {
			rng := rand.New(rand.NewPCG(seed+1, uint64(2*n+from)))
			wg.Go(func() { outcomes[n][from] = tr.caller(from, n, rng) })
		}
	}
	over := make(chan bool)
	go func() { wg.Wait(); close(over) }()
	select {
	case <-tr.dead:
	case <-over:
		tr.die()
	case <-time.After(stall):
		tr.die()
	}
	select {
	case <-tr.ends[0].Done():
	case <-tr.ends[1].Done():
	case <-time.After(stall): // it was merely shut, and nobody had anything to say
		tr.ends[seed%2].Close()
	}
	select {
	case <-over:
	case <-within(t).Done():
		t.Fatal("calls hang")
	}
	for _, c := range tr.ends {
		ended(t, c)
	}
	if leak := before.leak(); leak != "" { // so the handlers too have returned
		t.Fatal(leak)
	}
	for n := range calls {
		for from := range 2 {
			if err := tr.check(from, n, outcomes[n][from]); err != nil {
				t.Errorf("call %d of the %v: %v", n, tr.ends[from].cfg.Role, err)
			}
		}
	}
}
