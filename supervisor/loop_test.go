package supervisor

import (
	"testing"
	"testing/synctest"
	"time"
)

// A timer comes within a slot of its time, never early, and with all others of
// that slot.
func TestTimersShareSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		time.Sleep(timerSlot * 40) // of synctest's clock: it takes no time
		wakes := map[time.Time]int{}
		for i := range 1000 {
			at := time.Now().Add(time.Duration(i) * 2 * time.Millisecond)
			wake := time.Now().Add(untilSlot(began, at))
			if late := wake.Sub(at); late < 0 || late >= timerSlot {
				t.Errorf("%v late", late)
			}
			wakes[wake]++
		}
		if len(wakes) != 81 {
			t.Errorf("%d wake-ups within 2 s, want 81", len(wakes))
		}
		if d := untilSlot(began, time.Now().Add(-time.Hour)); d > 0 {
			t.Errorf("what is overdue waits for %v", d)
		}
	})
}
