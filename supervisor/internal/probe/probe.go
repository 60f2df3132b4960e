// Package probe asks a starting worker from outside whether it is ready: by a
// page ([HTTP]), a connection ([TCP]), a line of its output ([Line]), or
// whatever else is a [Check].
//
//	check, err := probe.ParseHTTP("http://127.0.0.1:8080/healthz")
//	…
//	err = probe.Run(ctx, check, 100*time.Millisecond, time.Second)
//
// A check speaks to whoever answers at an address. Where several workers share
// one listening socket, or it is the supervisor that listens, a connection says
// nothing of any of them, and a page comes from any of them.
//
// Whatever is at the other end, an attempt ends with its context and leaves
// nothing behind; what it reads is bounded.
package probe

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Check is one way to find out whether a worker is ready.
type Check interface {
	// Ready is one attempt; nil: it is. It ends with ctx. It may be called again
	// as soon as it has returned.
	Ready(ctx context.Context) error
}

var _, _ Check = HTTP{}, TCP{}

// NotReadyError says why Run gave up. It unwraps to both Last and Cause.
type NotReadyError struct {
	Attempts int   // made
	Last     error // of the last attempt that ctx did not cut short, if there was one
	Cause    error // why ctx has ended
}

func (e *NotReadyError) Error() string {
	switch {
	case e.Last == nil:
		return fmt.Sprintf("no check was made: %v", e.Cause)
	case e.Attempts == 1:
		return fmt.Sprintf("not ready after one check: %v", e.Last)
	}
	return fmt.Sprintf("not ready after %d checks: %v", e.Attempts, e.Last)
}

func (e *NotReadyError) Unwrap() []error { return []error{e.Last, e.Cause} }

// Run makes attempts until one finds the worker ready, and returns nil; or until
// ctx ends, and returns a *[NotReadyError]. The first is made at once, every
// further one so long after the end of the one before. None lasts longer than
// each; 0: as long as ctx.
func Run(ctx context.Context, check Check, every, each time.Duration) error {
	gave := &NotReadyError{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil { // even if it is time for an attempt as well
			gave.Cause = context.Cause(ctx)
			return gave
		}
		err := attempt(ctx, check, each)
		if err == nil {
			return nil
		}
		gave.Attempts++
		if ctx.Err() == nil || gave.Last == nil {
			gave.Last = err
		}
		timer.Reset(max(every, time.Millisecond))
	}
}

func attempt(ctx context.Context, check Check, each time.Duration) error {
	if each <= 0 {
		return check.Ready(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, each)
	defer cancel()
	err := check.Ready(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("not within %v: %w", each, err)
	}
	return err
}

// maxWords bounds what an error repeats of another's words, in bytes.
const maxWords = 512

// words makes what another has said fit for an error: one line, printable,
// bounded.
func words(b []byte) string {
	b = b[:min(len(b), maxWords)]
	line := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(string(b), string(utf8.RuneError)))
	line = strings.Join(strings.Fields(line), " ")
	end := min(len(line), maxWords) // a replacement is longer than what it replaces
	for end < len(line) && !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end]
}
