package handover

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// deliver is what happens between the two programs.
func deliver(t *testing.T, o *Out) *In {
	t.Helper()
	var there []int
	for _, fd := range o.FDs() {
		n, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		there = append(there, n)
	}
	_, env, err := o.Seal(there)
	if err != nil {
		t.Fatal(err)
	}
	key, value, _ := strings.Cut(env, "=")
	t.Setenv(key, value)
	in, err := Receive()
	if err != nil {
		t.Fatal(err)
	}
	if _, still := os.LookupEnv(Env); still {
		t.Errorf("%s is still in the environment", Env)
	}
	t.Cleanup(in.Close)
	return in
}

func TestHandover(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var out Out
	type state struct {
		Names []string
		Read  int
		Write int
	}
	sent := state{Names: []string{"a", "ü\x00"}, Read: out.FD(int(r.Fd())), Write: out.FD(int(w.Fd()))}
	if err := out.Put("state", sent); err != nil {
		t.Fatal(err)
	}
	if err := out.Put("state", sent); err == nil {
		t.Error("a name was taken twice")
	}
	in := deliver(t, &out)
	var got state
	if ok, err := in.Get("state", &got); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if !slices.Equal(got.Names, sent.Names) {
		t.Errorf("got %q", got.Names)
	}
	if ok, err := in.Get("other", &got); ok || err != nil {
		t.Error(ok, err)
	}
	fd, err := in.FD(got.Write)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v: it would be inherited", flags, err)
	}
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Error(n, err)
	}
	for _, n := range []int{got.Write, -1, 2} {
		if _, err := in.FD(n); !errors.Is(err, ErrTaken) {
			t.Errorf("descriptor %d: %v", n, err)
		}
	}
	left := in.fds[got.Read]
	in.Close()
	if _, err := unix.FcntlInt(uintptr(left), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("what nobody took is still open: %v", err)
	}
}

func TestNothingHandedOver(t *testing.T) {
	t.Setenv(Env, "")
	in, err := Receive()
	if in != nil || err != nil {
		t.Fatal(in, err)
	}
	if ok, err := in.Get("state", nil); ok || err != nil {
		t.Error(ok, err)
	}
	if _, err := in.FD(0); !errors.Is(err, ErrTaken) {
		t.Error(err)
	}
	in.Close()
}

func TestFaultyHandover(t *testing.T) {
	for _, text := range []string{"", "{", `{"Version":99}`} {
		fd, err := unix.MemfdCreate("test", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Pwrite(fd, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		t.Setenv(Env, strconv.Itoa(fd))
		if _, err := Receive(); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestAsked(t *testing.T) {
	key, value, _ := strings.Cut(Check(), "=")
	t.Setenv(key, value)
	if in, err := Receive(); in != nil || err != nil {
		t.Error(in, err)
	}
	if v, asked := Asked(); v != Version || !asked {
		t.Error(v, asked)
	}
	if _, asked := Asked(); asked {
		t.Error("asked twice")
	}
}
