package supervisor

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/process"
)

// simProcess is a process that is none. What is asked of it is noted down, and
// what it makes of that is the world's to decide, which alone changes it.
type simProcess struct {
	w     *world
	l     *live
	id    lifecycle.ID
	alive atomic.Bool
	link  *simLink

	going    bool // it has been asked to go, and will
	killed   bool
	plain    bool // it will never say HELLO
	stubborn bool // it ignores all but SIGKILL
}

func (p *simProcess) Signal(sig syscall.Signal) error {
	if !p.alive.Load() {
		return process.ErrEnded
	}
	if p.w.sabotage().deafToKill && sig == syscall.SIGKILL {
		return nil
	}
	p.w.ask(func() { p.signalled(sig) })
	return nil
}

func (p *simProcess) SignalLeader(sig syscall.Signal) error { return p.Signal(sig) }

// signalled: it goes, sooner or later, unless it is stubborn.
func (p *simProcess) signalled(sig syscall.Signal) {
	w := p.w
	switch {
	case !p.alive.Load():
	case sig == syscall.SIGKILL && !p.killed:
		p.killed = true
		wait := w.upTo(20 * time.Millisecond)
		if w.odds(50) { // in the kernel's hands
			wait = w.upTo(20 * time.Second)
		}
		w.later(wait, func() { p.exit(process.Exit{Code: -1, Signal: syscall.SIGKILL}) })
	case sig != syscall.SIGKILL && !p.stubborn && !p.going:
		p.going = true
		w.later(w.upTo(2*time.Second), func() { p.exit(process.Exit{Code: -1, Signal: sig}) })
	}
}

// drained: it goes once it has done what it has, or does not hear.
func (p *simProcess) drained(grace time.Duration) {
	w := p.w
	if !p.alive.Load() || p.stubborn || w.odds(8) || p.going {
		return
	}
	p.going = true
	var leave func()
	tries := 0
	leave = func() {
		if tries++; p.link.Open() > 0 && tries < 20 {
			w.later(w.upTo(grace/8), leave)
			return
		}
		p.exit(process.Exit{})
	}
	w.later(w.upTo(grace/2), leave)
}

// exit is its end. What it says after that is late.
func (p *simProcess) exit(e process.Exit) {
	if !p.alive.Swap(false) {
		return
	}
	w := p.w
	delete(w.alive, p)
	p.link.end()
	if w.sabotage().forgetsExit && w.odds(20) {
		w.untold = append(w.untold, p)
		return
	}
	w.s.exited(p.l, e)
	for w.odds(3) {
		w.later(2*simClear+w.upTo(10*time.Second), func() { w.lateWord(p) }) // its end is known by then
	}
}

// live is what it does from its start on.
func (p *simProcess) lives() {
	w := p.w
	p.plain, p.stubborn = w.odds(8), w.odds(10)
	if w.odds(w.trouble) { // it dies while it starts
		w.later(w.upTo(time.Second), func() { p.exit(process.Exit{Code: w.rng.IntN(3)}) })
	}
	if w.odds(w.trouble) { // it dies one day
		w.later(w.upTo(5*time.Minute), func() { p.exit(process.Exit{Code: w.rng.IntN(3)}) })
	}
	if p.plain {
		return
	}
	hello := w.upTo(500 * time.Millisecond)
	if w.odds(w.trouble) {
		hello = w.upTo(5 * time.Second)
	}
	w.later(hello, func() {
		p.link.greeted.Store(true)
		p.say(lifecycle.Greeted{ID: p.id})
	})
	if w.odds(w.trouble) {
		return // it is never ready
	}
	ready := hello + w.upTo(time.Second)
	w.later(ready, func() { p.say(lifecycle.SaidReady{ID: p.id}) })
	if w.odds(w.trouble) { // it breaks the protocol, or hangs up, one day
		w.later(ready+w.upTo(time.Minute), func() {
			p.say(lifecycle.HungUp{ID: p.id, Breach: w.odds(2), Reason: "as it likes"})
		})
	}
	if w.odds(w.trouble) {
		w.later(ready+w.upTo(time.Minute), func() { p.say(lifecycle.SaidStopping{ID: p.id}) })
	}
	if w.odds(w.trouble) {
		w.later(w.upTo(time.Minute), func() { p.say(lifecycle.Due{ID: p.id, Why: "it asks to be replaced"}) })
	}
}

// say tells the loop, sometimes twice, if it lives.
func (p *simProcess) say(ev lifecycle.Event) {
	if !p.alive.Load() {
		return
	}
	p.w.s.post(ev, p.l)
	if p.w.odds(10) {
		p.w.s.post(ev, p.l)
	}
}

// pinged: it answers, soon, late, twice or never.
func (p *simProcess) pinged() {
	w := p.w
	if w.odds(w.trouble) {
		return
	}
	wait := w.upTo(50 * time.Millisecond)
	if w.odds(w.trouble) {
		wait = w.upTo(3 * time.Second)
	}
	w.later(wait, func() { p.say(lifecycle.Ponged{ID: p.id, Beat: -1}) })
}

// simLink is the connection of a simProcess.
type simLink struct {
	p       *simProcess
	greeted atomic.Bool
	done    chan struct{}

	mu      sync.Mutex
	ended   bool
	drained bool
	open    map[*simCall]bool
}

// simCall is a command that a worker has been sent.
type simCall struct {
	number  int
	link    *simLink
	started bool // by the world
	over    bool // guarded by link.mu
	answer  chan simAnswer
}

type simAnswer struct {
	m   ipc.Message
	err error
}

func (c *simLink) Peer() (ipc.Hello, bool) { return ipc.Hello{}, c.greeted.Load() }
func (c *simLink) Done() <-chan struct{}   { return c.done }
func (c *simLink) Close() error            { return nil }

func (c *simLink) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

func (c *simLink) Drain(grace time.Duration) error {
	c.mu.Lock()
	c.drained = true
	c.mu.Unlock()
	c.p.w.ask(func() { c.p.drained(grace) })
	return nil
}

func (c *simLink) SendPing() (uint32, error) {
	c.p.w.ask(c.p.pinged)
	return 0, nil
}

func (c *simLink) Ping(context.Context) (time.Duration, ipc.Pong, error) {
	return time.Millisecond, ipc.Pong{}, nil
}

func (c *simLink) CallStream(ctx context.Context, command string, m ipc.Message, _ func(ipc.Piece) error) (ipc.Message, error) {
	return c.Call(ctx, command, m)
}

func (c *simLink) Call(ctx context.Context, command string, m ipc.Message) (ipc.Message, error) {
	refuse := func(code ipc.Code, started ipc.Started) (ipc.Message, error) {
		return ipc.Message{}, &ipc.CallError{Command: command, Code: code, Started: started}
	}
	number, _ := strconv.Atoi(string(m.Payload))
	call := &simCall{number: number, link: c, answer: make(chan simAnswer, 1)}
	c.mu.Lock()
	switch {
	case c.ended:
		c.mu.Unlock()
		return refuse(ipc.ErrLost, ipc.StartedNo)
	case c.drained:
		c.mu.Unlock()
		return refuse(ipc.ErrUnavailable, ipc.StartedNo)
	case len(c.open) >= simInflight:
		c.mu.Unlock()
		return refuse(ipc.ErrOverloaded, ipc.StartedNo)
	}
	c.open[call] = true
	c.mu.Unlock()
	c.p.w.ask(call.arrived)
	if c.p.w.sabotage().swallows && number%50 == 0 {
		<-c.p.w.over
	}
	select {
	case a := <-call.answer:
		return a.m, a.err
	case <-ctx.Done():
	}
	code := ipc.ErrCanceled
	if ctx.Err() == context.DeadlineExceeded {
		code = ipc.ErrTimeout
	}
	call.finish(simAnswer{})
	return refuse(code, ipc.StartedUnknown)
}

// simInflight is how many commands such a worker takes at once.
const simInflight = 6

// arrived: the worker starts it, refuses it, or does not come to it. What that is
// depends on the command and the worker, and not on what came before.
func (call *simCall) arrived() {
	w, p := call.link.p.w, call.link.p
	if w.tries[call.number]++; w.tries[call.number] == 2 {
		w.seen["retried"]++
	}
	h := fnv.New64a()
	fmt.Fprint(h, w.seed, call.number, p.id)
	r := rand.New(rand.NewPCG(h.Sum64(), 0))
	fail := func(code ipc.Code, started ipc.Started) func() {
		return func() { call.finish(simAnswer{err: &ipc.CallError{Code: code, Started: started}}) }
	}
	wait := time.Duration(r.Int64N(int64(20 * time.Millisecond)))
	switch r.IntN(20) {
	case 0:
		w.later(wait, fail(ipc.ErrOverloaded, ipc.StartedNo))
		return
	case 1:
		w.later(wait, fail(ipc.ErrUnavailable, ipc.StartedNo))
		return
	}
	work := time.Duration(r.Int64N(int64(2 * time.Second)))
	hangs, fails := r.IntN(15) == 0, r.IntN(5) == 0
	w.later(wait, func() {
		call.link.mu.Lock()
		over := call.over
		call.link.mu.Unlock()
		if over || !p.alive.Load() {
			return
		}
		call.started = true
		w.starts[call.number] = append(w.starts[call.number], p.id)
		if hangs {
			return
		}
		w.later(work, func() {
			if fails {
				fail("no", ipc.StartedYes)()
				return
			}
			call.finish(simAnswer{m: ipc.Text(strconv.Itoa(call.number))})
		})
	})
}

// finish is the one outcome that the worker has for it.
func (call *simCall) finish(a simAnswer) {
	c := call.link
	c.mu.Lock()
	defer c.mu.Unlock()
	if call.over {
		return
	}
	call.over = true
	delete(c.open, call)
	call.answer <- a
}

// end loses all that is open, as a connection's end does.
func (c *simLink) end() {
	c.mu.Lock()
	var open []*simCall
	for call := range c.open {
		open = append(open, call)
	}
	c.ended = true
	c.mu.Unlock()
	slices.SortFunc(open, func(a, b *simCall) int { return a.number - b.number })
	close(c.done)
	for _, call := range open {
		started := ipc.StartedUnknown
		if !call.started && call.number%2 == 0 || c.p.w.sabotage().liesOfStarts { // no byte of it was written
			started = ipc.StartedNo
		}
		call.finish(simAnswer{err: &ipc.CallError{Code: ipc.ErrLost, Started: started}})
	}
}
