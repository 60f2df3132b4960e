package shim

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func ptr[T any](v T) *T { return &v }

// orders are one with everything, one with nothing, and one in between.
func orders() []Order {
	return []Order{
		{},
		{Path: "/bin/true", Argv: []string{"true", ""}, Env: []string{"A=1", "B="}, Parent: 1, Report: 4},
		{
			Parent: 4711, Report: 9, Path: "/bin/sh", Dir: "/tmp", Argv: []string{"sh", "-c", "exit 3"}, Env: []string{"X=ä\n"},
			OOMScoreAdj: ptr(-1000), Nice: ptr(-20), Umask: ptr(uint32(0o777)),
			Limits:     []Limit{{7, 1, ^uint64(0)}, {0, 2, 3}},
			Credential: &Credential{UID: 1, GID: ^uint32(0) - 1, Groups: []uint32{5, 6}},
			NoNewPrivs: true, ListenPID: true,
		},
	}
}

// encode is Encode for orders that are right.
func encode(t testing.TB, o Order) []byte {
	t.Helper()
	b, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOrderIsReadAsItWasWritten(t *testing.T) {
	for _, o := range orders() {
		b := encode(t, o)
		got, ok := decode(b)
		if !ok {
			t.Fatalf("%+v is not read", o)
		}
		if again := encode(t, got); !bytes.Equal(again, b) {
			t.Errorf("%+v became %+v", o, got)
		}
		if len(o.Env) > 0 && !reflect.DeepEqual(o.Env, got.Env) || o.Path != got.Path || !reflect.DeepEqual(o.OOMScoreAdj, got.OOMScoreAdj) {
			t.Errorf("%+v became %+v", o, got)
		}
		for n := range b {
			if _, ok := decode(b[:n]); ok {
				t.Fatalf("%d of %d bytes are enough", n, len(b))
			}
		}
		if _, ok := decode(append(b, 0)); ok {
			t.Error("a byte more is ignored")
		}
	}
}

// execve(2) would cut such a string off.
func TestOrderTakesNoNUL(t *testing.T) {
	for _, o := range []Order{{Path: "/bin/a\x00b"}, {Dir: "\x00"}, {Argv: []string{"", "a\x00"}}, {Env: []string{"A=\x00"}}} {
		if _, err := o.Encode(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, o := range orders() {
		f.Add(encode(f, o))
	}
	f.Add([]byte(mark + strings.Repeat("\xff", 64)))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, ok := decode(b)
		if !ok {
			return
		}
		if again := encode(t, o); !bytes.Equal(again, b) {
			t.Errorf("%q was read as %+v, which is %q", b, o, again)
		}
	})
}

func TestOutcome(t *testing.T) {
	exec := []byte{byte(StepExec), 0, 0, 0, 0, 0, 0, 0}
	limit := []byte{byte(StepLimit), 0, 2, 1, 1, 0, 0, 0}
	missing := []byte{byte(StepExec), 0, 0, 0, 2, 0, 0, 0}
	for _, c := range []struct {
		name string
		in   []byte
		ran  bool
		want *Failure
	}{
		{"nothing", nil, false, nil},
		{"half a record", exec[:7], false, nil},
		{"ran", exec, true, nil},
		{"a limit", limit, false, &Failure{StepLimit, 258, syscall.EPERM}},
		{"execve failed", append(exec, missing...), false, &Failure{StepExec, 0, syscall.ENOENT}},
	} {
		if ran, got := Outcome(c.in); ran != c.ran || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %+v", c.name, ran, got)
		}
	}
}
