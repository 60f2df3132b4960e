package watch

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// running is a set at work, ended with the test.
func running(t *testing.T) *Set {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		s.Run()
		close(done)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return s
}

func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// TestReadableAndEnd: each write is seen, and the end; what is not read at once
// is told again.
func TestReadableAndEnd(t *testing.T) {
	s := running(t)
	r, w := pipe(t)
	got := make(chan string, 16)
	var key Key
	added := make(chan struct{})
	key, err := s.Add(r, func() {
		<-added
		var b [1]byte // less than there is
		n, err := unix.Read(r, b[:])
		if n == 0 && err == nil {
			s.Remove(r, key)
			unix.Close(r)
			close(got)
			return
		}
		got <- string(b[:n])
	})
	if err != nil {
		t.Fatal(err)
	}
	close(added)
	unix.Write(w, []byte("abc"))
	for _, want := range []string{"a", "b", "c"} {
		if text := <-got; text != want {
			t.Errorf("got %q, want %q", text, want)
		}
	}
	unix.Write(w, []byte("d"))
	if text := <-got; text != "d" {
		t.Errorf("got %q", text)
	}
	unix.Close(w)
	if _, ok := <-got; ok {
		t.Error("more than was written")
	}
}

// TestRemoved: a descriptor that was removed is not called for, though its
// number is used again.
func TestRemoved(t *testing.T) {
	s := running(t)
	r, w := pipe(t)
	defer unix.Close(w)
	key, err := s.Add(r, func() { t.Error("called for a removed descriptor") })
	if err != nil {
		t.Fatal(err)
	}
	s.Remove(r, key)
	unix.Write(w, []byte("x"))
	r2, w2 := pipe(t)
	defer unix.Close(w2)
	seen := make(chan struct{})
	var key2 Key
	added := make(chan struct{})
	key2, err = s.Add(r2, func() {
		<-added
		s.Remove(r2, key2)
		close(seen)
	})
	if err != nil {
		t.Fatal(err)
	}
	close(added)
	unix.Write(w2, []byte("y"))
	select {
	case <-seen:
	case <-time.After(20 * time.Second):
		t.Fatal("not called")
	}
	unix.Close(r)
	unix.Close(r2)
}

// TestAddFails: a descriptor that can't be waited for is refused, and forgotten.
func TestAddFails(t *testing.T) {
	s := running(t)
	f, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := s.Add(int(f.Fd()), func() {}); err == nil {
		t.Error("a regular file was taken")
	}
	if len(s.ready) != 0 {
		t.Error("it is remembered")
	}
}

// TestPause: a pause waits for the call that is under way, and then there is
// none, by Run or by Call, before its end. Nothing is lost by it.
func TestPause(t *testing.T) {
	s := running(t)
	r, w := pipe(t)
	defer unix.Close(r)
	defer unix.Close(w)
	called, proceed := make(chan struct{}, 16), make(chan struct{})
	key, err := s.Add(r, func() {
		called <- struct{}{}
		<-proceed
		_, _ = unix.Read(r, make([]byte, 1))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Remove(r, key) // before the pipe's end is readable
	for range 3 {
		unix.Write(w, []byte("a"))
		<-called
		paused := make(chan struct{})
		go func() {
			s.Pause()
			close(paused)
		}()
		select {
		case <-paused:
			t.Fatal("paused while one is called back")
		case <-time.After(10 * time.Millisecond):
		}
		proceed <- struct{}{}
		<-paused
		unix.Write(w, []byte("b"))
		done := make(chan struct{})
		go func() {
			s.Call(func() { called <- struct{}{} })
			close(done)
		}()
		select {
		case <-called:
			t.Fatal("called in a pause")
		case <-time.After(10 * time.Millisecond):
		}
		s.Resume()
		proceed <- struct{}{} // for b
		<-called
		<-called
		<-done
	}
}
