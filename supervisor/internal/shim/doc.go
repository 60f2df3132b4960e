// Package shim gives a process what fork and exec alone cannot give it, from
// inside: umask, resource limits, nice, oom_score_adj, no_new_privs, its own pid
// in LISTEN_PID, and the user to become last of all.
//
// The shim is the supervisor's own executable, started again from
// /proc/self/exe. That works for deleted and replaced binaries, and for any
// program that embeds package supervisor, because the init of this package runs
// before the program's main: it sees that it is a shim, carries out its
// [Order], and has execve(2) put the worker's program in its place. The pid, and
// with it the pidfd, the process group and the cgroup, stay the same.
//
// A program is taken for a shim only if BROOD_SHIM names a descriptor of it that
// is a memfd sealed against every change (F_GET_SEALS, fcntl(2)) and that begins
// with this package's mark. None has such a descriptor by accident, and the
// worker inherits neither the variable nor the descriptor. A set-user-id
// program is never one.
//
// What the shim can't do it reports, and does not start the program. It imports
// nothing but syscall and unsafe, so that its init comes among the first.
//
// There is a shim on Linux only.
package shim
