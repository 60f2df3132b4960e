package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// limit is one limit as it is written.
type limit struct {
	controller string
	file       string
	value      string
	words      string // for people
	extra      bool   // it only helps another; a kernel without it is no fault
}

func (l Limits) list() []limit {
	var all []limit
	if l.MemoryHigh > 0 {
		all = append(all, limit{"memory", "memory.high", fmt.Sprint(l.MemoryHigh), fmt.Sprintf("memory above %d bytes slowed down", l.MemoryHigh), false})
	}
	if l.MemoryMax > 0 {
		all = append(all,
			limit{"memory", "memory.max", fmt.Sprint(l.MemoryMax), fmt.Sprintf("at most %d bytes of memory", l.MemoryMax), false},
			limit{"memory", "memory.oom.group", "1", "", true})
	}
	if l.PIDsMax > 0 {
		all = append(all, limit{"pids", "pids.max", fmt.Sprint(l.PIDsMax), fmt.Sprintf("at most %d processes and threads", l.PIDsMax), false})
	}
	return all
}

// Check makes ready what the limits need and tells, in a sentence for each,
// which of them will not be enforced and why. It is called before the first
// worker is started, because the supervisor may have to move to a group of its
// own for it, which it can't while others are where it is.
func (t *Tree) Check(l Limits) []string {
	var sentences []string
	for _, one := range l.list() {
		if err := t.enable(one.controller); err != nil && !one.extra {
			sentences = append(sentences, fmt.Sprintf("%s: not enforced, as %v", one.words, err))
		}
	}
	return sentences
}

// enable makes a controller work for the groups of the tree: it must be in
// cgroup.subtree_control of base and of dir.
func (t *Tree) enable(controller string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	verdict, asked := t.verdicts[controller]
	if !asked {
		verdict = t.tryEnable(controller)
		t.verdicts[controller] = verdict
	}
	return verdict
}

func (t *Tree) tryEnable(controller string) error {
	there, err := words(t.base, "cgroup.controllers")
	if err != nil {
		return err
	}
	if !slices.Contains(there, controller) {
		if point := t.v1[controller]; point != "" {
			return fmt.Errorf("the %s controller works for cgroup v1 here (%s)", controller, point)
		}
		return fmt.Errorf("the %s controller is not handed to %s", controller, t.base)
	}
	on, err := words(t.base, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	if !slices.Contains(on, controller) {
		if err := t.switchOn(controller); err != nil {
			return err
		}
		t.switched = append(t.switched, controller)
	}
	return write(t.dir, "cgroup.subtree_control", "+"+controller)
}

// switchOn enables controller in base. A cgroup that is not the root can't
// have both processes and children with controllers (cgroups(7), "no internal
// processes"); if this one is the only process there, it moves to a leaf.
func (t *Tree) switchOn(controller string) error {
	err := write(t.base, "cgroup.subtree_control", "+"+controller)
	if !errors.Is(err, unix.EBUSY) || t.moved {
		return err
	}
	procs, readErr := readProcs(t.base)
	if readErr != nil {
		return readErr
	}
	if others := slices.DeleteFunc(procs, func(pid int) bool { return pid == os.Getpid() }); len(others) > 0 {
		return fmt.Errorf("other processes are in %s (%s), and a cgroup with processes can't have limited ones below it", t.base, some(others))
	}
	home := filepath.Join(t.dir, leaf)
	if err := os.Mkdir(home, 0o755); err != nil {
		return err
	}
	if err := write(home, "cgroup.procs", "0"); err != nil {
		return errors.Join(err, unix.Rmdir(home))
	}
	t.moved = true
	return write(t.base, "cgroup.subtree_control", "+"+controller)
}

// some names a few pids.
func some(pids []int) string {
	const few = 5
	text := strings.Trim(fmt.Sprint(pids[:min(few, len(pids))]), "[]")
	if len(pids) > few {
		text += fmt.Sprintf(" and %d more", len(pids)-few)
	}
	return text
}

// words reads an interface file of words a space apart.
func words(dir, name string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	return strings.Fields(string(b)), err
}
