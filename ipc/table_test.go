package ipc

import (
	"math/rand/v2"
	"testing"
)

// A table holds what a map holds, whatever ids there are.
func TestTable(t *testing.T) {
	for range 50 {
		var tab table[int]
		model := map[uint32]*int{}
		wide := rand.IntN(2) == 0
		for range 5000 {
			id := rand.Uint32N(600)
			if wide {
				id = id<<20 | 1
			}
			switch v := tab.get(id); {
			case v != model[id]:
				t.Fatalf("%d: got %v, want %v", id, v, model[id])
			case v != nil && rand.IntN(3) > 0:
				tab.remove(id)
				delete(model, id)
			case v == nil && rand.IntN(3) > 0:
				tab.remove(id) // which is not there
				model[id] = new(int)
				tab.put(id, model[id])
			}
			if tab.n != len(model) {
				t.Fatalf("%d entries, want %d", tab.n, len(model))
			}
		}
		seen := 0
		tab.each(func(id uint32, v *int) {
			seen++
			if model[id] != v {
				t.Errorf("%d is not there", id)
			}
		})
		if seen != len(model) {
			t.Errorf("%d were seen of %d", seen, len(model))
		}
	}
}
