package supervisor

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"example.com/brood/supervisor/internal/lifecycle"
)

// ChangeKind is what a reload does to a pool.
type ChangeKind string

const (
	ChangeNone    ChangeKind = "unchanged"
	ChangeAdd     ChangeKind = "add"
	ChangeRemove  ChangeKind = "remove"
	ChangeScale   ChangeKind = "scale"   // only the number of workers
	ChangeInPlace ChangeKind = "inplace" // workers go on; how they are watched and kept changes
	ChangeRoll    ChangeKind = "roll"    // every worker is replaced, by the pool's rollout
)

// Change is a reload's part in one pool.
type Change struct {
	Pool    string
	Kind    ChangeKind
	Fields  []string // that differ, by their names in Pool
	Workers [2]int   // before and after, where they differ
	Results []Result // what became of each slot that was touched; empty after a dry run
	// Reverted: the pool was left as it was, or taken back to that.
	Reverted bool
}

// Failed reports whether a slot did not come to what was asked, and so all that
// is Reverted.
func (c Change) Failed() bool {
	return slices.ContainsFunc(c.Results, func(r Result) bool { return r.Outcome == OutcomeFailed })
}

// Trouble says in words what has not come about; empty: nothing.
func (c Change) Trouble() string {
	i := slices.IndexFunc(c.Results, func(r Result) bool { return r.Outcome == OutcomeFailed })
	if i < 0 {
		return ""
	}
	what := "has changed, but not all of its slots have come to that"
	if c.Reverted {
		what = "is as it was before"
	}
	return fmt.Sprintf("pool %s %s: %v: %s", c.Pool, what, c.Results[i].Slot.Target(), c.Results[i].Text)
}

// ErrBusy: another reload is under way, or for an upgrade another upgrade.
var ErrBusy error = &sentinel{"a reload or an upgrade is under way", "conflict"}

// reload is a Reload that has begun.
type reload struct {
	over chan struct{}          // closed when it is
	at   atomic.Pointer[string] // what it does to which pool, for people; nil: it has just begun
}

// doing says what is being done to a pool.
var doing = map[ChangeKind]string{
	ChangeAdd: "added", ChangeRemove: "removed", ChangeScale: "scaled", ChangeInPlace: "changed", ChangeRoll: "rolled",
}

// reloadUnderWay says how far the reload that is under way has come, and how to see
// that go on.
func (s *Supervisor) reloadUnderWay() string {
	if r := s.lastReload.Load(); r != nil && r.at.Load() != nil {
		return *r.at.Load()
	}
	return "a reload has just begun"
}

// inPlace are the fields of Pool that workers need not be replaced for.
var inPlace = []string{"MinReady", "Health", "Restart", "Stop", "Recycle", "Rollout", "Dispatch", "Commands", "After"}

// Plan says what Reload would do with cfg, and changes nothing.
func (s *Supervisor) Plan(cfg Config) ([]Change, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	pools := cfg.withDefaults().Pools
	return s.planSockets(s.plan(pools), pools), nil
}

// plan compares with what was last asked for, not with what scale has made of
// it since: a reload that does not mention a number does not undo it. A pool's turn
// comes after that of those it comes after, and when pools go, before.
func (s *Supervisor) plan(pools []Pool) []Change {
	var changes []Change
	before := s.declared()
	for _, p := range byOrder(pools) {
		i := slices.IndexFunc(before, func(o Pool) bool { return o.Name == p.Name })
		if i < 0 {
			changes = append(changes, Change{Pool: p.Name, Kind: ChangeAdd, Workers: [2]int{0, p.Workers}})
			continue
		}
		changes = append(changes, compare(before[i], p))
	}
	for _, o := range slices.Backward(byOrder(before)) {
		if !slices.ContainsFunc(pools, func(p Pool) bool { return p.Name == o.Name }) {
			changes = append(changes, Change{Pool: o.Name, Kind: ChangeRemove, Workers: [2]int{o.Workers, 0}})
		}
	}
	return changes
}

// byOrder puts pools behind those that they come after. Else it leaves them in the
// order that they have.
func byOrder(pools []Pool) []Pool {
	var all []Pool
	seen := map[string]bool{}
	var put func(p Pool)
	put = func(p Pool) {
		if seen[p.Name] {
			return
		}
		seen[p.Name] = true
		for _, q := range pools {
			if slices.Contains(p.After, q.Name) {
				put(q)
			}
		}
		all = append(all, p)
	}
	for _, p := range pools {
		put(p)
	}
	return all
}

func compare(old, p Pool) Change {
	c := Change{Pool: p.Name, Kind: ChangeNone}
	if old.Workers != p.Workers {
		c.Kind, c.Workers = ChangeScale, [2]int{old.Workers, p.Workers}
	}
	a, b := reflect.ValueOf(old), reflect.ValueOf(p)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if name == "Workers" || same(a.Field(i), b.Field(i)) {
			continue
		}
		c.Fields = append(c.Fields, strings.ToLower(name))
		switch {
		case !slices.Contains(inPlace, name), name == "Health" && p.Ready.When == ReadyNotify && old.Health.Beat != p.Health.Beat:
			// the latter was told to the processes when they were started
			c.Kind = ChangeRoll
		case c.Kind != ChangeRoll:
			c.Kind = ChangeInPlace
		}
	}
	return c
}

// same: no entries are no different from none at all.
func same(a, b reflect.Value) bool {
	if k := a.Kind(); (k == reflect.Map || k == reflect.Slice) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// Reload makes the running pools what cfg says, touching only what has changed:
// it compares cfg's pools with those of the Config before. A pool whose new
// workers do not become ready goes back to what it was. cfg's other fields are
// ignored. It waits until all is done or ctx ends, in which case it goes on, and
// the results say so.
//
// The error is about the whole: cfg is faulty, another reload is under way
// (ErrBusy), or the supervisor is not running (ErrStopping); nothing was changed.
func (s *Supervisor) Reload(ctx context.Context, cfg Config) ([]Change, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	select {
	case <-s.stopping:
		return nil, ErrStopping
	default:
	}
	s.exchanging.Lock() // an upgrade that is tried now fails within moments, or there is no this any more
	ours := s.reloading.TryLock()
	s.exchanging.Unlock()
	if !ours {
		return nil, fmt.Errorf("%w: %s; try again when it is over", ErrBusy, s.reloadUnderWay())
	}
	r := &reload{over: make(chan struct{})}
	s.lastReload.Store(r)
	end := func() {
		s.settleSockets()
		s.reloading.Unlock()
		close(r.over)
	}
	pools := cfg.withDefaults().Pools
	if err := errors.Join(s.prepareSockets(pools), s.prepare(pools)); err != nil {
		end()
		return nil, err
	}
	changes := s.planSockets(s.plan(pools), pools)
	waiting := slices.Clone(changes)
	finished := make(chan []Change, 1)
	go func() { // it ends at the latest with the loop, and holds the lock until then
		for i := range changes {
			c := &changes[i]
			if c.Kind != ChangeNone {
				at := fmt.Sprintf("pool %s is being %s, which `brood events -f %s` shows", c.Pool, doing[c.Kind], c.Pool)
				r.at.Store(&at)
			}
			s.change(c, pools)
		}
		for _, c := range changes {
			if !c.Reverted {
				s.sockets.rolled(c.Pool)
			}
		}
		end()
		finished <- changes // at the very end: who has this answer may begin the next
	}()
	select {
	case changes := <-finished:
		return changes, nil
	case <-ctx.Done():
	}
	for i, c := range waiting {
		if c.Kind != ChangeNone {
			waiting[i].Results = []Result{{Slot: SlotStatus{Pool: c.Pool}, Outcome: OutcomeTimeout, Text: "it goes on; see `brood status`"}}
		}
	}
	return waiting, nil
}

// planSockets has pools rolled, too, whose workers have a socket that nobody can reach.
func (s *Supervisor) planSockets(changes []Change, pools []Pool) []Change {
	for i := range changes {
		c := &changes[i]
		at := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == c.Pool })
		if at < 0 || c.Kind == ChangeAdd || !s.sockets.needsRoll(pools[at]) {
			continue
		}
		c.Kind = ChangeRoll
		if !slices.Contains(c.Fields, "listen") {
			c.Fields = append(c.Fields, "listen")
		}
	}
	return changes
}

func (s *Supervisor) prepareSockets(pools []Pool) error {
	anew, err := s.sockets.prepare(pools)
	for _, w := range anew {
		s.cfg.Log.Warn("the file of a socket was gone, or another's: it is made anew, and workers that have the old one are replaced", "pool", w.pool, "socket", w.spec.String())
	}
	return err
}

// settleSockets makes them what the pools that were last asked for want.
func (s *Supervisor) settleSockets() {
	if err := s.sockets.settle(s.declared()); err != nil {
		s.cfg.Log.Error("a socket is not as it was before the reload, or could not be closed", "error", err)
	}
}

// Reloaded is closed when the last reload that has begun is over, which may be later
// than its Reload returns.
func (s *Supervisor) Reloaded() <-chan struct{} {
	if r := s.lastReload.Load(); r != nil {
		return r.over
	}
	return ended // there was none
}

// change carries out the change of one pool. What comes after a step that was
// taken back is left alone.
func (s *Supervisor) change(c *Change, pools []Pool) {
	for i, in := range s.inputsFor(*c, pools) {
		reply := make(chan []Result, 1)
		in.reply = reply
		results, err := s.ask(context.Background(), in, reply, nil)
		if err != nil {
			results = []Result{{Slot: SlotStatus{Pool: c.Pool}, Outcome: OutcomeFailed, Text: err.Error()}}
		}
		c.Results = append(c.Results, results...)
		if !s.isInForce(in) {
			c.Reverted = i == 0
			return
		}
	}
}

// isInForce: a pool is what the loop was told to make it. A slot that has failed says
// nothing of that: it may have been stopped meanwhile.
func (s *Supervisor) isInForce(in input) bool {
	switch ev := in.event.(type) {
	case lifecycle.AddPool:
		b := s.boardOf(ev.Pool)
		return b != nil && !b.gone.Load()
	case lifecycle.RemovePool:
		b := s.boardOf(ev.Pool)
		return b == nil || b.gone.Load()
	case lifecycle.Reconfigure:
		b := s.boardOf(ev.Pool)
		return b != nil && b.config.Load() == in.pool
	case lifecycle.Resize:
		b := s.boardOf(ev.Pool)
		return b != nil && b.asked.Load() == int64(ev.To)
	}
	return true
}

// inputsFor is what the loop is told to make a change.
func (s *Supervisor) inputsFor(c Change, pools []Pool) []input {
	op, version := s.lastOp.Add(1), s.lastVersion.Add(1)
	i := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == c.Pool })
	if c.Kind == ChangeRemove {
		return []input{{event: lifecycle.RemovePool{Op: op, Pool: c.Pool}}}
	}
	p := pools[i]
	if c.Kind == ChangeAdd {
		return []input{{pool: &p, event: lifecycle.AddPool{Op: op, Pool: p.Name, Slots: p.Workers, Version: version, Policy: p.policy(), After: p.After}}}
	}
	var all []input
	if c.Kind == ChangeRoll || c.Kind == ChangeInPlace {
		all = append(all, input{pool: &p, event: lifecycle.Reconfigure{
			Op: op, Pool: p.Name, Version: version, Policy: p.policy(), After: p.After, Roll: c.Kind == ChangeRoll,
		}})
	}
	if c.Workers[0] != c.Workers[1] {
		all = append(all, input{pool: &p, event: lifecycle.Resize{Op: s.lastOp.Add(1), Pool: p.Name, To: p.Workers}})
	}
	return all
}

// Scale gives a pool another number of workers. Those there are not touched; of
// too many the highest slots go. It waits until the new ones are ready and the
// others gone, or ctx ends.
func (s *Supervisor) Scale(ctx context.Context, pool string, n int) ([]Result, error) {
	if n < 1 || n > maxWorkers {
		return nil, &FieldError{"pools." + pool + ".workers", fmt.Sprintf("must be 1 to %d, got %d; to have none, stop the pool", maxWorkers, n)}
	}
	b, err := s.findPool(Target{Pool: pool})
	if err != nil {
		return nil, err
	}
	before := *b.places.Load()
	stay := staying(before)
	reply := make(chan []Result, 1)
	in := input{event: lifecycle.Resize{Op: s.lastOp.Add(1), Pool: b.name, To: n}, reply: reply}
	return s.ask(ctx, in, reply, func() []Result { return s.scaledSoFar(b, before, stay, n) })
}

// scaledSoFar is the results of a Scale to n that is not settled, of the slots that it
// starts or removes; before are those that there were, of which so many were to stay.
func (s *Supervisor) scaledSoFar(b *board, before []*place, stay, n int) []Result {
	var results []Result
	now := *b.places.Load()
	for i := min(stay, n); i < max(len(before), n); i++ {
		verb := lifecycle.Start
		pl := newPlace(b, i+1) // of a slot that the loop has not come to
		switch {
		case i >= n:
			verb, pl = lifecycle.Stop, before[i] // which may be gone
		case i < len(now):
			pl = now[i]
		}
		results = append(results, s.soFar(verb, []*place{pl}, []uint64{0})...)
	}
	return results
}
