package supervisor

import (
	"context"
	"fmt"

	"example.com/brood/supervisor/internal/lifecycle"
)

// Outcome is what became of an order in one slot.
type Outcome string

const (
	OutcomeDone      Outcome = "done"
	OutcomeUnchanged Outcome = "unchanged" // it was so already, or was not touched
	OutcomeFailed    Outcome = "failed"    // it did not come to what was asked
	OutcomeTimeout   Outcome = "timeout"   // it may still; the wait was over
)

// Result is one slot's part of an order.
type Result struct {
	Slot    SlotStatus // at the end of the wait
	Outcome Outcome
	Text    string // why not, when it is not done
	// Stderr is the last lines of the process that failed, oldest first.
	Stderr []string
}

// Start wants the named slots up. It waits until each is ready, or has died, or
// ctx ends. What came before is forgiven: backoff and budget begin anew.
func (s *Supervisor) Start(ctx context.Context, t Target) ([]Result, error) {
	return s.order(ctx, lifecycle.Start, t)
}

// Stop wants the named slots down. It waits until each is empty, or ctx ends.
func (s *Supervisor) Stop(ctx context.Context, t Target) ([]Result, error) {
	return s.order(ctx, lifecycle.Stop, t)
}

// Restart replaces the workers of the named slots and waits until each is
// ready, or ctx ends. A slot that is named itself is started if it was stopped.
// Of several, those of a pool go one at a time, the next when the one before is
// ready; the first that does not become so ends it and leaves the others as
// they are.
func (s *Supervisor) Restart(ctx context.Context, t Target) ([]Result, error) {
	return s.order(ctx, lifecycle.Restart, t)
}

// order asks the loop and waits. When ctx ends first the order goes on, and
// the results say what is so far.
func (s *Supervisor) order(ctx context.Context, verb lifecycle.Verb, t Target) ([]Result, error) {
	places, err := s.find(t)
	if err != nil {
		return nil, err
	}
	slots, before := make([]lifecycle.Slot, len(places)), make([]uint64, len(places))
	for i, pl := range places {
		slots[i], before[i] = pl.id, pl.view.Load().Generation
	}
	reply := make(chan []Result, 1)
	o := lifecycle.Order{Op: s.lastOp.Add(1), Verb: verb, Slots: slots, Generation: t.Generation}
	results, err := s.ask(ctx, input{event: o, reply: reply}, reply, func() []Result { return s.soFar(verb, places, before) })
	for _, r := range results {
		if r.Outcome == Outcome(lifecycle.OutcomeStale) { // the order named one generation, so this is all of it
			return nil, fmt.Errorf("%w: %s", ErrStale, r.Text)
		}
	}
	return results, err
}

// ask gives the loop an input and waits for the answer; late says what is so
// when ctx ends first.
func (s *Supervisor) ask(ctx context.Context, in input, reply <-chan []Result, late func() []Result) ([]Result, error) {
	select {
	case s.inputs <- in: // first of all: who does not wait wants it done all the same
	default:
		select {
		case s.inputs <- in:
		case <-s.done:
			return nil, ErrStopping
		case <-ctx.Done():
			return late(), nil
		}
	}
	select {
	case results := <-reply:
		return results, nil
	case <-s.done:
		select {
		case results := <-reply: // it was the last thing the loop did
			return results, nil
		default:
			return nil, ErrStopping
		}
	case <-ctx.Done():
		return late(), nil
	}
}

// soFar is the results of an order that is not settled; before are the generations
// that it was given to.
func (s *Supervisor) soFar(verb lifecycle.Verb, places []*place, before []uint64) []Result {
	results := make([]Result, len(places))
	for i, pl := range places {
		st := s.slotStatus(pl)
		results[i] = Result{Slot: st, Outcome: OutcomeTimeout, Text: unfinished(verb, st, before[i])}
		if reached(verb, st) {
			results[i] = Result{Slot: st, Outcome: OutcomeDone}
		}
	}
	return results
}

// unfinished says in words how far an order has come.
func unfinished(verb lifecycle.Verb, st SlotStatus, before uint64) string {
	switch {
	case st.State != lifecycle.Ready:
		return "not done yet: " + notUp(st.State, st.Reason, st.RetryAt)
	case verb == lifecycle.Stop:
		return "not stopped yet"
	case st.Generation == before:
		return "not replaced yet"
	}
	return "it is replaced, and the restart goes on" // as with others, or it is still watched
}

// reached reports whether a slot is where verb wants it, as far as one look
// can tell.
func reached(verb lifecycle.Verb, st SlotStatus) bool {
	switch verb {
	case lifecycle.Start:
		return st.State == lifecycle.Ready
	case lifecycle.Stop:
		return st.State == lifecycle.Stopped
	}
	return false
}
