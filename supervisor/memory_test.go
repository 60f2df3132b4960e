package supervisor

import (
	"testing"
	"time"
)

// Of ends that nobody here has caused, as many are put down to a lack of memory
// as the kernel has killed for it lately.
func TestOOMGuess(t *testing.T) {
	kills := int64(7)
	c := oomCounter{read: func() int64 { return kills }, last: 7}
	now := time.Now()
	look := func(after time.Duration, want bool) {
		t.Helper()
		now = now.Add(after)
		if got := c.took(now); got != want {
			t.Errorf("%v", got)
		}
	}
	look(0, false)
	kills += 2
	look(0, true)
	look(guessable/2, true) // that of two which ended together
	look(0, false)
	kills += 2
	look(0, true)
	look(guessable+1, false) // the other one was somebody else's
	kills++
	look(0, true)
}
