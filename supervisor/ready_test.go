package supervisor

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/notify"
)

func init() {
	testWorkers["notifier"] = func() { // says READY=1 and feeds no watchdog
		c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		finish(err)
		_, err = c.Write([]byte("READY=1\nSTATUS=here"))
		finish(err)
		select {}
	}
}

// What a worker says by sd_notify(3) beside READY has the meaning that
// docs/lifecycle.md gives it.
func TestNotifySaysMore(t *testing.T) {
	s := run(t, Config{
		Log: discard(),
		Pools: []Pool{{
			Name: "web", Command: asWorker("notifier"), Ready: Ready{When: ReadyNotify, Timeout: time.Minute}, Health: Health{Beat: time.Hour},
			Stop: Stop{Timeout: time.Second},
		}},
	})
	await(t, s, "ready", allReady)
	_, l := (*s.boards()[0].places.Load())[0].current()
	status := func() string { return s.Status().Pools[0].Slots[0].Status }
	say := func(m notify.Message, want string) {
		t.Helper()
		s.notified(l, m)
		if got := status(); got != want {
			t.Errorf("after %+v its status is %q, want %q", m, got, want)
		}
	}
	text := "4 of 7"
	say(notify.Message{Status: &text}, text)
	say(notify.Message{Reloading: true}, "reloading")
	if v, _ := l.place.current(); v.State != lifecycle.Ready {
		t.Errorf("%s while it reloads", v.State)
	}
	say(notify.Message{Ready: true}, "")
	say(notify.Message{Reloading: true, Status: &text}, text)
	say(notify.Message{Ready: true}, text)
	say(notify.Message{MainPID: l.pid}, text)
	say(notify.Message{MainPID: 1}, text)
	if v, _ := l.place.current(); v.PID != l.pid {
		t.Errorf("its pid is %d", v.PID)
	}

	never, soon := time.Duration(0), time.Millisecond
	say(notify.Message{WatchdogEvery: &never}, text)
	say(notify.Message{WatchdogEvery: &soon}, text)
	await(t, s, "the next one", func(st Status) bool { w := st.Pools[0].Slots[0]; return w.Generation == 2 && w.State == IsReady })
	inOrder(t, s, func(Event) bool { return true }, "state ready", "hung no WATCHDOG=1 within 1ms", "exit", "state starting")
}

// A pool of programs that do one thing and end is up when they are done.
func TestReadyWhenExit(t *testing.T) {
	once := Pool{Name: "migrate", Command: []string{"true"}, Ready: Ready{When: ReadyExit, Timeout: time.Minute}, Restart: Restart{When: RestartNever}}
	web := Pool{Name: "web", Command: asWorker("echo"), After: []string{"migrate"}}
	s := run(t, Config{Pools: []Pool{once, web}})
	await(t, s, "web to be ready", func(st Status) bool { return st.Pools[1].Ready == 1 })
	if w := s.Status().Pools[0].Slots[0]; w.State != IsDone {
		t.Errorf("%+v", w)
	}

	slow := once
	slow.Command, slow.Ready.Timeout = []string{"sleep", "1000"}, 10*time.Millisecond
	s = run(t, Config{Pools: []Pool{slow}, Log: discard()})
	await(t, s, "it to be given up", func(st Status) bool { return st.Pools[0].Slots[0].State == HasFailed })
	if w := s.Status().Pools[0].Slots[0]; !strings.Contains(w.Reason, "not done within") {
		t.Errorf("%+v", w)
	}

	for _, when := range []RestartWhen{"", RestartAlways} {
		bad := once
		bad.Restart.When = when
		if err := (Config{Pools: []Pool{bad}}).Validate(); err == nil || !strings.Contains(err.Error(), "exit is for programs that end") {
			t.Errorf("restart.when %q: %v", when, err)
		}
	}
}
