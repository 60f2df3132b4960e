// Package handovertest carries a handover from one end to the other within a
// test, for those that have something to hand over.
package handovertest

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
)

// Deliver is what happens between the two programs. Descriptors arrive as
// duplicates: those of o stay open, as they would if the next program could not
// be executed. What nobody takes is closed at the end of the test. They come as they
// do by execve(2), without close-on-exec: so nothing is forked meanwhile, which would
// inherit them.
func Deliver(t testing.TB, o *handover.Out) *handover.In {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var there []int
	for _, fd := range o.FDs() {
		n, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		there = append(there, n)
	}
	_, env, err := o.Seal(there)
	if err != nil {
		t.Fatal(err)
	}
	key, value, _ := strings.Cut(env, "=")
	t.Setenv(key, value)
	in, err := handover.Receive()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	return in
}

// Carry puts v into o, delivers that, and gets v back as the next program does.
func Carry[T any](t testing.TB, o *handover.Out, v T) (*handover.In, T) {
	t.Helper()
	const name = "v"
	if err := o.Put(name, v); err != nil {
		t.Fatal(err)
	}
	in := Deliver(t, o)
	var got T
	if ok, err := in.Get(name, &got); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return in, got
}
