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
	mu    sync.Mutex
	kills int64 // when last looked at
}

func (c *oomCounter) rose() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.kills
	c.kills = oomKills()
	return c.kills > before
}

// blame guesses that memory had run out where nobody here has sent a SIGKILL and
// the kernel has sent some since the last time.
func (s *Supervisor) blame(l *live) {
	if l.unexplained && s.oom.rose() {
		l.place.blameMemory(l.id.Generation)
	}
}
