package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// crowd is 16 clients that send commands without a pause, each in its own way,
// and some that look.
type crowd struct {
	stop              context.CancelFunc
	wg                sync.WaitGroup
	ok, looks, failed atomic.Int64
	first             atomic.Pointer[string]
}

// startCrowd starts one, which ends with the test if it was not ended before.
func startCrowd(t testing.TB, socket string) *crowd {
	ctx, cancel := context.WithCancel(context.Background())
	c := &crowd{stop: cancel}
	loop := func(count *atomic.Int64, ask func(ctx context.Context, i int) error, hangUp func()) {
		c.wg.Go(func() {
			defer hangUp()
			for i := 0; ctx.Err() == nil; i++ {
				limit, done := context.WithTimeout(context.Background(), time.Minute)
				err := ask(limit, i)
				done()
				if err != nil {
					c.fail(err)
					continue
				}
				count.Add(1)
			}
		})
	}
	for who := range 4 {
		kept := client.New(socket)
		loop(&c.ok, func(ctx context.Context, i int) error { // a connection that is kept, and a pool
			text := fmt.Sprintf("kept %d.%d", who, i)
			r, err := kept.Call(ctx, "web", "echo", jsonArgs(text))
			return wanted(err, string(r.Message.Payload), text)
		}, kept.Close)
		loop(&c.ok, func(ctx context.Context, i int) error { // one each
			fresh := client.New(socket)
			defer fresh.Close()
			text := fmt.Sprintf("fresh %d.%d", who, i)
			r, err := fresh.Call(ctx, fmt.Sprintf("web/%d", 1+i%3), "echo", ipc.Text(text))
			return wanted(err, string(r.Message.Payload), text)
		}, func() {})
		loop(&c.ok, func(ctx context.Context, i int) error { // the line protocol, one each
			text := fmt.Sprintf("line%d.%d", who, i)
			got, err := oneLine(ctx, socket, "@web/1 echo "+text+"\n")
			return wanted(err, strings.TrimSpace(got), text)
		}, func() {})
		var lines net.Conn
		loop(&c.ok, func(ctx context.Context, i int) error { // the line protocol, kept
			if lines == nil {
				var err error
				if lines, err = net.Dial("unix", socket); err != nil {
					return err
				}
			}
			end, _ := ctx.Deadline()
			lines.SetDeadline(end)
			text := fmt.Sprintf("linekept%d.%d", who, i)
			if _, err := fmt.Fprintf(lines, "json @web/2 echo %s\n", text); err != nil {
				return err
			}
			var answer struct{ Outcome, Result string }
			err := json.NewDecoder(lines).Decode(&answer)
			return wanted(err, answer.Result, text)
		}, func() {
			if lines != nil {
				lines.Close()
			}
		})
	}
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	loop(&c.looks, func(ctx context.Context, _ int) error {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://brood/v1/status", nil)
		if err != nil {
			return err
		}
		resp, err := web.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return wanted(err, resp.Status, "200 OK")
	}, web.CloseIdleConnections)
	c.wg.Go(func() { // events come without gaps
		followed := client.New(socket)
		defer followed.Close()
		last := uint64(0)
		err := client.ErrBrokeOff // an upgrade hangs up on who follows
		for errors.Is(err, client.ErrBrokeOff) && ctx.Err() == nil {
			err = followed.FollowEvents(ctx, last, "", func(e api.Events) error {
				if last != 0 && (e.Missed > 0 || e.Next != last+1) {
					return fmt.Errorf("event %d comes after %d, and %d are missed", e.Next, last, e.Missed)
				}
				last = max(last, e.Next)
				return nil
			})
		}
		if ctx.Err() == nil {
			c.fail(fmt.Errorf("following events ended: %w", err))
		}
	})
	t.Cleanup(c.end)
	return c
}

func (c *crowd) fail(err error) {
	c.failed.Add(1)
	text := err.Error()
	c.first.CompareAndSwap(nil, &text)
}

func (c *crowd) end() {
	c.stop()
	c.wg.Wait()
}

func wanted(err error, got, want string) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %q, wanted %q", got, want)
	}
	return err
}

// oneLine asks one thing and hangs up.
func oneLine(ctx context.Context, socket, line string) (string, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	c.SetDeadline(end)
	if _, err := io.WriteString(c, line); err != nil {
		return "", err
	}
	c.(*net.UnixConn).CloseWrite()
	b, err := io.ReadAll(c)
	return string(b), err
}
