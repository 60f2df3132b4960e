package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
)

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func brief(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// stand pauses l.
func (l *listener) stand() {
	l.t.Helper()
	if err := l.Pause(patience(l.t)); err != nil {
		l.t.Fatal(err)
	}
}

// heir is l as the next program has it. The one before stands still until the end
// of the test.
func (l *listener) heir() *listener {
	l.t.Helper()
	var out handover.Out
	saved, err := l.Export(&out)
	if err != nil {
		l.t.Fatal(err)
	}
	in, saved := handovertest.Carry(l.t, &out, saved)
	s, err := AdoptSocket(in, saved)
	if err != nil {
		l.t.Fatal(err)
	}
	return runs(l.t, s, nil)
}

// What a worker says before, between and after is heard once, and its barrier is
// answered.
func TestSocketIsHandedOver(t *testing.T) {
	l := listen(t, nil)
	l.say("READY=1", "a\x00b")
	l.await(ready)
	for end := time.Now().Add(20 * time.Second); l.Ignored() == 0 && time.Now().Before(end); runtime.Gosched() {
	}
	l.stand()
	l.say("STATUS=between")
	r := l.barrier("BARRIER=1")
	h := l.heir()
	if h.Path() != l.Path() || h.Ignored() != 1 {
		t.Errorf("%s ignored %d, then %s ignored %d", l.Path(), l.Ignored(), h.Path(), h.Ignored())
	}
	h.answered(r)
	if m := h.next(); m.Status == nil || *m.Status != "between" {
		t.Errorf("heard %+v", m)
	}
	h.say("STOPPING=1")
	h.await(func(m Message) bool { return m.Stopping })
	if len(l.heard) > 0 {
		t.Errorf("the one before has heard %+v", <-l.heard)
	}
	h.Close()
	h.awaitEnd()
	if _, err := os.Lstat(l.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the node: %v", err)
	}
}

// The next program could not be executed, again and again: nothing is lost, and
// nothing is handled in a pause.
func TestPausesLoseNothing(t *testing.T) {
	l := listen(t, nil)
	sent := make(chan error, 1)
	go func() {
		s, err := newSpeaker(l.Path())
		for i := 1; i <= 2000 && err == nil; i++ {
			err = s.send(fmt.Sprintf("STATUS=%d\nERRNO=%d", i, i))
			if i%100 == 0 && err == nil {
				err = s.send("RELOADING=1")
			}
			if err == nil && i%100 == 50 {
				err = s.send("READY=1")
			}
		}
		if s != nil {
			unix.Close(s.fd)
		}
		sent <- err
	}()
	last, stages := 0, 0
	note := func(m Message) {
		if m.Errno < last && m.Errno != 0 {
			t.Errorf("%d after %d", m.Errno, last)
		}
		last = max(last, m.Errno)
		if m.Ready || m.Reloading {
			stages++
		}
	}
	for last < 2000 || stages < 40 {
		l.stand()
		var out handover.Out
		if _, err := l.Export(&out); err != nil {
			t.Fatal(err)
		}
		for n := len(l.heard); n > 0; n-- {
			note(<-l.heard)
		}
		if len(l.heard) > 0 {
			t.Fatal("heard in a pause")
		}
		l.Resume()
		if last < 2000 || stages < 40 {
			note(l.next())
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if stages != 40 || last != 2000 {
		t.Errorf("%d changes, want 40; the last status was %d", stages, last)
	}
}

// What is received but not due yet is handed over by the pause itself.
func TestPauseHandsOverWhatIsPending(t *testing.T) {
	noLeaks(t)
	d, err := newDir([]string{shortDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	s, err := d.Listen("web.2.7", -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abort)
	handled := make(chan Message, 1)
	in := intake{
		s: s, handle: func(m Message) { handled <- m },
		pending: Message{Ready: true}, due: time.Now().Add(time.Hour),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s.pausing() == nil {
			runtime.Gosched()
		}
		in.next()
	}()
	if err := s.Pause(patience(t)); err != nil {
		t.Fatal(err)
	}
	if len(handled) != 1 {
		t.Error("it was not handed over")
	}
	s.Resume()
	<-done
}

// A pause that comes to nothing, as the handler is stuck, has an end, and leaves
// nothing behind: not even a deadline, on which Run would spin.
func TestPauseOfAStuckHandler(t *testing.T) {
	l, leave := listenStuck(t)
	for range 2 {
		if err := l.Pause(brief(t)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	l.Resume()
	l.Resume()
	close(leave)
	l.await(ready)
	spent := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	const silence = 300 * time.Millisecond
	time.Sleep(silence) // what is measured: that nothing is done in it
	if d := spent() - before; d > silence/2 {
		t.Errorf("%v of work in %v of silence", d, silence)
	}
	l.say("STOPPING=1")
	l.await(func(m Message) bool { return m.Stopping })
}

func TestCloseInAPause(t *testing.T) {
	l := listen(t, nil)
	l.stand()
	l.say("STATUS=last words")
	l.Close()
	l.awaitEnd()
	if m := l.next(); m.Status == nil {
		t.Errorf("heard %+v", m)
	}
	l.Resume()
	if err := l.Pause(patience(t)); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	var out handover.Out
	if _, err := l.Export(&out); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if n := UnderWay(); n != 0 {
		t.Errorf("%d are still being closed", n)
	}
}

// The directory is never free for others to remove, and the next program makes
// sockets there.
func TestDirIsHandedOver(t *testing.T) {
	noLeaks(t)
	base := shortDir(t)
	d, err := newDir([]string{base})
	if err != nil {
		t.Fatal(err)
	}
	long := "a-name-that-is-longer-than-the-forty-bytes.1.1"
	first, err := d.Listen(long, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	var out handover.Out
	in, saved := handovertest.Carry(t, &out, d.Export(&out))
	d.lock.Close() // as the end of the program does
	sweep(base)
	heir, err := AdoptDir(in, saved)
	if err != nil {
		t.Fatal(err)
	}
	sweep(base)
	if _, err := os.Lstat(first.Path()); err != nil {
		t.Error(err)
	}
	second, err := heir.Listen(long, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	if first.Path() == second.Path() || filepath.Dir(first.Path()) != filepath.Dir(second.Path()) {
		t.Errorf("%s, then %s", first.Path(), second.Path())
	}
	first.Abort()
	second.Abort()
	heir.Close()
	if left, err := os.ReadDir(base); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := AdoptDir(in, saved); !errors.Is(err, handover.ErrTaken) {
		t.Error(err)
	}
	if _, err := AdoptSocket(in, SavedSocket{}); !errors.Is(err, handover.ErrTaken) {
		t.Error(err)
	}
}
