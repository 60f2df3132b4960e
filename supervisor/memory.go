package supervisor

import (
	"fmt"
	"sync"
	"time"

	"example.com/brood/supervisor/internal/lifecycle"
)

// lookAtMemory is how often the memory of workers that are recycled by it is
// looked at.
const lookAtMemory = 5 * time.Second

// watchMemory has workers replaced that have grown too large. It is one
// goroutine of Run and ends with the loop.
func (s *Supervisor) watchMemory() {
	tick := time.NewTicker(lookAtMemory)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		for _, b := range s.boards() {
			limit := b.config.Load().Recycle.Memory
			if limit == 0 {
				continue
			}
			for _, pl := range *b.places.Load() {
				if _, l := pl.current(); l != nil {
					s.recycleByMemory(l, limit)
				}
			}
		}
	}
}

func (s *Supervisor) recycleByMemory(l *live, limit int64) {
	if rss := residentBytes(l.pid); rss > limit {
		s.post(lifecycle.Due{ID: l.id, Why: fmt.Sprintf("it holds %d MiB of memory", rss>>20)}, l)
	}
}

// oomCounter tells when the kernel has killed for want of memory.
type oomCounter struct {
	read func() int64 // the kernel's count

	mu     sync.Mutex
	last   int64     // of it
	at     time.Time // when it was last seen to rise
	unused int64     // kills since then that nobody's end was put down to
}

// guessable is how long a kill may be taken for the cause of an end that is seen
// later.
const guessable = time.Second

// took tells whether there was a kill that no other end was put down to, and puts
// the caller's down to it.
func (c *oomCounter) took(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.at) > guessable {
		c.unused = 0
	}
	count := c.read()
	if count > c.last {
		c.unused += count - c.last
		c.at = now
	}
	c.last = count
	if c.unused == 0 {
		return false
	}
	c.unused--
	return true
}

// blame guesses that memory had run out where nobody here has sent a SIGKILL and
// the kernel has sent some since the last time.
func (s *Supervisor) blame(l *live) {
	if l.unexplained && s.oom.took(time.Now()) {
		l.place.blameMemory(l.id.Generation)
	}
}
