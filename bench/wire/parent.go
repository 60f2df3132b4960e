package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A pair is a parent and its child, two processes of their own. The parent
// takes a line "SIZE CALLERS WARM_MS MS" on stdin for each run, answers
// "warm PID" (of the child) when it has warmed up, measures when the next line
// comes, answers "CALLS NANOSECONDS", and waits for one more line, before which
// it and its child stay as they are so that their clocks can be read.

// link is a parent's way to its child.
type link interface {
	// drive keeps callers echoes of payload under way until the time and
	// returns how many came back. It warms up with it, too.
	drive(payload []byte, callers int, until time.Time) (calls int64, err error)
	child() (pid int)
}

// runParent serves the lines. in is read by plain blocking read(2), which costs
// the runtime's poller nothing while it waits.
func runParent(open func() (link, error)) error {
	l, err := open()
	if err != nil {
		return err
	}
	if c, ok := l.(io.Closer); ok {
		defer c.Close()
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var idle, full int
		if n, _ := fmt.Sscanf(in.Text(), "ping %d %d", &idle, &full); n == 2 {
			took, err := pingRun(l, time.Duration(idle)*time.Millisecond, time.Duration(full)*time.Millisecond)
			if err != nil {
				return err
			}
			fmt.Println(took)
			continue
		}
		var size, callers, warm, ms int
		if _, err := fmt.Sscan(in.Text(), &size, &callers, &warm, &ms); err != nil {
			return fmt.Errorf("the line %q: %w", in.Text(), err)
		}
		payload := bytes.Repeat([]byte("x"), size)
		if _, err := l.drive(payload, callers, after(warm)); err != nil {
			return err
		}
		fmt.Println("warm", l.child())
		if !in.Scan() {
			return nil
		}
		begin := time.Now()
		calls, err := l.drive(payload, callers, begin.Add(time.Duration(ms)*time.Millisecond))
		if err != nil {
			return err
		}
		fmt.Println(calls, time.Since(begin).Nanoseconds())
		if !in.Scan() {
			return nil
		}
	}
	return in.Err()
}

func after(ms int) time.Time { return time.Now().Add(time.Duration(ms) * time.Millisecond) }

var errEcho = errors.New("what came back is not what was sent")

// callers drives a link on which any number of goroutines may call at once. A
// call may take its caller's last answer over as room for the next one.
type callers struct {
	call func(payload, last []byte) ([]byte, error)
	pid  int
}

func (c callers) child() int { return c.pid }

func (c callers) echo(payload, last []byte) ([]byte, error) {
	back, err := c.call(payload, last)
	if err == nil && len(back) != len(payload) {
		err = errEcho
	}
	return back, err
}

func (c callers) drive(payload []byte, n int, until time.Time) (int64, error) {
	var stop atomic.Bool
	timer := time.AfterFunc(time.Until(until), func() { stop.Store(true) })
	defer timer.Stop()
	var calls atomic.Int64
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var mine int64
			var back []byte
			for first := true; first || !stop.Load(); first = false {
				var err error
				back, err = c.call(payload, back)
				if err == nil && (len(back) != len(payload) || first && !bytes.Equal(back, payload)) {
					err = errEcho
				}
				if err != nil {
					errs[i] = err
					stop.Store(true)
					break
				}
				mine++
			}
			calls.Add(mine)
		})
	}
	wg.Wait()
	return calls.Load(), errors.Join(errs...)
}
