package ipc

import (
	"testing"

	"golang.org/x/sys/unix"
)

// One who waits in the kernel again and again makes way now and then, and one who
// waits in the poller, which is that, does not besides.
func TestWaitingReaderMakesWay(t *testing.T) {
	for _, x := range []struct {
		name string
		s    spell
		want int // times, of 10 * turns reads
	}{
		{"it waits", spell{possible: true}, 10},
		{"its luck is bad", spell{possible: true, pause: 10 * turns}, 0},
		{"it can't", spell{}, 0},
	} {
		waits, ways := 0, 0
		for range 10 * turns {
			if x.s.flags()&unix.MSG_DONTWAIT == 0 {
				waits++
			}
			if x.s.makesWay() {
				ways++
			}
		}
		if ways != x.want || waits != turns*x.want {
			t.Errorf("%s: it has waited %d times and made way %d times, want %d and %d", x.name, waits, ways, turns*x.want, x.want)
		}
	}
}
