//go:build !linux

package orphans

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Orphans does nothing on this system.
type Orphans struct{}

// Family does nothing on this system.
type Family struct{}

// Saved is nothing on this system.
type Saved struct{}

// Start fails with an error that wraps [errors.ErrUnsupported]. What is
// missing here: the supervisor does not become the parent of what its workers
// leave behind. A process that has left its worker's process group goes to
// init, is not found, and lives on after the stop.
func Start(Options) (*Orphans, error) {
	return nil, fmt.Errorf("orphans: on %s a process that leaves its worker's process group is not found, and lives on after a stop: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (o *Orphans) Close()                                      {}
func (o *Orphans) Export() *Saved                              { return nil }
func (o *Orphans) Env() string                                 { return runKey + "=" }
func (o *Orphans) Beside() (string, uint64)                    { return runKey + "=", 0 }
func (o *Orphans) Family(Origin) *Family                       { return nil }
func (o *Orphans) KillAll(context.Context) ([]Survivor, error) { return nil, nil }
func (f *Family) Note()                                        {}
func (f *Family) Sweep() ([]Survivor, error)                   { return nil, nil }
func (f *Family) End(context.Context) ([]Survivor, error)      { return nil, nil }
func Kill(context.Context, []Survivor) error                   { return nil }
