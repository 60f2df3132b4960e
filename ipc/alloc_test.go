//go:build !race

package ipc

import (
	"fmt"
	"testing"
)

// Calls allocate nothing in the long run, at either end: counted across both
// processes, with what the test itself needs. Under the race detector, whose
// pools forget at random, they do.
func TestCallsDoNotAllocate(t *testing.T) {
	const calls = 20000
	for _, x := range []struct {
		command string
		size    int
		most    float64 // allocations a call
	}{
		{"echo", 16, 0.05},
		{"echo", 1 << 10, 0.05},
		{"go", 16, 1.05}, // the handler's Call, which it may keep
		{"go", 1 << 10, 1.05},
	} {
		t.Run(fmt.Sprint(x.command, x.size), func(t *testing.T) {
			c := startConn(t)
			echoes(t, c, x.command, 64, x.size, calls)
			before := allocations(t, c)
			echoes(t, c, x.command, 64, x.size, calls)
			if n := float64(allocations(t, c)-before) / calls; n > x.most {
				t.Errorf("%.3f allocations a call, at most %.2f", n, x.most)
			}
		})
	}
}
