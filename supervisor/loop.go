package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor/internal/lifecycle"
)

// input is something for the loop.
type input struct {
	event lifecycle.Event
	live  *live           // where the event is of a process
	pool  *Pool           // of AddPool and Reconfigure: what the version is. Of Resize: whose configuration asks for it; nil: scale does
	reply chan<- []Result // of what is Settled; has room for one
	then  func()          // run behind the starts that the event leads to; does not wait
	hold  *hold           // instead of an event: the loop is to stand still
}

// loop is the only owner of the machine.
type loop struct {
	*Supervisor
	machine  *lifecycle.Machine
	replies  map[uint64]reply // by op
	places   map[lifecycle.Slot]*place
	lives    map[lifecycle.ID]*live
	versions map[version]*launch // what processes are spawned from
	now      time.Time           // of the step at hand
	ending   bool                // a Shutdown has come
	over     bool
}

// version names a configuration of a pool. Number 0 is the one at the start.
type version struct {
	pool   string
	number uint64
}

// reply is where the results of an op go, and the places they are of: a slot
// may be gone by then.
type reply struct {
	to     chan<- []Result
	places map[lifecycle.Slot]*place
}

func (s *Supervisor) loop() error {
	defer close(s.done)
	l := &loop{
		Supervisor: s, machine: lifecycle.New(s.sys.chance), replies: map[uint64]reply{},
		places: map[lifecycle.Slot]*place{}, lives: map[lifecycle.ID]*live{}, versions: map[version]*launch{},
	}
	if err := l.firstStep(); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	began := time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !l.over {
		var due <-chan time.Time
		if next := l.machine.Next(); !next.IsZero() {
			timer.Reset(untilSlot(began, next))
			due = timer.C
		}
		select {
		case in := <-s.inputs:
			if in.hold != nil {
				l.stand(in.hold)
				continue
			}
			l.take(in)
		case <-s.beats:
		case <-due:
			l.step(lifecycle.Tick{})
		}
	}
	return nil
}

// firstStep is Boot, or goes on where the program before has stood still.
func (l *loop) firstStep() error {
	defer close(l.begun)
	if l.carried == nil {
		l.setUp()
		l.step(lifecycle.Boot{})
		return nil
	}
	if err := l.takeUp(); err != nil {
		return err
	}
	for _, s := range l.carried.Signs {
		if s.Pong {
			l.step(lifecycle.Ponged{ID: s.ID, Beat: s.Beat})
		} else {
			l.step(lifecycle.SaidAlive{ID: s.ID})
		}
	}
	l.step(lifecycle.Tick{})
	return nil
}

// timerSlot: timers of the machine come up to so much late, those that fall into
// one together. A thousand workers that are pinged every two seconds are so some
// forty wake-ups in a second, not five hundred.
const timerSlot = 25 * time.Millisecond

// untilSlot is the time until the end of the slot that at is in.
func untilSlot(began, at time.Time) time.Duration {
	slots := (at.Sub(began) + timerSlot - 1) / timerSlot
	return time.Until(began.Add(slots * timerSlot))
}

// notable is how long the supervisor has to be absent for it to be logged.
const notable = time.Second

// setUp makes the machine's slots as New has made the board's places.
func (l *loop) setUp() {
	now := time.Now()
	for _, b := range l.boards() {
		p := b.config.Load()
		policy := p.policy()
		l.versions[version{b.name, 0}] = &launch{pool: p}
		for _, pl := range *b.places.Load() {
			l.places[pl.id] = pl
			l.machine.Add(pl.id, policy, now)
		}
		l.machine.Order(b.name, p.After)
	}
}

// take makes the board ready for an event, and has the machine take the step.
func (l *loop) take(in input) {
	if r := l.refuse(in.event); r != nil {
		in.reply <- []Result{*r}
		return
	}
	switch ev := in.event.(type) {
	case lifecycle.Spawned:
		l.lives[ev.ID] = in.live
	case lifecycle.Exited:
		l.noteExit(ev, in.live)
		defer delete(l.lives, ev.ID)
	case lifecycle.AddPool:
		l.addBoard(ev, *in.pool)
	case lifecycle.Resize:
		b := l.boardOf(ev.Pool)
		l.extend(b, ev.To)
		if in.pool != nil {
			b.asked.Store(int64(ev.To))
		}
	case lifecycle.RemovePool:
		l.boardOf(ev.Pool).gone.Store(true)
	case lifecycle.Reconfigure:
		l.versions[version{ev.Pool, ev.Version}] = &launch{pool: in.pool}
		l.prune(ev.Pool)
		l.boardOf(ev.Pool).configure(in.pool)
	}
	if in.reply != nil {
		l.expect(in)
	}
	l.step(in.event)
	l.changes.Add(structural(in.event))
	if in.then != nil {
		l.sys.after(in.then)
	}
}

// structural is 1 for what changes more of the board than the views of slots.
func structural(ev lifecycle.Event) uint64 {
	switch ev.(type) {
	case lifecycle.Exited, lifecycle.AddPool, lifecycle.Resize, lifecycle.RemovePool, lifecycle.Reconfigure:
		return 1
	}
	return 0
}

// refuse is the answer to a change of pools that came too late; nil: it fits.
func (l *loop) refuse(ev lifecycle.Event) *Result {
	pool, made := "", true
	switch ev := ev.(type) {
	case lifecycle.Shutdown:
		l.ending = true
		return nil
	case lifecycle.AddPool:
		pool, made = ev.Pool, false
	case lifecycle.Resize:
		pool = ev.Pool
	case lifecycle.RemovePool:
		pool = ev.Pool
	case lifecycle.Reconfigure:
		pool = ev.Pool
	default:
		return nil
	}
	r := &Result{Slot: SlotStatus{Pool: pool}, Outcome: OutcomeFailed}
	b := l.boardOf(pool)
	switch {
	case l.ending:
		r.Text = "the supervisor is shutting down"
	case made && (b == nil || b.gone.Load()):
		r.Text = "the pool is being removed"
	default:
		return nil
	}
	return r
}

// expect notes where the answer to an op goes.
func (l *loop) expect(in input) {
	r := reply{to: in.reply, places: map[lifecycle.Slot]*place{}}
	note := func(pool string) {
		for _, pl := range *l.boardOf(pool).places.Load() {
			r.places[pl.id] = pl
		}
	}
	var op uint64
	switch ev := in.event.(type) {
	case lifecycle.Order:
		op = ev.Op
		for _, id := range ev.Slots {
			if pl := l.places[id]; pl != nil {
				r.places[id] = pl
			}
		}
	case lifecycle.Resize:
		op = ev.Op
		note(ev.Pool)
	case lifecycle.AddPool:
		op = ev.Op
		note(ev.Pool)
	case lifecycle.RemovePool:
		op = ev.Op
		note(ev.Pool)
	case lifecycle.Reconfigure:
		op = ev.Op
		note(ev.Pool)
	}
	l.replies[op] = r
}

func (l *loop) addBoard(ev lifecycle.AddPool, p Pool) {
	l.versions[version{ev.Pool, ev.Version}] = &launch{pool: &p}
	b := l.boardOf(p.Name)
	if b == nil {
		b = newBoard(p, p.Workers)
		boards := append(slices.Clone(l.boards()), b)
		l.pools.Store(&boards)
	}
	b.gone.Store(false)
	b.configure(&p)
	b.asked.Store(int64(p.Workers))
	l.extend(b, p.Workers)
}

// keptVersions is how many of a pool's configurations are kept beside those that
// processes run and the one in force: processes are being started from them.
const keptVersions = 4

// prune forgets old configurations of a pool that is about to have another: the one
// that it has is what it may have to go back to.
func (l *loop) prune(pool string) {
	used := map[*launch]bool{}
	for _, p := range l.lives {
		used[p.launch] = true
	}
	var numbers []uint64
	inForce := l.machine.Version(pool)
	for v, from := range l.versions {
		if v.pool == pool && !used[from] && v.number != inForce {
			numbers = append(numbers, v.number)
		}
	}
	slices.Sort(numbers)
	for len(numbers) > keptVersions {
		delete(l.versions, version{pool, numbers[0]})
		numbers = numbers[1:]
	}
}

func (l *loop) extend(b *board, n int) {
	b.extend(n)
	for _, pl := range *b.places.Load() {
		l.places[pl.id] = pl
	}
}

// noteExit fills in what the shell knows of the end of a process.
func (l *loop) noteExit(ev lifecycle.Exited, p *live) {
	e := *p.ended
	e.Generation, e.PID, e.Code, e.Signal, e.Core = ev.Generation, p.pid, ev.Code, ev.Signal, ev.Core
	e.At, e.Uptime = time.Now(), time.Since(p.started)
	p.unexplained = ev.Signal == syscall.SIGKILL && !p.killed && !e.OOM
	if pl := l.places[ev.Slot]; pl != nil {
		pl.noteExit(e)
	}
}

// step makes the change visible before it is announced, then carries it out.
func (l *loop) step(ev lifecycle.Event) {
	l.now = time.Now()
	effects := l.machine.Step(l.now, ev)
	if d := l.machine.Absence(); d >= notable {
		l.say(func() {
			l.cfg.Log.Warn("the supervisor did not run for a while; workers have more time to become ready and to give signs of life", "late", d.Round(time.Millisecond))
		})
	}
	l.machine.Dirty(func(v lifecycle.View) {
		pl := l.places[v.Slot]
		if v.LastExit != nil && v.LastExit.Err != "" { // it was never started, so nothing but the machine knows
			pl.noteExit(ExitStatus{Exit: *v.LastExit})
		}
		if p := l.lives[lifecycle.ID{Slot: v.Slot, Generation: v.Generation}]; p != nil {
			pl.live.Store(p)
		}
		pl.view.Store(&v)
		l.changes.Add(1)
		pl.board.gate.changed()
	})
	// Who has asked for something is answered last, when all of it can be seen.
	for _, e := range effects {
		if _, answer := e.(lifecycle.Settled); !answer {
			l.carryOut(e)
		}
	}
	for _, e := range effects {
		if answer, ok := e.(lifecycle.Settled); ok {
			l.settle(answer)
		}
	}
}

// carryOut never waits.
func (l *loop) carryOut(e lifecycle.Effect) {
	switch e := e.(type) {
	case lifecycle.Spawn:
		l.spawn(e)
	case lifecycle.Drain:
		l.withLive(e.ID, func(p *live) error {
			l.stopBegins(p)
			return p.conn.Drain(e.Grace)
		})
	case lifecycle.Signal:
		l.withLive(e.ID, func(p *live) error {
			l.stopBegins(p)
			p.killed = p.killed || e.Signal == syscall.SIGKILL
			return p.signal(e.Signal, e.Leader)
		})
	case lifecycle.Ping:
		l.withLive(e.ID, func(p *live) error {
			_, err := p.conn.SendPing()
			return err
		})
	case lifecycle.Announce:
		l.announce(e)
	case lifecycle.Gone:
		l.remove(e.Slot)
	case lifecycle.Reverted:
		if b, p := l.boardOf(e.Pool), l.versions[version{e.Pool, e.Version}]; b != nil && p != nil {
			b.configure(p.pool)
		}
	case lifecycle.Finished:
		l.over = true
	}
}

// stopBegins notes, once, what a process has made that could outlive it. At the
// end of all, everything that is left is killed whatever it came from, if it may
// be.
func (l *loop) stopBegins(p *live) {
	if p.stopAsked.Swap(true) || l.ending && l.cfg.Reaper {
		return
	}
	l.wg.Go(func() { l.sys.note(p) })
}

// spawn has the process started by the version that it is to be of.
func (l *loop) spawn(e lifecycle.Spawn) {
	from := l.versions[version{e.Pool, e.Version}]
	pl := l.places[e.Slot]
	l.sys.do(func() { l.Supervisor.spawn(e.ID, from, pl) })
}

func (l *loop) settle(e lifecycle.Settled) {
	r, ok := l.replies[e.Op]
	if !ok {
		return
	}
	delete(l.replies, e.Op)
	results := make([]Result, len(e.Results))
	for i, res := range e.Results {
		results[i] = Result{Outcome: Outcome(res.Outcome), Text: res.Text, Slot: SlotStatus{Pool: res.Pool, Slot: res.N}}
		if pl := r.places[res.Slot]; pl != nil {
			results[i].Slot = l.slotStatus(pl)
			if e := pl.lastExit(); res.Outcome == lifecycle.OutcomeFailed && e != nil {
				results[i].Stderr = e.Stderr
			}
		}
	}
	r.to <- results
}

// remove takes a slot off the board, and its pool with the last one.
func (l *loop) remove(id lifecycle.Slot) {
	pl := l.places[id]
	delete(l.places, id)
	b := pl.board
	b.remove(id.N)
	l.changes.Add(1)
	if b.gone.Load() && len(*b.places.Load()) == 0 {
		boards := slices.DeleteFunc(slices.Clone(l.boards()), func(o *board) bool { return o == b })
		l.pools.Store(&boards)
	}
}

// withLive acts on the process of id. A failure is of a process or connection
// that is just ending; what ended it is reported by its own event.
func (l *loop) withLive(id lifecycle.ID, act func(*live) error) {
	p := l.lives[id]
	if p == nil {
		return
	}
	if err := act(p); err != nil {
		l.say(func() { l.cfg.Log.Debug("effect", "worker", id.String(), "error", err) })
	}
}

// announce records an event and has it logged.
func (l *loop) announce(a lifecycle.Announce) {
	l.events.add(Event{At: l.now, Pool: a.Pool, Slot: a.N, Generation: a.Generation, Kind: a.Kind, Text: a.Text})
	var stderr []string
	if pl := l.places[a.Slot]; pl != nil && a.Kind == lifecycle.KindExit {
		if e := pl.lastExit(); e != nil && e.Generation == a.Generation && e.Failure() {
			stderr = e.Stderr
		}
	}
	l.say(func() { logAnnouncement(l.cfg.Log, a, stderr) })
}

func logAnnouncement(log hclog.Logger, a lifecycle.Announce, stderr []string) {
	id := lifecycle.ID{Slot: a.Slot, Generation: a.Generation}.String()
	switch a.Kind {
	case lifecycle.KindExit:
		args := []any{"worker", id, "how", a.Text}
		if len(stderr) > 0 {
			args = append(args, "stderr", strings.Join(stderr, "\n"))
		}
		log.Info("exit", args...)
	case lifecycle.KindState:
		if strings.HasPrefix(a.Text, string(lifecycle.Failed)) {
			log.Error("state", "worker", id, "is", a.Text)
			return
		}
		log.Info("state", "worker", id, "is", a.Text)
	case lifecycle.KindBeside, lifecycle.KindSwap, lifecycle.KindResponsive, lifecycle.KindGone:
		log.Info(string(a.Kind), "worker", id, "what", a.Text)
	default:
		log.Warn(string(a.Kind), "worker", id, "what", a.Text)
	}
}
