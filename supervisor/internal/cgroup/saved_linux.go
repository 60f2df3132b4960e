package cgroup

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"example.com/brood/supervisor/handover"
)

// SavedTree is a Tree as it goes to the program that takes this one's place, which
// is the same process. It is written as JSON.
type SavedTree struct {
	Base, Dir, Path string
	Lock            int // as handover.Out names it
	V1              map[string]string
	Switched        []string
	Moved           bool
}

// SavedGroup is a Group as it goes there: its name in the tree.
type SavedGroup string

// Export gives what AdoptTree needs. The tree goes on here.
func (t *Tree) Export(out *handover.Out) SavedTree {
	t.mu.Lock()
	defer t.mu.Unlock()
	return SavedTree{
		Base: t.base, Dir: t.dir, Path: t.path, Lock: out.FD(int(t.lock.Fd())),
		V1: maps.Clone(t.v1), Switched: slices.Clone(t.switched), Moved: t.moved,
	}
}

// AdoptTree goes on with the tree of the program before.
func AdoptTree(in *handover.In, saved SavedTree) (*Tree, error) {
	lock, err := in.File(saved.Lock, saved.Dir)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %s: %w", saved.Dir, err)
	}
	return &Tree{
		base: saved.Base, dir: saved.Dir, path: saved.Path, lock: lock, v1: saved.V1,
		switched: saved.Switched, moved: saved.Moved, verdicts: map[string]error{},
	}, nil
}

// Export gives what Tree.Adopt needs.
func (g *Group) Export() SavedGroup { return SavedGroup(filepath.Base(g.dir)) }

// Adopt goes on with a group of the program before.
func (t *Tree) Adopt(saved SavedGroup) (*Group, error) {
	g := &Group{filepath.Join(t.dir, filepath.Base(string(saved))), filepath.Join(t.path, filepath.Base(string(saved)))}
	if _, err := os.Stat(g.dir); err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	return g, nil
}
