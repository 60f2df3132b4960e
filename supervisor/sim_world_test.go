package supervisor

import (
	pq "container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing/synctest"
	"time"

	"example.com/brood/supervisor/internal/capture"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/process"
)

// world is a supervisor whose system is made up: its loop, its gates and
// everything that orders and commands go through are the real ones, on fake time
// (testing/synctest). One goroutine makes all that happens happen, an item of the
// agenda at a time, and looks at the laws when nothing moves any more. What the
// supervisor asks of processes meanwhile is noted down for it.
//
// A seed decides what happens and when. Where that sets several goroutines going
// at one moment, in which order they run is the scheduler's to say.
type world struct {
	s         *Supervisor
	seed      uint64
	rng       *rand.Rand
	sabotaged atomic.Pointer[simSabotage] // read by the loop too
	trouble   int                         // a process misbehaves once in so many times, in each way
	agenda    simAgenda
	seq       int

	mu    sync.Mutex
	asked []func()      // by the supervisor, in order
	poke  chan struct{} // has room for one: something was asked

	pids   int
	alive  map[*simProcess]bool
	untold []*simProcess          // whose exit was kept back
	starts map[int][]lifecycle.ID // who has started a command
	tries  map[int]int            // to how many workers it was sent
	calls  []*simOutcome
	orders []*simOrder
	pool   map[string]Pool // as last asked for
	shut   time.Time       // when a shutdown was asked for
	ended  chan error
	over   chan struct{} // closed when the world ends

	steps        int
	lastEvent    uint64
	seen         map[string]int // what happened how often
	broken, past string
	began        time.Time
}

// simSabotage breaks a law on purpose. The zero value breaks none.
type simSabotage struct {
	name         string
	laws         string // those that may find out
	deafToKill   bool   // SIGKILL does not reach a process
	liesOfStarts bool   // what was started and lost is said not to have been
	startsTwo    bool   // a start makes two processes
	forgetsExit  bool   // an exit is not told
	swallows     bool   // a command's answer never comes, nor its deadline
	lateCounts   bool   // late words go to the process that is there now
	keepsPlaces  bool   // a worker's place is not given back
}

// simOutcome is a command and what became of it.
type simOutcome struct {
	number   int
	limit    time.Time
	outcomes int
	reply    Reply
	err      error
	started  int // how often, when it ended
}

// simOrder is what an operator asked for.
type simOrder struct {
	what  string
	limit time.Time
	over  bool
}

type simItem struct {
	at  time.Time
	seq int
	do  func()
}

type simAgenda []simItem

func (a simAgenda) Len() int { return len(a) }
func (a simAgenda) Less(i, j int) bool {
	if a[i].at.Equal(a[j].at) {
		return a[i].seq < a[j].seq
	}
	return a[i].at.Before(a[j].at)
}
func (a simAgenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *simAgenda) Push(x any)   { *a = append(*a, x.(simItem)) }
func (a *simAgenda) Pop() any {
	last := len(*a) - 1
	item := (*a)[last]
	*a = (*a)[:last]
	return item
}

func (w *world) odds(n int) bool                    { return w.rng.IntN(n) == 0 }
func (w *world) upTo(d time.Duration) time.Duration { return 1 + time.Duration(w.rng.Int64N(int64(d))) }
func (w *world) later(d time.Duration, do func())   { w.at(time.Now().Add(d), do) }
func (w *world) at(t time.Time, do func()) {
	w.seq++
	pq.Push(&w.agenda, simItem{t, w.seq, do})
}

// ask notes down what the supervisor wants of a process. It may be called by any
// goroutine.
func (w *world) ask(do func()) {
	w.mu.Lock()
	w.asked = append(w.asked, do)
	w.mu.Unlock()
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// simClear is how long it takes to look for what a process has left behind.
const simClear = time.Millisecond

func (w *world) sabotage() *simSabotage { return w.sabotaged.Load() }

// newWorld starts a supervisor with one to three pools.
func newWorld(seed uint64, sabotaged simSabotage) *world {
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), poke: make(chan struct{}, 1),
		over: make(chan struct{}), seen: map[string]int{}, tries: map[int]int{}, alive: map[*simProcess]bool{}, starts: map[int][]lifecycle.ID{}, pool: map[string]Pool{}, ended: make(chan error, 1),
	}
	w.sabotaged.Store(&sabotaged)
	w.trouble = []int{4, 10, 40}[w.rng.IntN(3)]
	for i := range 1 + w.rng.IntN(3) {
		p := w.anyPool([]string{"web", "jobs", "cache"}[i])
		w.pool[p.Name] = p
	}
	s, err := New(Config{Log: discard(), Pools: w.pools()})
	if err != nil {
		panic(err)
	}
	w.s, w.began = s, time.Now()
	chance := rand.New(rand.NewPCG(seed, 1)) // the loop's own
	s.sys = system{
		begin: func() error {
			s.stdout, s.stderr = capture.NewSink(nil, nil), capture.NewSink(nil, nil)
			return nil
		},
		end: func() error {
			s.wg.Wait()
			s.closeSink(s.stdout)
			s.closeSink(s.stderr)
			s.events.close()
			return nil
		},
		watch: func() {},
		do:    func(f func()) { w.ask(func() { w.later(w.upTo(20*time.Millisecond), f) }) },
		after: func(f func()) { w.ask(f) },
		start: w.start,
		last:  func(*live) *ExitStatus { return &ExitStatus{} },
		clear: func(*live) { time.Sleep(simClear) },
		note:  func(*live) {}, chance: chance.Float64,
	}
	go func() { w.ended <- s.Run(context.Background()) }()
	w.settle()
	return w
}

func (w *world) pools() []Pool {
	var all []Pool
	for _, name := range []string{"web", "jobs", "cache"} {
		if p, ok := w.pool[name]; ok {
			all = append(all, p)
		}
	}
	return all
}

// anyPool is a pool of that name with anything allowed in it.
func (w *world) anyPool(name string) Pool {
	p := Pool{
		Name: name, Command: []string{"x"}, Workers: 1 + w.rng.IntN(4),
		Env:      map[string]string{"V": strconv.Itoa(w.rng.IntN(3))},
		Ready:    Ready{When: []ReadyWhen{ReadyAuto, ReadyHello, ReadyAlive}[w.rng.IntN(3)], Timeout: w.upTo(5 * time.Second)},
		Health:   Health{Ping: w.upTo(3 * time.Second), Timeout: w.upTo(time.Second), Failures: 1 + w.rng.IntN(3)},
		Restart:  Restart{When: []RestartWhen{RestartAlways, RestartAlways, RestartOnFailure, RestartNever}[w.rng.IntN(4)], Budget: 3 + w.rng.IntN(10)},
		Stop:     Stop{Timeout: time.Second + w.upTo(9*time.Second)},
		Rollout:  Rollout{Surge: w.rng.IntN(3), Soak: w.upTo(2 * time.Second)},
		Dispatch: Dispatch{Concurrency: 1 + w.rng.IntN(3), Queue: 1 + w.rng.IntN(5), Timeout: w.upTo(10 * time.Second)},
		Recycle:  Recycle{Commands: []int{0, 0, 5}[w.rng.IntN(3)]},
	}
	if p.Rollout.Surge == 0 {
		p.Rollout.Unavailable = 1
	}
	if name == "jobs" && w.odds(2) && w.pool["web"].Name != "" {
		p.After = []string{"web"}
	}
	return p
}

// start is the system's: a process, or none.
func (w *world) start(id lifecycle.ID, from *launch, pl *place) (*live, error) {
	if w.odds(2 * w.trouble) {
		return nil, fmt.Errorf("as it happens")
	}
	w.pids++
	l := &live{
		id: id, launch: from, board: pl.board, place: pl, pid: w.pids, started: time.Now(), gone: make(chan struct{}),
		outSink: w.s.stdout, errSink: w.s.stderr,
	}
	p := &simProcess{w: w, l: l, id: id}
	p.link = &simLink{p: p, done: make(chan struct{}), open: map[*simCall]bool{}}
	p.alive.Store(true)
	l.proc, l.conn = p, p.link
	w.alive[p] = true
	if w.sabotage().startsTwo && w.odds(20) {
		w.alive[&simProcess{w: w, id: id}] = true
	}
	w.s.post(lifecycle.Spawned{ID: id, PID: l.pid}, l)
	p.lives()
	return l, nil
}

// settle has everything come to rest, and what was asked for meanwhile done.
func (w *world) settle() {
	for {
		synctest.Wait()
		w.mu.Lock()
		asked := w.asked
		w.asked = nil
		w.mu.Unlock()
		if len(asked) == 0 {
			return
		}
		for _, do := range asked {
			do()
		}
	}
}

// step does the next thing of the agenda when it is time, or lets a second pass,
// and what the supervisor asks for meanwhile.
func (w *world) step() {
	for {
		wait, due := time.Second, false
		if len(w.agenda) > 0 && time.Until(w.agenda[0].at) <= wait {
			wait, due = time.Until(w.agenda[0].at), true
		}
		timer := time.NewTimer(wait)
		select {
		case <-w.poke: // there may be something earlier now
			timer.Stop()
			w.settle()
			continue
		case <-timer.C:
		}
		if due {
			pq.Pop(&w.agenda).(simItem).do()
		}
		w.settle()
		w.steps++
		return
	}
}

// run lets things happen, then ends it all.
func (w *world) run(steps int) {
	for w.steps < steps && w.broken == "" && w.shut.IsZero() {
		w.meddleAndStep()
	}
	if w.shut.IsZero() {
		w.shutdown(false)
	}
	for w.broken == "" {
		select {
		case err := <-w.ended:
			if err != nil {
				w.breaks("shutdown: it ended with %v", err)
			}
			w.settle()
			w.atEnd()
			close(w.over)
			w.settle()
			return
		default:
		}
		w.meddleAndStep()
	}
	w.tearDown()
}

func (w *world) meddleAndStep() {
	if w.odds(3) {
		w.meddle()
		w.settle()
	}
	w.step()
	w.check()
}

// tearDown ends a world in which a law was broken, so that nothing of it is left.
func (w *world) tearDown() {
	w.sabotaged.Store(&simSabotage{})
	close(w.over)
	w.shutdown(true)
	for _, p := range w.untold {
		w.s.exited(p.l, process.Exit{Code: -1, Signal: syscall.SIGKILL})
	}
	for {
		for p := range w.alive {
			if p.l != nil {
				p.exit(process.Exit{Code: -1, Signal: syscall.SIGKILL})
			}
		}
		select {
		case <-w.ended:
			w.settle()
			return
		default:
			w.step()
		}
	}
}

func (w *world) shutdown(now bool) {
	if w.shut.IsZero() {
		w.shut = time.Now()
	}
	w.s.Shutdown(now)
}

// lateWord is something that a process says which is no more.
func (w *world) lateWord(p *simProcess) {
	id := p.id
	if w.sabotage().lateCounts {
		id.Generation++
	}
	events := []lifecycle.Event{
		lifecycle.SaidReady{ID: id}, lifecycle.Greeted{ID: id}, lifecycle.Ponged{ID: id}, lifecycle.SaidStopping{ID: id},
		lifecycle.HungUp{ID: id, Breach: true, Reason: "late"}, lifecycle.Due{ID: id, Why: "late"},
	}
	w.s.post(lifecycle.Tick{}, nil) // what is due happens before, not because of it
	w.settle()
	before := w.views()
	w.s.post(events[w.rng.IntN(len(events))], p.l)
	w.settle()
	if after := w.views(); !slices.Equal(before, after) {
		w.breaks("late: words of %v have changed something", p.id)
	}
}

// views is what is to be seen of every slot.
func (w *world) views() []string {
	var all []string
	for _, b := range w.s.boards() {
		for _, pl := range *b.places.Load() {
			v, _ := pl.current()
			all = append(all, fmt.Sprintf("%v %v %v %v %v %v %v", v.Slot, v.State, v.Generation, v.Next, v.Old, v.Greeted, v.Hung))
		}
	}
	return all
}
