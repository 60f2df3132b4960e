package orphans

import (
	"fmt"
	"testing"
)

// BenchmarkEnd is what the end of a worker that leaves nothing behind costs
// beside as many others.
func BenchmarkEnd(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("beside %d", n), func(b *testing.B) {
			h := open(b, false)
			for i := range n {
				h.start(b, options{worker: "web/1", generation: uint64(i)}, "read x")
			}
			for b.Loop() {
				f := h.Family(Origin{Worker: "web/2", Generation: 1, Leader: 1 << 30})
				if killed, err := f.End(b.Context()); err != nil || len(killed) > 0 {
					b.Fatal(killed, err)
				}
			}
		})
	}
}

// BenchmarkEndAll is a thousand of them at once.
func BenchmarkEndAll(b *testing.B) {
	const n = 1000
	h := open(b, false)
	for i := range n {
		h.start(b, options{worker: "web/1", generation: uint64(i)}, "read x")
	}
	for b.Loop() {
		done := make(chan error)
		for i := range n {
			f := h.Family(Origin{Worker: "web/2", Generation: uint64(i), Leader: 1<<30 + i})
			go func() {
				_, err := f.End(b.Context())
				done <- err
			}()
		}
		for range n {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
}
