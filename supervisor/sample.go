package supervisor

import (
	"sync"
	"time"
)

// taken is what a process takes, as the system says.
type taken struct {
	rss int64         // resident memory, in bytes
	cpu time.Duration // processor time since its start, user and system
	fds int           // open descriptors
}

// Usage is what a process takes.
type Usage struct {
	RSS int64         // resident memory, in bytes
	CPU time.Duration // processor time since its start
	FDs int           // open descriptors
}

// UsageOf asks the system about any process; false: it does not say.
func UsageOf(pid int) (Usage, bool) {
	u, ok := takenBy(pid)
	return Usage{u.rss, u.cpu, u.fds}, ok
}

// sampler looks at the processes of workers for whoever asks, and not more often
// than they do.
type sampler struct {
	mu   sync.Mutex // held while it looks
	last time.Time  // guarded by mu
}

// Sample has what the workers' processes take looked at, unless that was done
// less than maxAge ago, or is being done. Status tells what was found. It reads
// files of proc(5), which takes some microseconds for each worker.
func (s *Supervisor) Sample(maxAge time.Duration) {
	if !s.sampled.mu.TryLock() {
		return
	}
	defer s.sampled.mu.Unlock()
	if time.Since(s.sampled.last) < maxAge {
		return
	}
	for _, b := range s.boards() {
		for _, pl := range *b.places.Load() {
			if v, l := pl.current(); l != nil && v.PID != 0 {
				if u, ok := takenBy(v.PID); ok {
					l.taken.Store(&u)
				}
			}
		}
	}
	s.sampled.last = time.Now()
}
