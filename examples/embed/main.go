// Embed is parent and worker in one binary: the parent runs two of itself as
// workers, sends each a command over its socketpair, answers a call that the
// workers make in turn, and stops them.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/worker"
)

func main() {
	run := parent
	if os.Getenv("BROOD_FD") != "" {
		run = child
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// child squares numbers, and asks its parent for the unit.
func child() error {
	var w worker.Worker
	w.Handle("square", "NUMBER: its square", func(ctx context.Context, r *worker.Request) (any, error) {
		var n int
		if err := r.Decode(&n); err != nil {
			return nil, err
		}
		unit, err := w.Call(ctx, "unit", nil)
		if err != nil {
			return nil, err
		}
		return fmt.Sprintf("%d %s, by %s", n*n, unit.Payload, w.Self().Name), nil
	})
	return w.Run(context.Background())
}

func parent() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s, err := supervisor.New(supervisor.Config{
		Pools:  []supervisor.Pool{{Name: "math", Command: []string{self}, Workers: 2}},
		Stderr: os.Stderr,
		Handler: func(_ context.Context, c *ipc.Call) (ipc.Message, error) {
			if c.Command != "unit" {
				return ipc.Message{}, ipc.ErrUnknownCommand
			}
			return ipc.Text("apples"), nil
		},
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	err = squares(s)
	s.Shutdown(false)
	if runErr := <-ended; err == nil {
		err = runErr
	}
	return err
}

func squares(s *supervisor.Supervisor) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := s.Start(ctx, supervisor.Target{Pool: "math"}); err != nil { // waits until all are ready
		return err
	}
	for slot := 1; slot <= 2; slot++ {
		n, err := ipc.JSON(slot + 2)
		if err != nil {
			return err
		}
		r, err := s.Call(ctx, supervisor.Target{Pool: "math", Slot: slot}, "square", n)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", r.Payload)
	}
	return nil
}
