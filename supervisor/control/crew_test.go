package control

import "testing"

// Who has attended to a connection attends to the next.
func TestCrewAttendsAgain(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	for range 4 * maxFree {
		h.line("version\n")
		until(t, "who attended to it is free", func() bool { return h.server.free.Load() > 0 })
	}
	if n := h.server.free.Load(); n > maxFree/2 {
		t.Errorf("%d are free after connections that came one after the other: each had another", n)
	}
}
