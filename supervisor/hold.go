package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/capture"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/notify"
)

// standstill is a supervisor in which nothing moves: the loop takes no step, no
// exit is noticed and no output read, no connection is read or written. It belongs
// to who has held it, and with it all that is the loop's own.
type standstill struct {
	*loop
	hold   *hold
	resume []func() // in reverse order
	signs  []sign   // of life that have come meanwhile
}

// sign is one of life, that of a ping or of a watchdog.
type sign struct {
	ID   lifecycle.ID
	Pong bool
	Beat time.Duration // of a PONG
}

// hold has the loop stand still.
type hold struct {
	rest <-chan struct{}   // closed when it has come to rest for long enough
	got  chan *loop        // has room for one: the loop, which stands still from then on
	news chan chan []input // what has come meanwhile
	over chan struct{}     // closed: the loop goes on, with what has come
}

// restLook is how often it is looked whether the loop is at rest.
const restLook = 5 * time.Millisecond

// comeToRest takes what comes and begins nothing that is due by its time, as long as
// what is under way ends by itself within moments. So the moment is found in which no
// process is being started even where many crash all the time.
func (l *loop) comeToRest(h *hold) {
	tick := time.NewTicker(restLook)
	defer tick.Stop()
	for busy := l.isBusy(); busy && !l.over; {
		select {
		case in := <-l.inputs:
			l.take(in)
		case <-l.beats:
		case <-tick.C:
			busy = l.isBusy()
		case <-h.rest:
			return
		}
	}
}

// isBusy: there is something that will be over in moments.
func (l *loop) isBusy() bool {
	if err := l.machine.UnderWay(); err != nil {
		return errors.Is(err, lifecycle.ErrStarting)
	}
	return l.asides.underWay() > 0 || l.aftermaths.Load() > 0
}

// stand is the loop's part. What comes meanwhile waits: it is what the processes
// and the operators of a second or so have to say.
func (l *loop) stand(h *hold) {
	l.asides.hold()
	defer l.asides.release()
	l.comeToRest(h)
	if l.over {
		return
	}
	h.got <- l
	var came []input
	for {
		select {
		case in := <-l.inputs:
			came = append(came, in)
		case reply := <-h.news:
			reply <- came
		case <-l.beats:
		case <-h.over:
			for _, in := range came {
				l.take(in)
			}
			return
		}
	}
}

// stillTime is how long it may take until all stands still, once the loop does. Each
// part stops at once but for a call or a write that is under way.
const stillTime = time.Second

// hold makes everything stand still, or nothing: what is under way that can't be
// handed over is an error that wraps ErrNotNow. rest is how long what ends by itself
// may take to do so.
func (s *Supervisor) hold(ctx context.Context, rest time.Duration) (k *standstill, err error) {
	resting, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	h := &hold{rest: resting.Done(), got: make(chan *loop, 1), news: make(chan chan []input), over: make(chan struct{})}
	select {
	case s.inputs <- input{hold: h}:
	case <-s.done:
		return nil, ErrStopping
	case <-resting.Done():
		return nil, fmt.Errorf("%w: the supervisor is busy", ErrNotNow)
	}
	select {
	case l := <-h.got:
		k = &standstill{loop: l, hold: h}
	case <-s.done:
		return nil, ErrStopping
	}
	ctx, cancelStill := context.WithTimeout(ctx, stillTime)
	defer cancelStill()
	if err := k.stopAll(ctx); err != nil {
		k.release()
		return nil, fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	return k, nil
}

// release has everything go on.
func (k *standstill) release() {
	for i := len(k.resume) - 1; i >= 0; i-- {
		k.resume[i]()
	}
	close(k.hold.over)
}

func (k *standstill) stopAll(ctx context.Context) error {
	if k.ending {
		return ErrStopping
	}
	if err := k.machine.UnderWay(); err != nil { // before anything is held up for nothing
		return err
	}
	k.watched.Pause()
	k.resume = append(k.resume, k.watched.Resume)
	if n := k.asides.underWay(); n > 0 {
		return fmt.Errorf("%d programs run beside workers, for commands or to see whether they are ready", n)
	}
	if n := k.aftermaths.Load(); n > 0 {
		return fmt.Errorf("what %d workers have left behind is being looked for", n)
	}
	// The output first: it may be stuck, and the answers to pings are still read.
	for _, sink := range []*capture.Sink{k.stdout, k.stderr} {
		k.resume = append(k.resume, sink.Resume)
		if err := sink.Pause(ctx); err != nil {
			return err
		}
	}
	if err := k.pauseLives(ctx); err != nil {
		return err
	}
	if n := notify.UnderWay(); n > 0 { // execve(2) would wait for those closes
		return fmt.Errorf("%d descriptors that workers have sent are being closed", n)
	}
	return k.listen()
}

// listen looks at what has come since the loop stands still.
func (k *standstill) listen() error {
	k.signs = nil
	reply := make(chan []input, 1)
	k.hold.news <- reply
	for _, in := range <-reply {
		switch ev := in.event.(type) {
		case lifecycle.Ponged:
			k.signs = append(k.signs, sign{ev.ID, true, ev.Beat})
		case lifecycle.SaidAlive:
			k.signs = append(k.signs, sign{ID: ev.ID})
		default:
			return fmt.Errorf("something has just happened")
		}
	}
	return nil
}

// last looks once more, when the next program is about to be executed: it would know
// nothing of what has come since all was put together, such as an order to stop.
func (k *standstill) last(news func() bool) error {
	err := k.listen()
	if err == nil && news != nil && news() {
		err = fmt.Errorf("something has just come")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	return nil
}

// pauseLives pauses the connections and the notify sockets of all workers, many at
// a time.
func (k *standstill) pauseLives(ctx context.Context) error {
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	done := func(l *live, resume func(), err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && first == nil {
			first = fmt.Errorf("%v: %w", l.id, err)
		}
		if err == nil {
			k.resume = append(k.resume, resume)
		}
	}
	for _, l := range k.lives {
		if c, ok := l.conn.(*ipc.Conn); ok {
			wg.Go(func() { done(l, c.Resume, c.Pause(ctx)) })
		}
		if l.notify != nil {
			wg.Go(func() { done(l, l.notify.Resume, l.notify.Pause(ctx)) })
		}
	}
	wg.Wait()
	return first
}
