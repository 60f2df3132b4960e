// Package commands is what the echo example and `brood demo` serve: five small
// commands that show what a handler may do.
package commands

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/brood/worker"
)

// Stats answers the command stats.
type Stats struct {
	Calls    int64 `json:"calls"`
	UptimeMS int64 `json:"uptime_ms"`
	PID      int   `json:"pid"`
}

// Register gives w the commands echo, sleep, fail, pid and stats.
func Register(w *worker.Worker) {
	var calls atomic.Int64
	started := time.Now()
	handle := func(name, help string, h worker.Handler) {
		w.Handle(name, help, func(ctx context.Context, r *worker.Request) (any, error) {
			calls.Add(1)
			return h(ctx, r)
		})
	}
	handle("echo", "WORDS…: say them again", func(_ context.Context, r *worker.Request) (any, error) {
		if args := r.Args(); args != nil {
			return strings.Join(args, " "), nil
		}
		return r.Message, nil
	})
	handle("sleep", "DURATION: answer after, say, 200ms", sleep)
	handle("fail", "[WORDS…]: say no", func(_ context.Context, r *worker.Request) (any, error) {
		text := strings.Join(r.Args(), " ")
		if text == "" {
			text = "failed as asked"
		}
		return nil, &worker.Error{Code: "asked", Message: text}
	})
	handle("pid", "the process id", func(context.Context, *worker.Request) (any, error) {
		return strconv.Itoa(os.Getpid()), nil
	})
	handle("stats", "calls, uptime and process id, as JSON", func(context.Context, *worker.Request) (any, error) {
		return Stats{calls.Load(), time.Since(started).Milliseconds(), os.Getpid()}, nil
	})
}

// sleep ends early, with the caller's own reason, when the caller gives up.
func sleep(ctx context.Context, r *worker.Request) (any, error) {
	text := strings.Join(r.Args(), "")
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, &worker.Error{Code: "usage", Message: "sleep takes a duration such as 200ms, got " + strconv.Quote(text)}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return "slept " + d.String(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
