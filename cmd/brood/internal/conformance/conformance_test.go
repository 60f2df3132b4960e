package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/examples/echo/commands"
	"example.com/brood/ipc"
	"example.com/brood/worker"
)

// The checks are checked by workers that each do one thing wrong. Such a worker
// is this binary: a sound one, behind something that spoils its frames.

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "fault" {
		os.Exit(faulty(os.Args[2]))
	}
	os.Exit(m.Run())
}

// spoil is given each frame on its way and returns what goes on in its stead.
type spoil func(fromWorker bool, f ipc.Frame) []ipc.Frame

// only spoils frames of one type.
func only(t ipc.Type, do func(f ipc.Frame) []ipc.Frame) spoil {
	return func(_ bool, f ipc.Frame) []ipc.Frame {
		if f.Type == t {
			return do(f)
		}
		return []ipc.Frame{f}
	}
}

func dropped(ipc.Frame) []ipc.Frame { return nil }

// faults are what may be wrong, and a check that finds it.
var faults = map[string]struct {
	found string
	spoil spoil
}{
	"never ready":         {"ready", only(ipc.TypeReady, dropped)},
	"no version 1":        {"hello", only(ipc.TypeHello, replaced(`"protocol":[1,1]`, `"protocol":[2,2]`))},
	"another token":       {"ready", only(ipc.TypePong, func(f ipc.Frame) []ipc.Frame { f.Arg++; return []ipc.Frame{f} })},
	"a byte is lost":      {"echo/16MiB", only(ipc.TypeResult, func(f ipc.Frame) []ipc.Frame { f.Payload = f.Payload[:max(len(f.Payload)-1, 0)]; return []ipc.Frame{f} })},
	"answers twice":       {"cancel/race", only(ipc.TypeResult, func(f ipc.Frame) []ipc.Frame { return []ipc.Frame{f, f} })},
	"deaf to CANCEL":      {"session/cancel", only(ipc.TypeCancel, dropped)},
	"deaf in a stream":    {"stream/cancel", only(ipc.TypeCancel, dropped)},
	"no time":             {"deadline", only(ipc.TypeCall, func(f ipc.Frame) []ipc.Frame { f.Arg = 0; return []ipc.Frame{f} })},
	"no time in a stream": {"stream/deadline", only(ipc.TypeCall, func(f ipc.Frame) []ipc.Frame { f.Arg = 0; return []ipc.Frame{f} })},
	"beyond credit": {"stream/credit", only(ipc.TypeCall, func(f ipc.Frame) []ipc.Frame {
		return []ipc.Frame{f, {Header: ipc.Header{Type: ipc.TypeWindow, ID: f.ID, Arg: 1000}}}
	})},
	"never goes on":        {"stream/credit", only(ipc.TypeWindow, dropped)},
	"a piece too many":     {"stream/pieces", only(ipc.TypeData, func(f ipc.Frame) []ipc.Frame { return []ipc.Frame{f, f} })},
	"no progress":          {"progress", only(ipc.TypeData, dropped)},
	"accepts without end":  {"overloaded", only(ipc.TypeHello, replaced(`"max_inflight":64`, `"max_inflight":63`))},
	"deaf to DRAIN":        {"drain/idle", only(ipc.TypeDrain, dropped)},
	"busy when drained":    {"session/drain", only(ipc.TypeError, dropped)},
	"status 3":             {"drain/idle", nil},
	"lives on":             {"eof", nil},
	"lives on, broken":     {"rule/magic", nil},
	"takes what it is not": {"inode", nil},
	"inherited":            {"cloexec", nil},
	"overlooks answers": {"session/answer-to-nothing", only(ipc.TypeResult, func(f ipc.Frame) []ipc.Frame {
		if f.ID%2 == 0 {
			return nil
		}
		return []ipc.Frame{f}
	})},
	"takes descriptors":  {"fds/undeclared", nil},
	"cancels too early":  {"own-call/given-up", cancelsEarly},
	"half of its limits": {"limits", only(ipc.TypeHello, replaced(`"max_message":1000`, `"max_message":2000`))},
}

// cancelsEarly has a CANCEL behind the first frame of each long call of the worker's.
func cancelsEarly(fromWorker bool, f ipc.Frame) []ipc.Frame {
	if !fromWorker || f.Type != ipc.TypeCall || f.Flags&ipc.FlagMore == 0 || len(f.Name) == 0 {
		return []ipc.Frame{f}
	}
	return []ipc.Frame{f, {Header: ipc.Header{Type: ipc.TypeCancel, ID: f.ID}}}
}

func replaced(old, new string) func(ipc.Frame) []ipc.Frame {
	return func(f ipc.Frame) []ipc.Frame {
		f.Payload = bytes.ReplaceAll(f.Payload, []byte(old), []byte(new))
		return []ipc.Frame{f}
	}
}

// faulty is a worker with a fault.
func faulty(fault string) int {
	var fd int
	var inode uint64
	fmt.Sscanf(os.Getenv("BROOD_FD"), "%d:%d", &fd, &inode)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != inode && fault != "takes what it is not" {
		return 4
	}
	if fault != "inherited" {
		unix.CloseOnExec(fd)
	}
	unix.SetNonblock(fd, true)
	outer := os.NewFile(uintptr(fd), "outer")
	own, inner, err := ipc.Pair()
	if err != nil {
		return 5
	}
	innerFD, err := unix.Dup(int(inner.Fd())) // the worker's own
	if err != nil {
		return 5
	}
	inner.Close()
	unix.Fstat(innerFD, &st)
	os.Setenv("BROOD_FD", fmt.Sprintf("%d:%d", innerFD, st.Ino))
	ended := make(chan error, 1)
	go func() {
		var w worker.Worker
		commands.Register(&w)
		ended <- w.Run(context.Background())
	}()
	do := faults[fault].spoil
	if do == nil {
		do = func(_ bool, f ipc.Frame) []ipc.Frame { return []ipc.Frame{f} }
	}
	supervisorGone, workerGone := make(chan bool), make(chan bool)
	go pump(outer, own, false, do, supervisorGone)
	go pump(own, outer, true, do, workerGone)
	select { // that the supervisor is gone is seen by either of them
	case <-supervisorGone:
	case <-workerGone:
	}
	own.Close()
	outer.Close()
	if strings.HasPrefix(fault, "lives on") {
		select {}
	}
	if err := <-ended; err != nil {
		return 1
	}
	if fault == "status 3" {
		return 3
	}
	return 0
}

// pump passes frames on, and once something is no frame all that comes.
func pump(from, to *os.File, fromWorker bool, do spoil, gone chan<- bool) {
	defer close(gone)
	var in []byte
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		in = append(in, b[:n]...)
		var out []byte
		for {
			f, size, err := ipc.ParseFrame(in, ipc.DefaultChunk)
			if err != nil {
				size, out = len(in), append(out, in...)
			} else if size > 0 {
				for _, g := range do(fromWorker, f) {
					out = ipc.AppendFrame(out, g)
				}
			}
			if size == 0 {
				break
			}
			in = in[size:]
		}
		if _, err := to.Write(out); err != nil {
			return
		}
	}
}

func results(t *testing.T, fault string, timeout time.Duration, only ...string) (all []Result) {
	t.Helper()
	o := Options{Command: []string{os.Args[0], "fault", fault}, Only: only, Timeout: timeout}
	if err := Run(t.Context(), o, func(r Result) { all = append(all, r) }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFaultsAreFound(t *testing.T) {
	for fault, f := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			for _, r := range results(t, fault, time.Second, f.found) {
				if r.Name != f.found {
					continue
				}
				if r.Outcome != Failed || r.Text == "" {
					t.Errorf("%s: %s %q", r.Name, r.Outcome, r.Text)
				}
				t.Log(r.Text)
			}
		})
	}
}

// Without a fault the same construction passes: it is the faults that are found.
func TestNoFaultIsFound(t *testing.T) {
	t.Parallel()
	passed := 0
	for _, r := range results(t, "none", 20*time.Second, "hello", "ready", "inode", "cloexec", "limits", "ping/under-load", "echo", "overloaded", "cancel", "deadline", "own-call", "stream/pieces",
		"stream/credit", "stream/cancel", "stream/deadline", "progress", "drain", "eof", "session", "rule") {
		switch r.Outcome {
		case Failed:
			t.Errorf("%s: %s", r.Name, r.Text)
		case Passed:
			passed++
		}
	}
	if passed < 70 {
		t.Errorf("only %d checks passed", passed)
	}
}

func TestAWorkerThatIsNone(t *testing.T) {
	for name, command := range map[string][]string{"ends": {"true"}, "silent": {"sleep", "60"}, "no program": {"/nonexistent"}} {
		var got Result
		o := Options{Command: command, Only: []string{"ready"}, Timeout: 200 * time.Millisecond}
		if err := Run(t.Context(), o, func(r Result) { got = r }); err != nil {
			t.Fatal(err)
		}
		if got.Outcome != Failed {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if err := Run(t.Context(), Options{Only: []string{"no-such-check"}}, func(Result) {}); err == nil {
		t.Error("an unknown check was run")
	}
}
