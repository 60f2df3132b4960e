package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/ipc"
)

func init() {
	for kind, act := range hostile {
		testWorkers[kind] = func() {
			if os.Getenv("BROOD_GENERATION") != "1" { // only the first of a slot
				testWorkers["echo"]()
				return
			}
			act(connection())
			<-time.After(24 * time.Hour) // it goes on, whatever it has done
		}
	}
}

// connection is this worker's end, bare.
func connection() *os.File {
	fd := -1
	if _, err := fmt.Sscanf(os.Getenv("BROOD_FD"), "%d:", &fd); err != nil {
		log.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "connection")
}

// frame is one frame of the wire, as bytes.
func frame(typ ipc.Type, payload string) []byte {
	h := ipc.Header{Type: typ}
	if payload != "" {
		h.Codec = ipc.CodecJSON
	}
	return ipc.AppendFrame(nil, ipc.Frame{Header: h, Payload: []byte(payload)})
}

// write sends b and more of it for ever, if so often.
func write(f *os.File, b []byte, forever bool) {
	for {
		if _, err := f.Write(b); err != nil || !forever {
			return
		}
	}
}

// greet says HELLO and READY by hand.
func greet(f *os.File) {
	write(f, append(frame(ipc.TypeHello, `{"protocol":[1,1],"commands":[{"name":"echo"}]}`), frame(ipc.TypeReady, "")...), false)
}

// many is a piece of a flood.
func many(b []byte) []byte { return []byte(strings.Repeat(string(b), 1+(32<<10)/len(b))) }

// hostile is what a first worker may do to its supervisor.
var hostile = map[string]func(*os.File){
	"text": func(f *os.File) { write(f, []byte("Listening on :8080\n"), true) },
	"length": func(f *os.File) {
		b := frame(ipc.TypeHello, "{}")
		binary.BigEndian.PutUint32(b[4:], 1<<32-1)
		write(f, append(b, make([]byte, 1<<16)...), true)
	},
	"zeros": func(f *os.File) { write(f, make([]byte, 1<<16), true) },
	"closes": func(f *os.File) {
		greet(f)
		f.Close()
	},
	"half": func(f *os.File) { // of a frame, and then the end
		greet(f)
		write(f, frame(ipc.TypeReady, "")[:7], false)
		f.Close()
	},
	"shuts": func(f *os.File) {
		greet(f)
		if raw, err := f.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
		}
	},
	"answers": func(f *os.File) { // what nobody asked
		greet(f)
		write(f, ipc.AppendFrame(nil, ipc.Frame{Header: ipc.Header{Type: ipc.TypeResult, ID: 99}}), false)
	},
	"deaf": greet, // and never reads
	"readies": func(f *os.File) {
		greet(f)
		write(f, many(frame(ipc.TypeReady, "")), true)
	},
	"pings": func(f *os.File) { // and never reads the answers
		greet(f)
		write(f, many(frame(ipc.TypePing, "")), true)
	},
	"events": func(f *os.File) {
		greet(f)
		status := ipc.AppendFrame(nil, ipc.Frame{Header: ipc.Header{Type: ipc.TypeEvent}, Name: []byte("status"), Payload: make([]byte, 4<<10)})
		write(f, many(status), true)
	},
	"calls": func(f *os.File) { // and never reads the answers
		greet(f)
		for id := uint32(2); ; id += 2 {
			call := ipc.Frame{Header: ipc.Header{Type: ipc.TypeCall, ID: id}, Name: []byte("x")}
			if _, err := f.Write(ipc.AppendFrame(nil, call)); err != nil {
				return
			}
		}
	},
}

// A worker that breaks the protocol, or that ends its connection and goes on,
// is replaced, and its slot says why. Nothing is allocated on its word.
func TestHostileWorkersAreReplaced(t *testing.T) {
	const closed = "it has closed its connection"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	t.Run("all", func(t *testing.T) {
		for kind, reason := range map[string]string{
			"text":    "rule magic: a frame starts with 0xBD, got 0x4C",
			"zeros":   "rule magic: a frame starts with 0xBD, got 0x00",
			"length":  "rule length: a frame of 4294967295 bytes, at most 65536 are accepted",
			"answers": "rule answer: an answer to call 99, which is not open",
			"pings":   "rule unread:",
			"calls":   "rule unread:",
			"closes":  closed, "half": closed, "shuts": closed,
		} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				isReplaced(t, kind, reason)
			})
		}
	})
	runtime.ReadMemStats(&after)
	if all := after.TotalAlloc - before.TotalAlloc; all > 256<<20 {
		t.Errorf("%d MiB were allocated", all>>20)
	}
}

func isReplaced(t *testing.T, kind, reason string) {
	p := pool("web", kind, 1)
	p.Stop.Timeout = 30 * time.Second // the signal is enough
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "its successor", func(st Status) bool { w := st.Pools[0].Slots[0]; return w.Ready && w.Generation > 1 })
	stopping := inOrder(t, s, of(1, 1), "state starting", "state stopping", "exit killed by SIGTERM")[1]
	started := inOrder(t, s, of(1, 2), "state starting")[0]
	for _, e := range []Event{stopping, started} {
		if !strings.Contains(e.Text, reason) {
			t.Errorf("%q does not say %q", e.Text, reason)
		}
	}
	if r, err := s.Call(within(t, time.Minute), Target{Pool: "web", Slot: 1}, "echo", ipc.Text("there")); err != nil || string(r.Payload) != "there" {
		t.Errorf("%q, %v", r.Payload, err)
	}
}

// A flood of frames that the protocol allows costs nobody else anything.
func TestHostileFloodsStayBounded(t *testing.T) {
	var pools []Pool
	for _, kind := range []string{"readies", "events", "deaf"} {
		p := pool(kind, kind, 1)
		p.Stop.Timeout = time.Second // none of them drains
		pools = append(pools, p)
	}
	pools = append(pools, pool("quiet", "echo", 1))
	s := run(t, Config{Pools: pools})
	await(t, s, "all ready", allReady)
	before := heap()
	for range 200 {
		ctx := within(t, time.Minute)
		if _, err := s.Call(ctx, Target{Pool: "quiet"}, "echo", ipc.Bytes(make([]byte, 100<<10))); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stop(ctx, Target{Pool: "quiet", Slot: 1, Generation: 99}); !errors.Is(err, ErrStale) { // the loop answers
			t.Fatal(err)
		}
	}
	if now := heap(); now > before+mostGrowth {
		t.Errorf("heap of %d KiB, before %d KiB", now>>10, before>>10)
	}
	if status := s.Status().Pools[1].Slots[0].Status; len(status) > maxStatus {
		t.Errorf("%d bytes are kept of what a worker says of itself", len(status))
	}
	if _, err := s.Call(within(t, 50*time.Millisecond), Target{Pool: "deaf"}, "echo", ipc.Bytes(make([]byte, 1<<20))); !errors.Is(err, ipc.ErrTimeout) {
		t.Errorf("a command to a worker that reads nothing: %v", err)
	}
}

// A worker that reads nothing is found by its pings too.
func TestDeafWorkerIsReplaced(t *testing.T) {
	p := pool("web", "deaf", 1)
	p.Health = watched().Health
	s := run(t, Config{Pools: []Pool{p}})
	await(t, s, "its successor", func(st Status) bool { w := st.Pools[0].Slots[0]; return w.Ready && w.Generation > 1 })
	inOrder(t, s, of(1, 1), "state ready", "suspect", "hung", "state stopping", "exit killed by SIGTERM")
}
