package supervisor

import (
	"os"
	"testing"
)

// TestSample: it is the process itself that is looked at.
func TestSample(t *testing.T) {
	u, ok := takenBy(os.Getpid())
	if want := residentBytes(os.Getpid()); !ok || u.rss < want/2 || u.rss > 2*want || u.fds < 3 {
		t.Errorf("%+v, %v; resident are %d bytes", u, ok, want)
	}
	for begin, n := u.cpu, 0; u.cpu-begin < 3*clockTick; n++ { // it is at work
		u, _ = takenBy(os.Getpid())
		if n > 1<<20 {
			t.Fatal("no time passes")
		}
	}
	s := run(t, Config{Pools: []Pool{echoes(2)}})
	await(t, s, "all ready", allReady)
	s.Sample(0)
	for _, w := range s.Status().Pools[0].Slots {
		if w.RSS < 1<<20 || w.FDs < 4 {
			t.Errorf("%v takes %d bytes and %d descriptors", w.Target(), w.RSS, w.FDs)
		}
	}
}
