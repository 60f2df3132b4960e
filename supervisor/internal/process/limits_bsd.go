//go:build darwin || freebsd

package process

import "golang.org/x/sys/unix"

// LimitNames are the resources of setrlimit(2), so that a configuration means
// the same everywhere. They can't be applied here.
var LimitNames = map[string]int{
	"as":      unix.RLIMIT_AS,
	"core":    unix.RLIMIT_CORE,
	"cpu":     unix.RLIMIT_CPU,
	"data":    unix.RLIMIT_DATA,
	"fsize":   unix.RLIMIT_FSIZE,
	"memlock": unix.RLIMIT_MEMLOCK,
	"nofile":  unix.RLIMIT_NOFILE,
	"nproc":   unix.RLIMIT_NPROC,
	"rss":     unix.RLIMIT_RSS,
	"stack":   unix.RLIMIT_STACK,
}
