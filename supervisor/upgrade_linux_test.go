package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/process"
)

// telling is a writer that tells of the first write that has text.
type telling struct {
	text string
	told chan struct{}
	once sync.Once
}

func (w *telling) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.text) {
		w.once.Do(func() { close(w.told) })
	}
	return len(b), nil
}

// stuckTelling is one that then is stuck.
type stuckTelling struct {
	*telling
	stuck
}

func (w stuckTelling) Write(b []byte) (int, error) {
	w.telling.Write(b)
	return w.stuck.Write(b)
}

// askedOf is a context that tells when somebody begins to wait for its end.
type askedOf struct {
	context.Context
	asked chan struct{}
	once  sync.Once
}

func (c *askedOf) Done() <-chan struct{} {
	c.once.Do(func() { close(c.asked) })
	return c.Context.Done()
}

// While an output is waited for that nobody reads, which may be in vain, the answers
// to pings are read: no connection is held up for it.
func TestStuckOutputIsFoundOutFirst(t *testing.T) {
	w := stuckTelling{&telling{text: "first", told: make(chan struct{})}, stuck{make(chan struct{})}}
	p := echoes(2)
	p.Command = append([]string{"sh", "-c", `echo first; exec "$@"`, "sh"}, asWorker("echo")...)
	s := run(t, Config{Pools: []Pool{p}, Stdout: w})
	defer close(w.let)
	await(t, s, "all ready", allReady)
	<-w.told
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	defer cancel()
	h := &hold{rest: ctx.Done(), got: make(chan *loop, 1), news: make(chan chan []input), over: make(chan struct{})}
	s.inputs <- input{hold: h}
	k := &standstill{loop: <-h.got, hold: h}
	defer k.release()
	waits := &askedOf{Context: ctx, asked: make(chan struct{})}
	stopped := make(chan error, 1)
	go func() { stopped <- k.stopAll(waits) }()
	select {
	case <-waits.asked:
	case err := <-stopped:
		t.Fatalf("it did not wait: %v", err)
	}
	for id, l := range k.lives {
		if _, _, err := l.conn.(*ipc.Conn).Ping(within(t, 20*time.Second)); err != nil {
			t.Errorf("a ping of %v meanwhile: %v", id, err)
		}
	}
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "output is not read") {
		t.Error(err)
	}
}

// slowTable has who forks wait, and then not fork.
type slowTable struct{ forking, let chan struct{} }

func (s slowTable) Fork(func() (int, error)) error {
	close(s.forking)
	<-s.let
	return errors.New("it was not to be")
}

func (s slowTable) Reap(_ int, wait func()) { wait() }

// A process that is being started, which the next program would know nothing of,
// stands in the way of an upgrade for as long as that takes, and no longer.
func TestUpgradeIsTriedAgainWhileOneIsStarted(t *testing.T) {
	// It says that it could take over, and then can't be executed.
	program := filepath.Join(t.TempDir(), "next")
	script := fmt.Sprintf("#!/bin/sh\necho no program >\"$0.text\"\nchmod +x \"$0.text\"\nmv \"$0.text\" \"$0\"\necho '%s'\n", handover.Fits())
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	again := &telling{text: process.ErrStarting.Error(), told: make(chan struct{})}
	s := run(t, Config{Pools: []Pool{echoes(1)}, Log: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: again})})
	await(t, s, "all ready", allReady)

	table := slowTable{make(chan struct{}), make(chan struct{})}
	other := process.NewSpawner(table)
	defer other.Close()
	started := make(chan error, 1)
	go func() {
		_, err := other.Start(process.Spec{Command: []string{"/bin/true"}})
		started <- err
	}()
	<-table.forking
	over := make(chan error, 1)
	ctx := within(t, time.Minute)
	go func() { over <- s.Upgrade(ctx, Upgrade{Program: program, Args: []string{program}}) }()
	select {
	case <-again.told:
	case err := <-over:
		t.Errorf("it was not tried again: %v", err)
		over <- syscall.ENOEXEC
	}
	close(table.let)
	if err := <-started; err == nil {
		t.Error("it was started")
	}
	if err := <-over; !errors.Is(err, syscall.ENOEXEC) {
		t.Error(err)
	}
}

// Of a program that does not say whether it could take over it is said what has
// ended the wait: that of who asked, or the supervisor.
func TestUpgradeIsNotWaitedForAnyMore(t *testing.T) {
	s := run(t, Config{Log: discard(), Pools: []Pool{quick("sleep", "1000")}})
	await(t, s, "all ready", allReady)
	asked := filepath.Join(t.TempDir(), "asked")
	silent := Upgrade{Program: "/bin/sh", Args: []string{"sh", "-c", `: >"$1"; exec sleep 1000`, "sh", asked}}
	err := s.Upgrade(within(t, 100*time.Millisecond), silent)
	if !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), "/bin/sh: the wait was over before") {
		t.Errorf("who asked waits no longer: %v", err)
	}
	os.Remove(asked)
	told := make(chan error, 1)
	go func() { told <- s.Upgrade(context.Background(), silent) }()
	poll(t, "the program to be asked", func() bool { _, err := os.Stat(asked); return err == nil })
	s.Shutdown(false)
	if err := <-told; !errors.Is(err, ErrStopping) {
		t.Errorf("the supervisor stops: %v", err)
	}
}
