//go:build !linux

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"example.com/brood/supervisor/handover"
)

// Tree has no groups on this system.
type Tree struct{}

// Group does not exist on this system.
type Group struct{}

// SavedTree and SavedGroup are nothing on this system.
type (
	SavedTree  struct{}
	SavedGroup string
)

// AdoptTree fails as Open does.
func AdoptTree(*handover.In, SavedTree) (*Tree, error) { return Open("") }

// Open fails with an error that wraps [errors.ErrUnsupported]. What is missing
// here: cgroups. A process that leaves its worker's process group can't be
// killed with it, and memory and process limits are not enforced.
func Open(string) (*Tree, error) {
	return nil, fmt.Errorf("cgroup: %s has no cgroups: workers are killed by process group, and limits are not enforced: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (t *Tree) Close() error                       { return nil }
func (t *Tree) Export(*handover.Out) SavedTree     { return SavedTree{} }
func (t *Tree) Adopt(SavedGroup) (*Group, error)   { return nil, errors.ErrUnsupported }
func (g *Group) Export() SavedGroup                { return "" }
func (t *Tree) Check(Limits) []string              { return nil }
func (t *Tree) Leftovers() []string                { return nil }
func (t *Tree) New(string, Limits) (*Group, error) { return nil, errors.ErrUnsupported }
func (g *Group) Path() string                      { return "" }
func (g *Group) FD() (*os.File, error)             { return nil, errors.ErrUnsupported }
func (g *Group) Add(int) error                     { return errors.ErrUnsupported }
func (g *Group) Kill() error                       { return errors.ErrUnsupported }
func (g *Group) Procs() ([]int, error)             { return nil, errors.ErrUnsupported }
func (g *Group) OOMKills() (int64, error)          { return 0, errors.ErrUnsupported }
func (g *Group) Remove(context.Context) error      { return errors.ErrUnsupported }
