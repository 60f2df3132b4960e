package supervisor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/brood/ipc"
)

// TestCommandsAreCounted: each by its outcome, once, whatever names there are.
func TestCommandsAreCounted(t *testing.T) {
	s := run(t, Config{Pools: []Pool{echoes(2)}})
	await(t, s, "all ready", allReady)
	call := func(to, command string, m ipc.Message) {
		patience := time.Minute
		if command == "hang" {
			patience = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, _ = s.Call(ctx, target(t, to), command, m)
	}
	for range 3 {
		call("web", "echo", ipc.Text("x"))
	}
	call("web/1", "fail", ipc.Message{})
	call("web/2", "hang", ipc.Message{})
	for i := range 200 {
		call("web/1", fmt.Sprint("nosuch", i), ipc.Message{})
	}
	call("web/9", "echo", ipc.Message{})
	if _, err := s.CallAll(t.Context(), target(t, "web/*"), "pid", ipc.Message{}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range s.Counts()[0].Commands {
		var in uint64
		for _, n := range c.Buckets {
			in += n
		}
		if in != c.Count || c.Sum <= 0 {
			t.Errorf("%+v", c)
		}
		got[c.Command] = fmt.Sprint(c.Outcomes)
	}
	want := map[string]string{
		"echo": "[3 0 0 0 0 0 0]", "fail": "[0 1 0 0 0 0 0]", "hang": "[0 0 0 1 0 0 0]", "pid": "[2 0 0 0 0 0 0]", OtherCommands: "[0 200 0 0 0 0 0]",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if w := s.Status().Pools[0].Slots[0]; w.Served == 0 {
		t.Errorf("the slot has served %d", w.Served)
	}
}

// TestCountsAreBounded: names beyond the first go into one.
func TestCountsAreBounded(t *testing.T) {
	var p poolStats
	for i := range 1000 {
		p.note(fmt.Sprint("c", i), nil, time.Hour)
	}
	c := p.counts("web").Commands
	if len(c) != keptCommands+1 || c[0].Command != OtherCommands || c[0].Count != 1000-keptCommands || c[0].Buckets != [len(LatencyBounds)]uint64{} {
		t.Errorf("%d names, the first is %+v", len(c), c[0])
	}
}

// TestExitsAreCounted by their cause.
func TestExitsAreCounted(t *testing.T) {
	s := run(t, Config{Pools: []Pool{echoes(1)}})
	await(t, s, "all ready", allReady)
	for _, line := range []string{"7", "7", "0"} {
		before := s.Status().Pools[0].Slots[0].Generation
		_, _ = s.Call(t.Context(), target(t, "web/1"), "die", ipc.Args(line))
		await(t, s, "another", func(st Status) bool { w := st.Pools[0].Slots[0]; return w.Generation > before && w.Ready })
	}
	if _, err := s.Stop(t.Context(), target(t, "web/1")); err != nil {
		t.Fatal(err)
	}
	got := map[ExitCount]uint64{}
	for _, e := range s.Counts()[0].Exits {
		got[ExitCount{Cause: e.Cause, Code: e.Code}] = e.N
	}
	if got[ExitCount{Cause: "exit", Code: "7"}] != 2 || got[ExitCount{Cause: "exit", Code: "0"}] != 2 || len(got) != 2 {
		t.Errorf("got %v", got)
	}
}
