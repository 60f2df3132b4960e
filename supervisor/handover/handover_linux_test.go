package handover_test

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
)

func TestHandover(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var out handover.Out
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
	in := handovertest.Deliver(t, &out)
	if _, still := os.LookupEnv(handover.Env); still {
		t.Errorf("%s is still in the environment", handover.Env)
	}
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
		if _, err := in.FD(n); !errors.Is(err, handover.ErrTaken) {
			t.Errorf("descriptor %d: %v", n, err)
		}
	}
	in.Close()
	r.Close()
	if _, err := unix.Write(fd, []byte("x")); err != unix.EPIPE {
		t.Errorf("the end to read from, which nobody took, is still open: %v", err)
	}
}

func TestNothingHandedOver(t *testing.T) {
	t.Setenv(handover.Env, "")
	in, err := handover.Receive()
	if in != nil || err != nil {
		t.Fatal(in, err)
	}
	if ok, err := in.Get("state", nil); ok || err != nil {
		t.Error(ok, err)
	}
	if _, err := in.FD(0); !errors.Is(err, handover.ErrTaken) {
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
		t.Setenv(handover.Env, strconv.Itoa(fd))
		if _, err := handover.Receive(); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestAsked(t *testing.T) {
	key, value, _ := strings.Cut(handover.Check(), "=")
	t.Setenv(key, value)
	if in, err := handover.Receive(); in != nil || err != nil {
		t.Error(in, err)
	}
	if v, asked := handover.Asked(); v != handover.Version || !asked {
		t.Error(v, asked)
	}
	if _, asked := handover.Asked(); asked {
		t.Error("asked twice")
	}
}
