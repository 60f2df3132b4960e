package supervisor

import (
	"slices"
	"syscall"
	"testing"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/internal/capture"
	"example.com/brood/supervisor/internal/lifecycle"
)

// What of a worker can't be gone on with after an upgrade is lost, and nothing more:
// its end is followed, and its last words are told.
func TestTakeUpLosesOnlyTheOutput(t *testing.T) {
	s := run(t, Config{Log: discard(), Pools: []Pool{quick("sleep", "1000")}})
	await(t, s, "all ready", allReady)
	pl := (*s.boards()[0].places.Load())[0]
	own, _ := pl.current()
	var pid int
	if err := leaders.Fork(func() (_ int, err error) {
		pid, err = syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}})
		return pid, err
	}); err != nil {
		t.Fatal(err)
	}
	lost := capture.SavedStream{Prefix: "web/1", FD: 0, Tail: [][]byte{[]byte("last words")}} // nothing was handed over
	l := s.takeUpLive(keptLive{
		ID: lifecycle.ID{Slot: pl.id, Generation: own.Generation + 1}, PID: pid, Out: lost, Err: lost, Awaited: true,
		Conn: ipc.State{Ended: "it has ended"}, ConnFD: -1,
	}, pl.live.Load().launch, pl)
	if err := l.signal(syscall.SIGTERM, true); err != nil {
		t.Fatal(err)
	}
	poll(t, "its end to be told", func() bool {
		return slices.ContainsFunc(*pl.exits.Load(), func(e ExitStatus) bool {
			return e.PID == pid && e.Signal == syscall.SIGTERM && slices.Equal(e.Stderr, []string{"last words"})
		})
	})
}
