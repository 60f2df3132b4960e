package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/config"
	"example.com/brood/supervisor/handover"
)

// The supervisor's end of `brood upgrade`: the program that takes its place, and,
// in that program, what it takes over.

// successor is the file that this program was started from, as it was named then:
// what is there now is what takes its place.
func successor() (string, error) {
	name := os.Args[0]
	if strings.Contains(name, "/") {
		return filepath.Abs(name)
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return os.Executable()
}

// upgradeFunc has another brood take this one's place. It returns only if that
// fails.
type upgradeFunc func(ctx context.Context) error

// upgrader is for a supervisor and what is beside it. Where it was started from is
// looked at once, as a relative name means another file in another directory.
func (n *notifier) upgrader(sup *supervisor.Supervisor, sigs *signals, beside ...supervisor.Beside) upgradeFunc {
	program, err := successor()
	beside = append(beside, sigs, n)
	return func(ctx context.Context) error {
		if err != nil {
			return fmt.Errorf("%w: %w", supervisor.ErrUnfit, err)
		}
		return sup.Upgrade(ctx, supervisor.Upgrade{Program: program, Args: os.Args, Beside: beside, News: sigs.waiting})
	}
}

// upgradeLimit is how long an upgrade asked for by SIGUSR2 is tried.
const upgradeLimit = time.Minute

// logUpgrade is an upgrade that nobody waits for, so its failure is logged.
func logUpgrade(upgrade upgradeFunc, log hclog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), upgradeLimit)
	defer cancel()
	if err := upgrade(ctx); err != nil {
		log.Error("upgrade", "error", err)
	}
}

// Hold does nothing: what is said to the service manager needs no standstill.
func (n *notifier) Hold(context.Context) error { return nil }

// Hand says that what READY=1 has promised is interrupted for a moment.
func (n *notifier) Hand(*handover.Out) error {
	if n != nil && n.promised.Load() {
		n.interrupted = true
		n.sayReloading()
	}
	return nil
}

// Release says that it goes on, if it was interrupted.
func (n *notifier) Release() {
	if n != nil && n.interrupted {
		n.interrupted = false
		n.say("READY=1")
	}
}

// fits answers the program that asks whether this one could take its place:
// nothing but the start is left to be done.
func (f *runFlags) fits(file *config.File) error {
	if _, err := f.logger(); err != nil {
		return &coded{exitUsage, err}
	}
	if _, err := rulesOf(file.Control); err != nil {
		return &coded{exitUsage, err}
	}
	if err := (&supervisor.Config{Pools: file.Pools}).Validate(); err != nil {
		return &coded{exitUsage, err}
	}
	fmt.Println(handover.Fits())
	return nil
}

// standing is the configuration in force, which goes along.
type standing struct{ file atomic.Pointer[config.File] }

// standingName is what it is handed over by.
const standingName = "configuration"

// Hold does nothing: it does not move.
func (s *standing) Hold(context.Context) error { return nil }

// Hand puts it into out.
func (s *standing) Hand(out *handover.Out) error { return out.Put(standingName, s.file.Load()) }

// Release does nothing.
func (s *standing) Release() {}

// inherit is the configuration that was handed over, for when the file, which was
// good when this program was asked, can't be read any more.
func inherit(in *handover.In, fault error) (*config.File, error) {
	var file config.File
	ok, err := in.Get(standingName, &file)
	if !ok || err != nil {
		return nil, errors.Join(fault, err)
	}
	fmt.Fprintf(os.Stderr, "brood: all goes on as it was configured before the upgrade: %v\n", fault)
	return &file, nil
}
