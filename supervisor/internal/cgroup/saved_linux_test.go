package cgroup

import (
	"os"
	"testing"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
)

// TestHandedOver: the next program, which is the same process, goes on with the tree,
// which nobody takes for left over meanwhile, and with what runs in its groups.
func TestHandedOver(t *testing.T) {
	base := scratch(t)
	before, err := Open(base)
	if err != nil {
		t.Fatal(err)
	}
	group, err := before.New("web.1.7", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, group.dir, "sleep", "1000")
	type saved struct {
		Tree  SavedTree
		Group SavedGroup
	}
	var out handover.Out
	in, read := handovertest.Carry(t, &out, saved{before.Export(&out), group.Export()})
	after, err := AdoptTree(in, read.Tree)
	if err != nil {
		t.Fatal(err)
	}
	before.lock.Close() // by execve(2)
	if lock, err := hold(after.dir); err == nil {
		lock.Close()
		t.Error("the tree is nobody's any more")
	}
	g, err := after.Adopt(read.Group)
	if err != nil {
		t.Fatal(err)
	}
	if g.Path() != group.Path() {
		t.Errorf("the group was %s and is %s", group.Path(), g.Path())
	}
	if _, err := after.Adopt("web.1.8"); err == nil {
		t.Error("a group that is not there was gone on with")
	}
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	_ = p.Wait()
	if err := g.Remove(deadline(t)); err != nil {
		t.Error(err)
	}
	if _, err := after.New("web.1.9", Limits{}); err != nil {
		t.Error(err)
	}
	if err := after.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(after.dir); err == nil {
		t.Errorf("%s is left", after.dir)
	}
}
