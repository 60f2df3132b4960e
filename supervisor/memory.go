package supervisor

import (
	"fmt"
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
	if rss := residentBytes(l.proc.PID); rss > limit {
		s.post(lifecycle.Due{ID: l.id, Why: fmt.Sprintf("it holds %d MiB of memory", rss>>20)}, l)
	}
}
