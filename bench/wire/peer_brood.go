package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

// brood is the supervisor's end of a connection, package ipc, with a worker
// that serves by package worker at the other. The command echo is answered
// inline, as a quick one asks to be; echo-goroutine has a goroutine of its own.
type brood struct {
	callers
	conn *ipc.Conn
}

const inflight = 512

// openBrood starts the worker and waits until it is ready.
func openBrood() (link, error)          { return newBrood("echo") }
func openBroodGoroutine() (link, error) { return newBrood("echo-goroutine") }

func newBrood(command string) (*brood, error) {
	ours, theirs, err := ipc.Pair()
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(theirs.Fd()), &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	os.Setenv("BROOD_FD", fmt.Sprintf("3:%d", st.Ino))
	cmd, err := startChild("brood", theirs)
	if err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	conn, err := ipc.NewConn(ours, ipc.Config{
		Role:    ipc.Supervisor,
		Hello:   ipc.Hello{Worker: "bench/1", Generation: 1, MaxInflight: inflight},
		OnReady: func() { close(ready) },
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-ready:
	case <-conn.Done():
		return nil, conn.Err()
	case <-time.After(10 * time.Second):
		return nil, errors.New("the worker did not become ready")
	}
	b := &brood{conn: conn}
	b.pid = cmd.Process.Pid
	b.call = func(payload, last []byte) ([]byte, error) {
		m, err := conn.CallInto(context.Background(), command, ipc.Bytes(payload), last)
		return m.Payload, err
	}
	return b, nil
}

func (b *brood) ping() error {
	_, _, err := b.conn.Ping(context.Background())
	return err
}

// broodOther fills one worker's connection and pings another's, which is idle:
// what a ping takes then is the CPU's doing, not the connection's.
type broodOther struct {
	*brood
	idle *brood
}

func openBroodOther() (link, error) {
	full, err := newBrood("echo")
	if err != nil {
		return nil, err
	}
	idle, err := newBrood("echo")
	return broodOther{full, idle}, err
}

func (b broodOther) ping() error { return b.idle.ping() }

func broodChild([]string) error {
	w := worker.Worker{MaxInflight: inflight}
	echo := func(_ context.Context, r *worker.Request) (any, error) { return r.Message, nil }
	w.HandleInline("echo", "", func(_ context.Context, c *ipc.Call) (ipc.Message, error) { return c.Message, nil })
	w.Handle("echo-goroutine", "", echo)
	err := w.Run(context.Background())
	if errors.Is(err, worker.ErrSupervisorGone) || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}
