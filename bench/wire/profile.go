package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profileEnv names a directory: each Go process of a pair writes its CPU and
// allocation profiles there when it ends. Every allocation is counted if
// GODEBUG=memprofilerate=1 is set as well, at the cost of the timings.
const profileEnv = "BENCH_PROFILE"

// profiled runs f, with profiles if they are asked for.
func profiled(role, key string, f func() error) error {
	dir := os.Getenv(profileEnv)
	if dir == "" {
		return f()
	}
	base := filepath.Join(dir, fmt.Sprintf("%s-%s-%d", key, role, os.Getpid()))
	cpu, err := os.Create(base + ".cpu")
	if err != nil {
		return err
	}
	defer cpu.Close()
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	err = f()
	pprof.StopCPUProfile()
	allocs, cerr := os.Create(base + ".allocs")
	if cerr != nil {
		return errors.Join(err, cerr)
	}
	defer allocs.Close()
	return errors.Join(err, pprof.Lookup("allocs").WriteTo(allocs, 0))
}
