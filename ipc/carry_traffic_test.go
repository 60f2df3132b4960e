package ipc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sealed is a payload with a number, of about n bytes, that knows its checksum.
func sealed(number uint64, n int) []byte {
	b := make([]byte, 12+n)
	binary.BigEndian.PutUint64(b[4:], number)
	for i := 12; i < len(b); i += 97 {
		b[i] = byte(rand.Uint32())
	}
	binary.BigEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	return b
}

// opened is the number of a payload that came whole.
func opened(b []byte) (number uint64, err error) {
	if len(b) < 12 || binary.BigEndian.Uint32(b) != crc32.ChecksumIEEE(b[4:]) {
		return 0, fmt.Errorf("a payload of %d bytes is not what was sent", len(b))
	}
	return binary.BigEndian.Uint64(b[4:]), nil
}

// someSize is mostly small.
func someSize() int {
	switch n := rand.IntN(100); {
	case n < 60:
		return rand.IntN(1 << 10)
	case n < 85:
		return rand.IntN(100 << 10)
	case n < 99:
		return rand.IntN(1 << 20)
	}
	return rand.IntN(4 << 20)
}

// traffic is two ends that have no end of things to say to each other, while
// the supervisor's is paused and carried over.
type traffic struct {
	t    *testing.T
	file *os.File

	sup     *Conn // the one at the moment; who carries it over has all callers return first
	supCfg  Config
	worker  *Conn
	numbers atomic.Uint64

	mu      sync.Mutex
	reached map[uint64]int     // calls that came to the worker, by number
	ended   map[uint64]outcome // at their callers

	events, told    atomic.Uint64 // sent by the worker, and heard
	pings, pongs    atomic.Uint32 // the supervisor's
	wPings, wPongs  atomic.Uint32 // the worker's
	closes          atomic.Int32
	stop            chan struct{} // closed when the worker is to fall silent
	talkers         sync.WaitGroup
	carries, denied int
	with            [5]int // carries with given-up calls, with bytes to be used, to be written first, urgent ones, and messages
}

// pollerTurn lets others run, the runtime's poller among them: while there is
// always somebody who can run it has its turn each ten milliseconds only.
func pollerTurn() { time.Sleep(50 * time.Microsecond) }

func startTraffic(t *testing.T) *traffic {
	x := &traffic{t: t, file: scratch(t, "text"), reached: map[uint64]int{}, ended: map[uint64]outcome{}, stop: make(chan struct{})}
	p, c, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	wEnd := nonblocking(t, c)
	for _, f := range []*os.File{p, wEnd} {
		if rand.IntN(3) == 0 {
			narrow(t, f)
		}
	}
	inline := func(command string) bool { return command == "inline" }
	x.supCfg = Config{
		Role: Supervisor, Hello: taking(2), Inline: inline, Handler: x.sink,
		OnEvent: x.onEvent,
		OnPong:  func(token uint32, _ time.Duration, _ Pong) { x.inOrder(&x.pongs, token) },
		OnClose: func(error) { x.closes.Add(1) },
	}
	if x.sup, err = NewConn(p, x.supCfg); err != nil {
		t.Fatal(err)
	}
	x.worker, err = NewConn(wEnd, Config{
		Role: Worker, Hello: taking(2), Inline: inline, Handler: x.serve,
		OnPong: func(token uint32, _ time.Duration, _ Pong) { x.inOrder(&x.wPongs, token) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, talk := range []func(){x.tell, x.ask, x.ask, x.pingBack} {
		x.talkers.Go(func() {
			for {
				select {
				case <-x.stop:
					return
				default:
					talk()
				}
			}
		})
	}
	return x
}

// inOrder counts pongs, of which none may be missing.
func (x *traffic) inOrder(last *atomic.Uint32, token uint32) {
	if n := last.Add(1); n != token {
		x.t.Errorf("pong %d is that of ping %d", n, token)
	}
}

func (x *traffic) onEvent(e Event) {
	n, err := opened(e.Payload)
	if want := x.told.Add(1); err != nil || n != want {
		x.t.Errorf("event %d where %d is next, %v", n, want, err)
	}
}

// tell has the worker tell something.
func (x *traffic) tell() {
	n := x.events.Load() + 1
	switch err := x.worker.Event("seq", Bytes(sealed(n, rand.IntN(2000)))); {
	case err == nil:
		x.events.Store(n)
	case !errors.Is(err, ErrOverloaded):
		x.t.Errorf("event %d: %v", n, err)
	}
	time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond) // a pace of its own
}

// ask has the worker call.
func (x *traffic) ask() {
	command := []string{"inline", "go"}[rand.IntN(2)]
	b := sealed(0, someSize())
	m, err := x.worker.Call(within(x.t), command, Bytes(b))
	if err != nil || !bytes.Equal(m.Payload, b) {
		x.t.Errorf("the worker's call %s with %d bytes: %d came back, %v", command, len(b), len(m.Payload), err)
	}
}

func (x *traffic) pingBack() {
	if x.wPings.Load()-x.wPongs.Load() < maxPings-1 {
		x.wPings.Add(1)
		if _, err := x.worker.SendPing(); err != nil {
			x.t.Errorf("the worker's ping: %v", err)
		}
	}
	time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond) // a pace of its own
}

// sink is what the supervisor does with the worker's calls.
func (x *traffic) sink(_ context.Context, c *Call) (Message, error) {
	_, err := opened(c.Payload)
	return c.Message, err
}

// serve is what the worker does with calls.
func (x *traffic) serve(ctx context.Context, c *Call) (Message, error) {
	defer c.CloseFiles()
	n, err := opened(c.Payload)
	if err != nil {
		x.t.Errorf("%s: %v", c.Command, err)
		return Message{}, err
	}
	x.mu.Lock()
	x.reached[n]++
	x.mu.Unlock()
	answer := Message{Payload: c.Payload}
	switch c.Command {
	case "fail":
		return Message{}, &CallError{Code: "own", Message: "no"}
	case "slow":
		select {
		case <-ctx.Done():
			return Message{}, ctx.Err()
		case <-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond):
		}
	case "deaf":
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // whatever ctx says
	case "files":
		if len(c.Files) != 1 || contents(c.Files[0]) != "text" {
			x.t.Errorf("%d files came", len(c.Files))
		}
	case "stream":
		for i := range len(c.Payload) % 40 {
			if err := c.Send(ctx, Piece{"", Bytes(sealed(uint64(i), rand.IntN(20<<10)))}); err != nil {
				return Message{}, err
			}
		}
	}
	return answer, nil
}

// call has the supervisor make one call, which ctx or its own time may end.
func (x *traffic) call(ctx context.Context) {
	n := x.numbers.Add(1)
	b := sealed(n, someSize())
	command := []string{"inline", "go", "slow", "deaf", "fail", "stream", "stream", "files"}[rand.IntN(8)]
	m := Bytes(b)
	hurried := rand.IntN(3) == 0
	if hurried {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(2000))*time.Microsecond)
		defer cancel()
	}
	var err error
	switch command {
	case "files":
		m.Files = []*os.File{x.file}
		m, err = x.sup.Call(ctx, command, m)
	case "stream":
		pieces := 0
		m, err = x.sup.CallStream(ctx, command, m, func(p Piece) error {
			i, err := opened(p.Payload)
			if err != nil || i != uint64(pieces) {
				x.t.Errorf("piece %d where %d is next, %v", i, pieces, err)
			}
			pieces++
			return nil
		})
		if want := len(b) % 40; err == nil && pieces != want {
			x.t.Errorf("%d pieces of %d", pieces, want)
		}
	default:
		m, err = x.sup.Call(ctx, command, m)
	}
	x.mu.Lock()
	x.ended[n] = outcome{err: err}
	x.mu.Unlock()
	var ce *CallError
	switch {
	case err == nil && command != "fail" && bytes.Equal(m.Payload, b):
	case command == "fail" && errors.As(err, &ce) && ce.Code == "own":
	case ctx.Err() != nil && errors.Is(err, ErrCanceled), hurried && errors.Is(err, ErrTimeout): // the worker may be first to see that
	case errors.Is(err, ErrOverloaded): // those that were given up are many
	default:
		x.t.Errorf("%s with %d bytes: %d came back, %v", command, len(b), len(m.Payload), err)
	}
}

// round has the supervisor call, be paused meanwhile, and be carried over.
func (x *traffic) round() {
	ctx, cancel := context.WithCancel(within(x.t))
	defer cancel()
	var callers sync.WaitGroup
	for range rand.IntN(8) {
		calls := rand.IntN(6)
		callers.Go(func() {
			for range calls {
				x.call(ctx)
			}
		})
	}
	for range rand.IntN(6) {
		if x.pings.Load()-x.pongs.Load() < maxPings-1 {
			x.pings.Add(1)
			if _, err := x.sup.SendPing(); err != nil {
				x.t.Errorf("a ping: %v", err)
			}
		}
		pause(x.t, x.sup)
		if rand.IntN(2) == 0 {
			x.sup.State()
		}
		for range rand.IntN(20) {
			runtime.Gosched()
		}
		x.sup.Resume()
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) // so that the next pause finds it anywhere
	}
	if rand.IntN(2) == 0 {
		cancel()
	}
	callers.Wait()
	for range 1 + rand.IntN(2) {
		x.carry()
	}
}

func (x *traffic) carry() {
	for start := time.Now(); ; pollerTurn() {
		pause(x.t, x.sup)
		st, err := x.sup.State()
		if err == nil {
			x.carries++
			for i, n := range []int{len(st.Calls), len(st.In), len(st.Rest), len(st.Urgent), len(st.Queue)} {
				if n > 0 {
					x.with[i]++
				}
			}
			x.sup = carryState(x.t, x.sup, x.supCfg, throughJSON(x.t, st))
			return
		}
		x.denied++
		x.sup.Resume()
		if s := err.Error(); !strings.Contains(s, "of the worker's are at work") && !strings.Contains(s, "descriptors") {
			x.t.Errorf("State: %v", err)
			return
		}
		if time.Since(start) > longest {
			x.t.Fatalf("it is never carried over: %v", err)
		}
	}
}

// finish lets all come to its end and holds it against the law.
func (x *traffic) finish() {
	close(x.stop)
	x.talkers.Wait()
	done := func() bool {
		return x.sup.Open() == 0 && x.worker.Open() == 0 && x.told.Load() == x.events.Load() && x.pongs.Load() == x.pings.Load() && x.wPongs.Load() == x.wPings.Load()
	}
	for start := time.Now(); !done(); pollerTurn() {
		if time.Since(start) > longest {
			x.t.Fatalf("it does not end: calls %d and %d, events %d of %d, pongs %d of %d and %d of %d", x.sup.Open(), x.worker.Open(),
				x.told.Load(), x.events.Load(), x.pongs.Load(), x.pings.Load(), x.wPongs.Load(), x.wPings.Load())
		}
	}
	x.mu.Lock()
	for n, o := range x.ended {
		var ce *CallError
		switch reached := x.reached[n]; {
		case reached > 1, o.err == nil && reached != 1:
			x.t.Errorf("call %d came %d times to the worker, its outcome is %v", n, reached, o.err)
		case errors.As(o.err, &ce) && ce.Started == StartedNo && reached != 0:
			x.t.Errorf("call %d came to the worker, its outcome is %v", n, o.err)
		}
	}
	if len(x.ended) != int(x.numbers.Load()) {
		x.t.Errorf("%d calls, %d outcomes", x.numbers.Load(), len(x.ended))
	}
	x.mu.Unlock()
	if n := x.closes.Load(); n != 0 || x.worker.Err() != nil {
		x.t.Errorf("OnClose was told %d times, the worker's end ended by %v", n, x.worker.Err())
	}
	x.sup.mu.Lock()
	if x.sup.unwritten != 0 || x.sup.serving.n != 0 || x.sup.out.data != 0 || !x.sup.out.empty() {
		x.t.Errorf("%d answers, %d calls, %d bytes of DATA are counted", x.sup.unwritten, x.sup.serving.n, x.sup.out.data)
	}
	x.sup.mu.Unlock()
	x.sup.Close()
	x.worker.Close()
	if n := x.closes.Load(); n != 1 {
		x.t.Errorf("OnClose was told %d times", n)
	}
}

// Whatever goes on between the two ends, pausing and carrying the supervisor's
// over at any moment changes nothing of it: each call has one outcome and
// reaches the worker at most once, payloads are whole, what has an order keeps
// it, and no rule is broken.
func TestCarriedTraffic(t *testing.T) {
	noLeaks(t)
	for range 6 {
		x := startTraffic(t)
		for range 8 {
			x.round()
		}
		x.finish()
		t.Logf("%d calls, %d events, carried over %d times, of those with %v, denied %d times", x.numbers.Load(), x.events.Load(), x.carries, x.with, x.denied)
		if t.Failed() {
			return
		}
	}
}
