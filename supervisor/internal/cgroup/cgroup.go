// Package cgroup gives each worker a cgroup of its own, where the cgroup that
// the supervisor is in may be written to: there a worker and all that comes
// from it can be killed at a stroke, and limited.
//
// The common case:
//
//	tree, err := cgroup.Open("")
//	if err != nil { … } // it says why there are none; workers run without
//	defer tree.Close()
//	for _, sentence := range tree.Check(limits) { … } // what isn't enforced, and why
//
//	group, err := tree.New("web.2.7", limits)
//	fd, err := group.FD() // for SysProcAttr.CgroupFD; closed after the fork
//	group.Kill()
//	err = group.Remove(ctx)
//
// Groups are named brood-<pid of the supervisor>/web.2.7, below the
// supervisor's own or one that was handed to it. Only cgroup v2 is used, alone
// or beside v1 (cgroups(7)). It needs Linux 5.7; before 5.14 a kill walks
// through the processes of a frozen group.
package cgroup

// Limits of a worker and all that comes from it. Zero: no limit.
type Limits struct {
	MemoryMax  int64 // bytes; above it the whole group is killed (memory.max, memory.oom.group)
	MemoryHigh int64 // bytes; above it the group is slowed down and its memory reclaimed (memory.high)
	PIDsMax    int64 // processes and threads; above it a fork fails with EAGAIN (pids.max)
}
