package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/lifecycle"
)

// meddle is what an operator, or somebody who sends commands, does next.
func (w *world) meddle() {
	switch n := w.rng.IntN(40); {
	case n < 22:
		w.command()
	case n < 25:
		w.order("stop", func(ctx context.Context, t Target) { _, _ = w.s.Stop(ctx, t) })
	case n < 29:
		w.order("start", func(ctx context.Context, t Target) { _, _ = w.s.Start(ctx, t) })
	case n < 33:
		w.order("restart", func(ctx context.Context, t Target) { _, _ = w.s.Restart(ctx, t) })
	case n < 35:
		size := 1 + w.rng.IntN(5)
		w.order("scale", func(ctx context.Context, t Target) { _, _ = w.s.Scale(ctx, t.Pool, size) })
	case n < 38:
		w.reload()
	case n == 38 && w.odds(60):
		w.shutdown(w.odds(2))
	default:
		w.order("ping", func(ctx context.Context, t Target) { _, _ = w.s.Ping(ctx, t) })
	}
}

// anyTarget may be of a slot or a generation that is not there.
func (w *world) anyTarget() Target {
	t := Target{Pool: []string{"web", "web", "jobs", "cache"}[w.rng.IntN(4)]}
	if w.odds(2) {
		t.Slot = 1 + w.rng.IntN(5)
		if w.odds(3) {
			t.Generation = 1 + uint64(w.rng.IntN(8))
		}
	}
	return t
}

// grace is how long after its deadline somebody may still wait.
const grace = 10 * time.Millisecond

func (w *world) order(what string, do func(context.Context, Target)) {
	wait, t := w.upTo(20*time.Second), w.anyTarget()
	o := &simOrder{what: fmt.Sprintf("%s %v", what, t), limit: time.Now().Add(wait + grace)}
	w.orders = append(w.orders, o)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		do(ctx, t)
		w.ask(func() { o.over = true })
	}()
}

func (w *world) reload() {
	for _, name := range []string{"web", "jobs", "cache"} {
		switch {
		case w.odds(3):
			w.pool[name] = w.anyPool(name)
		case name != "web" && w.odds(10):
			delete(w.pool, name)
		}
	}
	cfg := Config{Pools: w.pools()}
	w.order("reload", func(ctx context.Context, _ Target) { _, _ = w.s.Reload(ctx, cfg) })
}

// command sends one, which has exactly one outcome.
func (w *world) command() {
	t, wait := w.anyTarget(), w.upTo(8*time.Second)
	if w.odds(2) {
		t = Target{Pool: t.Pool}
	}
	o := &simOutcome{number: len(w.calls), limit: time.Now().Add(wait + grace)}
	w.calls = append(w.calls, o)
	cancelAfter := wait
	if w.odds(5) {
		cancelAfter = w.upTo(wait)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		defer time.AfterFunc(cancelAfter, cancel).Stop()
		reply, err := w.s.Call(ctx, t, "do", ipc.Text(strconv.Itoa(o.number)))
		w.ask(func() {
			o.outcomes++
			o.reply, o.err, o.started = reply, err, len(w.starts[o.number])
			w.judge(o)
		})
	}()
}

// breaks notes the first law found broken.
func (w *world) breaks(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
		w.past = w.tellPast()
	}
}

// judge holds an outcome against what the workers did.
func (w *world) judge(o *simOutcome) {
	var ce *ipc.CallError
	switch {
	case o.err == nil:
		if o.started != 1 || w.starts[o.number][0].Slot != (lifecycle.Slot{Pool: o.reply.From.Pool, N: o.reply.From.Slot}) || w.starts[o.number][0].Generation != o.reply.From.Generation {
			w.breaks("outcome: command %d was answered by %v and started by %v", o.number, o.reply.From, w.starts[o.number])
		}
		if string(o.reply.Payload) != strconv.Itoa(o.number) {
			w.breaks("outcome: command %d has another's answer, %q", o.number, o.reply.Payload)
		}
	case errors.As(o.err, &ce):
		if ce.Started == ipc.StartedNo && o.started > 0 {
			w.breaks("started: command %d was started by %v, and its outcome is %v, not started", o.number, w.starts[o.number], o.err)
		}
	}
	w.seen["command"]++
	if ce != nil {
		w.seen[string(ce.Code)]++
	}
}

// check holds the laws that can be seen at any moment of rest.
func (w *world) check() {
	now := time.Now()
	for number, by := range w.starts {
		if len(by) > 1 {
			w.breaks("retry: command %d was started by %v", number, by)
		}
	}
	living := map[lifecycle.Slot]int{}
	for p := range w.alive {
		living[p.id.Slot]++
	}
	seen := map[lifecycle.Slot]bool{}
	for _, b := range w.s.boards() {
		if n, most := b.gate.waitingNow(), simQueue; n > most {
			w.breaks("queue: %d commands wait for %s", n, b.name)
		}
		for _, pl := range *b.places.Load() {
			seen[pl.id] = true
			w.checkPlace(pl, living[pl.id], now)
		}
	}
	for slot, n := range living {
		if n > 2 || n > 0 && !seen[slot] {
			w.breaks("live: %d processes in %v, seen %v", n, slot, seen[slot])
		}
	}
	for _, o := range w.orders {
		if !o.over && now.After(o.limit) {
			w.breaks("order: %s has not come back", o.what)
		}
	}
	for _, o := range w.calls {
		if o.outcomes > 1 || o.outcomes == 0 && now.After(o.limit) {
			w.breaks("one: command %d has %d outcomes", o.number, o.outcomes)
		}
	}
	if !w.shut.IsZero() && now.Sub(w.shut) > simPools*simStop {
		w.breaks("shutdown: it has not ended after %v", now.Sub(w.shut))
	}
	w.orders = compact(w.orders)
	events, _ := w.s.Events(w.lastEvent)
	for _, e := range events {
		if e.Seq != w.lastEvent+1 {
			w.breaks("events: %d follows %d", e.Seq, w.lastEvent)
		}
		w.lastEvent = e.Seq
		w.seen[string(e.Kind)]++
	}
	w.checkDeclared()
	if w.sabotage().keepsPlaces && w.odds(50) {
		g := w.s.boards()[0].gate
		g.mu.Lock()
		for l := range g.busy {
			g.busy[l]++
			break
		}
		g.mu.Unlock()
	}
}

const (
	simQueue = 5 // the longest that anyPool allows
	simPools = 3 // stopped one after the other, at most
	// simStop is the longest that a stop may take: stop.timeout, and a process in
	// the kernel's hands.
	simStop = 35 * time.Second
)

func compact(orders []*simOrder) []*simOrder {
	kept := orders[:0]
	for _, o := range orders {
		if !o.over {
			kept = append(kept, o)
		}
	}
	return kept
}

// checkDeclared: what the pools are said to be is what the machine has them be. The
// loop stands still meanwhile.
func (w *world) checkDeclared() {
	h := &hold{rest: ended, got: make(chan *loop, 1), news: make(chan chan []input), over: make(chan struct{})}
	select {
	case w.s.inputs <- input{hold: h}:
	case <-w.s.done:
		return
	}
	select {
	case l := <-h.got:
		for _, p := range w.s.declared() {
			from := l.versions[version{p.Name, l.machine.Version(p.Name)}]
			if from == nil || compare(*from.pool, p).Kind != ChangeNone && compare(*from.pool, p).Kind != ChangeScale {
				w.breaks("declared: %s is said to be %+v, and is %+v", p.Name, p, from)
			}
		}
		close(h.over)
	case <-w.s.done:
	}
	w.settle()
}

func (w *world) checkPlace(pl *place, living int, now time.Time) {
	v, l := pl.current()
	most := 1
	if v.Next != 0 || v.Old != 0 {
		most = 2
	}
	if living > most {
		w.breaks("live: %d processes in %v, which shows %+v", living, pl.id, *v)
	}
	switch v.State {
	case lifecycle.Ready:
		if l == nil {
			w.breaks("ready: %v is ready and has no process", pl.id)
		}
	case lifecycle.Stopping:
		if now.Sub(v.Since) > simStop {
			w.breaks("stop: %v is stopping for %v", pl.id, now.Sub(v.Since))
		}
	case lifecycle.Stopped, lifecycle.Failed, lifecycle.Done:
		if living > 0 && v.Next == 0 && v.Old == 0 {
			w.breaks("live: %v is %s and has a process", pl.id, v.State)
		}
	}
}

// atEnd holds what must be so when Run has returned.
func (w *world) atEnd() {
	if len(w.alive) > 0 {
		w.breaks("shutdown: %d processes are left", len(w.alive))
	}
	for _, b := range w.s.boards() {
		b.gate.mu.Lock()
		busy, waiting := len(b.gate.busy), len(b.gate.waiting)
		b.gate.mu.Unlock()
		if busy+waiting > 0 {
			w.breaks("gate: %d busy, %d waiting at the end, of %s", busy, waiting, b.name)
		}
	}
	for _, o := range w.calls {
		if o.outcomes != 1 {
			w.breaks("one: command %d has %d outcomes at the end", o.number, o.outcomes)
		}
		var ce *ipc.CallError
		if errors.As(o.err, &ce) && ce.Started == ipc.StartedNo && len(w.starts[o.number]) > 0 {
			w.breaks("started: command %d was started later, by %v, and its outcome was not started", o.number, w.starts[o.number])
		}
	}
	for _, o := range w.orders {
		if !o.over {
			w.breaks("order: %s has not come back at the end", o.what)
		}
	}
}

// tellPast is the last events, and what is to be seen now.
func (w *world) tellPast() string {
	var b strings.Builder
	events, _ := w.s.Events(0)
	for _, e := range events[max(0, len(events)-40):] {
		fmt.Fprintf(&b, "%v %s/%d#%d %s %s\n", e.At.Sub(w.began), e.Pool, e.Slot, e.Generation, e.Kind, e.Text)
	}
	for _, b2 := range w.s.boards() {
		for _, pl := range *b2.places.Load() {
			v, _ := pl.current()
			fmt.Fprintf(&b, "%+v\n", *v)
		}
	}
	for p := range w.alive {
		fmt.Fprintf(&b, "alive: %v, going %v, killed %v\n", p.id, p.going, p.killed)
	}
	return b.String()
}
