package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/process"
)

// An upgrade: another program takes this one's place by execve(2), under the same
// pid, and the workers go on. What is handed over is put together in a moment in
// which nothing moves (hold.go, kept.go) and taken up again by Run (takeup.go).

// Upgrade is the program that is to take this one's place.
type Upgrade struct {
	Program string   // its file
	Args    []string // all of them, its name first
	Env     []string // nil: this program's
	// Beside is what else of this program goes on in the next one.
	Beside []Beside
	// News reports whether something has come that is still this program's to do, such
	// as a signal. It is asked last, when signals that come are told to the next one
	// anyway. nil: there is nothing.
	News func() bool
}

// Beside is something beside the supervisor that goes on in the next program.
type Beside interface {
	// Hold has it stand still, and returns when it does. If it can't by the end of
	// ctx it goes on, and the error says what was under way.
	Hold(ctx context.Context) error
	// Hand puts what the next program needs into out. It stands still.
	Hand(out *handover.Out) error
	// Release has it go on: there is no next program.
	Release()
}

// Errors of Upgrade.
var (
	// ErrNotNow: what is under way could not be handed over, up to the end of ctx.
	ErrNotNow error = &sentinel{"the supervisor can't be upgraded now", "conflict"}
	// ErrUnfit: the program can't take over; the text has its own words.
	ErrUnfit error = &sentinel{"the program can't take over", "conflict"}
)

const (
	// fitTime is how long the next program may take to say that it could take over.
	fitTime = 10 * time.Second
	// leastHold and mostHold are how long nothing new is begun while what is under
	// way comes to its end: in the first try, and at last.
	leastHold, mostHold = 50 * time.Millisecond, time.Second
	// holdPause is how many times as long all goes on between two tries.
	holdPause = 4
)

// Upgrade has another program take this one's place. It is asked first whether it
// could: started with [handover.Check] in its environment it must print
// [handover.Fits] and end with code 0. Then it is waited, up to the end of ctx, for
// a moment in which no command is under way, no order, rollout or reload, and no
// process just being started.
//
// It returns only if there is no next program; the error says why, and all goes
// on as before. The program must be one whose main function is [Main]. On systems
// other than Linux the error is errors.ErrUnsupported.
func (s *Supervisor) Upgrade(ctx context.Context, u Upgrade) error {
	if u.Env == nil {
		u.Env = os.Environ()
	}
	select {
	case <-s.stopping:
		return ErrStopping
	default:
	}
	if !s.upgrading.TryLock() {
		return fmt.Errorf("%w: another upgrade is", ErrBusy)
	}
	defer s.upgrading.Unlock()
	if err := s.askNext(ctx, u); err != nil {
		return err
	}
	for hold := leastHold; ; hold = min(2*hold, mostHold) {
		err := s.exchange(ctx, u, hold)
		if !errors.Is(err, ErrNotNow) {
			return err
		}
		s.cfg.Log.Debug("the upgrade is tried again", "error", err)
		timer := time.NewTimer(holdPause * hold)
		select {
		case <-timer.C:
		case <-s.stopping:
			timer.Stop()
			return ErrStopping
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// askNext asks the next program whether it could take over.
func (s *Supervisor) askNext(ctx context.Context, u Upgrade) error {
	limited, cancel := context.WithTimeout(ctx, fitTime)
	defer cancel()
	unfit := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrUnfit, u.Program, fmt.Sprintf(format, args...))
	}
	a, err := s.runProgram(limited, process.Spec{Command: slices.Concat([]string{u.Program}, u.Args[1:]), Env: append(slices.Clone(u.Env), handover.Check())}, nil, nil)
	switch said := strings.TrimSpace(string(a.stderr)); {
	case err != nil && s.running.Err() != nil:
		return ErrStopping
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: %s: the wait was over before it said whether it could take over", ErrNotNow, u.Program)
	case errors.Is(err, errAsideKilled):
		return unfit("it does not say within %v whether it could", fitTime)
	case err != nil:
		return unfit("%v", err)
	case a.exit.Code != 0 && said != "":
		return unfit("%s", said)
	case a.exit != (process.Exit{}):
		return unfit("%v", lifecycle.Exit{Code: a.exit.Code, Signal: a.exit.Signal, Core: a.exit.Core})
	}
	if fits := string(bytes.TrimSpace(a.stdout)); fits != handover.Fits() {
		return unfit("it says %.60q, where brood says %q; brood of that version can't go on with this one's workers", fits, handover.Fits())
	}
	return nil
}

// exchange tries once. It returns only if there is no next program.
func (s *Supervisor) exchange(ctx context.Context, u Upgrade, limit time.Duration) (err error) {
	s.exchanging.Lock() // a reload waits for the outcome
	defer s.exchanging.Unlock()
	if !s.reloading.TryLock() {
		return fmt.Errorf("%w: %s", ErrNotNow, s.reloadUnderWay())
	}
	defer s.reloading.Unlock()
	held, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for i, b := range u.Beside {
		if err := b.Hold(held); err != nil {
			release(u.Beside[:i])
			return fmt.Errorf("%w: %w", ErrNotNow, err)
		}
	}
	defer release(u.Beside)
	still, err := s.hold(ctx, limit)
	if err != nil {
		return err
	}
	defer still.release()
	var out handover.Out
	if err := still.hand(&out); err != nil {
		return fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	for _, b := range u.Beside {
		if err := b.Hand(&out); err != nil {
			return fmt.Errorf("%w: %w", ErrNotNow, err)
		}
	}
	s.finishWords()
	err = s.spawner.Exec(u.Program, u.Args, u.Env, &out, func() error { return still.last(u.News) })
	if errors.Is(err, process.ErrStarting) {
		err = fmt.Errorf("%w: %w", ErrNotNow, err)
	}
	return err
}

func release(all []Beside) {
	for _, b := range slices.Backward(all) {
		b.Release()
	}
}

// finishWords waits a moment for what there is to log.
func (s *Supervisor) finishWords() {
	logged := make(chan struct{})
	select {
	case s.said <- func() { close(logged) }:
	default:
		return // the log is stuck
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-logged:
	case <-timer.C:
	}
}
