package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

func init() {
	testWorkers["streamer"] = func() {
		var w worker.Worker
		handleCommon(&w)
		w.Handle("count", "to three", func(_ context.Context, r *worker.Request) (any, error) {
			for i := range 3 {
				if err := r.Send(fmt.Sprint(i + 1)); err != nil {
					return nil, err
				}
			}
			return os.Getpid(), r.Progress(3, 3, "")
		})
		w.Handle("begin", "and say that it never did", func(_ context.Context, r *worker.Request) (any, error) {
			if err := r.Send("begun"); err != nil {
				return nil, err
			}
			return nil, &ipc.CallError{Code: ipc.ErrUnavailable, Started: ipc.StartedNo}
		})
		w.Handle("refuse", "before it begins", func(context.Context, *worker.Request) (any, error) {
			return nil, &ipc.CallError{Code: ipc.ErrUnavailable, Started: ipc.StartedNo}
		})
		w.Handle("retire", "ask to be replaced", func(context.Context, *worker.Request) (any, error) {
			return nil, w.Retire("as asked")
		})
		finish(w.Run(context.Background()))
	}
}

func streamers(t *testing.T, n int) *Supervisor {
	s := run(t, Config{Pools: []Pool{{Name: "web", Command: asWorker("streamer"), Workers: n}}})
	await(t, s, "all ready", allReady)
	return s
}

func TestCallStream(t *testing.T) {
	s := streamers(t, 2)
	for _, text := range []string{"web/2", "web"} {
		var seen []string
		r, err := s.CallStream(within(t, time.Minute), target(t, text), "count", ipc.Message{}, func(from Target, p ipc.Piece) error {
			if from.Generation != 1 || from.Slot == 0 {
				t.Errorf("a piece from %v", from)
			}
			seen = append(seen, p.Name+string(p.Payload))
			return nil
		})
		if err != nil || strings.Join(seen, " ") != `1 2 3 progress{"done":3,"total":3}` || r.From.Slot == 0 {
			t.Errorf("%s: %q, %v from %v", text, seen, err, r.From)
		}
	}
	r, err := s.Call(within(t, time.Minute), target(t, "web/1"), "count", ipc.Message{})
	if err != nil || !strings.HasPrefix(string(r.Payload), "123") {
		t.Errorf("in one: %q, %v", r.Payload, err)
	}
}

// A piece seen means started: the command goes to no other worker. One that was
// refused before does.
func TestStreamIsNotRetried(t *testing.T) {
	s := streamers(t, 3)
	from := map[Target]int{}
	_, err := s.CallStream(within(t, time.Minute), target(t, "web"), "begin", ipc.Message{}, func(w Target, _ ipc.Piece) error {
		from[w]++
		return nil
	})
	var ce *ipc.CallError
	if !errors.As(err, &ce) || ce.Started != ipc.StartedYes || len(from) != 1 {
		t.Errorf("%#v, pieces from %v", err, from)
	}
	served := func() (n int64) {
		for _, pl := range *s.boards()[0].places.Load() {
			if _, l := pl.current(); l != nil {
				n += l.served.Load()
			}
		}
		return n
	}
	before := served()
	_, err = s.CallStream(within(t, time.Minute), target(t, "web"), "refuse", ipc.Message{}, func(Target, ipc.Piece) error { return nil })
	if !errors.Is(err, ipc.ErrUnavailable) || served() != before {
		t.Errorf("%v, %d served of it", err, served()-before)
	}
}

// The consumer's error comes back as it is, even if it looks like one that is
// tried again.
func TestStreamConsumerSaysNo(t *testing.T) {
	s := streamers(t, 2)
	no := &ipc.CallError{Code: ipc.ErrOverloaded, Started: ipc.StartedNo, Message: "no room here"}
	n := 0
	_, err := s.CallStream(within(t, time.Minute), target(t, "web"), "count", ipc.Message{}, func(Target, ipc.Piece) error { n++; return no })
	if err != error(no) || n != 1 {
		t.Errorf("%v, %d pieces", err, n)
	}
}

// A worker that asks for it is replaced.
func TestRetiringWorkerIsReplaced(t *testing.T) {
	s := streamers(t, 1)
	if _, err := s.Call(within(t, time.Minute), target(t, "web/1"), "retire", ipc.Message{}); err != nil {
		t.Fatal(err)
	}
	await(t, s, "its successor", func(st Status) bool {
		slot := st.Pools[0].Slots[0]
		return slot.Generation == 2 && st.Pools[0].Ready == 1
	})
}
