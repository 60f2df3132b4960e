package supervisor

import (
	"context"
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
	got  chan *loop        // has room for one: the loop, which stands still from then on
	news chan chan []input // what has come meanwhile
	over chan struct{}     // closed: the loop goes on, with what has come
}

// stand is the loop's part. What comes meanwhile waits: it is what the processes
// and the operators of a second or so have to say.
func (l *loop) stand(h *hold) {
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

// stillTime is how long it may take until all stands still. Each part stops at once
// but for a call or a write that is under way.
const stillTime = time.Second

// hold makes everything stand still, or nothing: what is under way that can't be
// handed over is an error that wraps ErrNotNow.
func (s *Supervisor) hold(ctx context.Context) (k *standstill, err error) {
	ctx, cancel := context.WithTimeout(ctx, stillTime)
	defer cancel()
	h := &hold{got: make(chan *loop, 1), news: make(chan chan []input), over: make(chan struct{})}
	select {
	case s.inputs <- input{hold: h}:
	case <-s.done:
		return nil, ErrStopping
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: the supervisor is busy", ErrNotNow)
	}
	select {
	case l := <-h.got:
		k = &standstill{loop: l, hold: h}
	case <-s.done:
		return nil, ErrStopping
	}
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
	if _, err := k.machine.Keep(time.Now()); err != nil { // before anything is held up for nothing
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
	if err := k.pauseLives(ctx); err != nil {
		return err
	}
	for _, sink := range []*capture.Sink{k.stdout, k.stderr} {
		k.resume = append(k.resume, sink.Resume)
		if err := sink.Pause(ctx); err != nil {
			return err
		}
	}
	if n := notify.Underway(); n > 0 { // execve(2) would wait for those closes
		return fmt.Errorf("%d descriptors that workers have sent are being closed", n)
	}
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
		c := l.conn.(*ipc.Conn)
		wg.Go(func() { done(l, c.Resume, c.Pause(ctx)) })
		if l.notify != nil {
			wg.Go(func() { done(l, l.notify.Resume, l.notify.Pause(ctx)) })
		}
	}
	wg.Wait()
	return first
}
