// Package handover carries what a supervisor has over to the program that takes
// its place by execve(2): named values, and descriptors. The pid stays, so the
// workers stay children of it; all else that is to survive goes through here.
//
// One end, the supervisor that goes:
//
//	var out handover.Out
//	err := out.Put("listener", state{Path: path, FD: out.FD(fd)})
//	… supervisor.Upgrade, which executes the next program
//
// The other end, the one that comes:
//
//	in, err := handover.Receive() // nil where there was none before
//	defer in.Close()
//	var st state
//	ok, err := in.Get("listener", &st)
//	fd, err := in.FD(st.FD)
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Env names the variable that tells a program what it is started for: the number
// of a descriptor to read what was handed over from, or the word of [Check].
const Env = "BROOD_HANDOVER"

// Version is that of what is handed over. A program takes over from one with the
// same, and says so when asked; see [Asked].
const Version = 1

// Out is what goes. The zero value is empty. It belongs to one goroutine.
type Out struct {
	values map[string]json.RawMessage
	fds    []int
}

// Put adds a value, which is written as JSON.
func (o *Out) Put(name string, v any) error {
	if _, have := o.values[name]; have {
		return fmt.Errorf("handover: %s was put already", name)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("handover: %s: %w", name, err)
	}
	if o.values == nil {
		o.values = map[string]json.RawMessage{}
	}
	o.values[name] = b
	return nil
}

// FD adds a descriptor and returns what names it to [In.FD]. It stays the
// caller's, who keeps it open until the next program runs, or will not.
func (o *Out) FD(fd int) int {
	o.fds = append(o.fds, fd)
	return len(o.fds) - 1
}

// FDs are the descriptors added so far, in order.
func (o *Out) FDs() []int { return o.fds }

// parcel is what the next program reads.
type parcel struct {
	Version int
	Values  map[string]json.RawMessage
	FDs     []int // as they are numbered there
}

// In is what has come. Its methods may be called from any goroutine, and on nil,
// which is empty.
type In struct {
	values map[string]json.RawMessage

	mu  sync.Mutex
	fds []int // -1: taken
}

// ErrTaken is in the chain of the error of FD for a descriptor that was taken
// before, or was never there.
var ErrTaken = errors.New("no such descriptor, or it was taken before")

// Receive takes what the program before has handed over; nil: there was none. It
// is called once, before anything else of the program opens or inherits
// descriptors, and takes the variable out of the environment.
func Receive() (*In, error) {
	text := os.Getenv(Env)
	fd, err := strconv.Atoi(text)
	if text == "" || err != nil {
		return nil, nil
	}
	os.Unsetenv(Env)
	f := os.NewFile(uintptr(fd), "handover")
	if f == nil {
		return nil, fmt.Errorf("handover: %s=%s names no descriptor", Env, text)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("handover: %s=%s: %w", Env, text, err)
	}
	var p parcel
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("handover: %s=%s: %w", Env, text, err)
	}
	if p.Version != Version {
		return nil, fmt.Errorf("handover: it is of version %d, this program knows %d", p.Version, Version)
	}
	for _, fd := range p.FDs {
		unix.CloseOnExec(fd)
	}
	return &In{values: p.Values, fds: p.FDs}, nil
}

// Get reads a value. It is false where there is none of that name.
func (in *In) Get(name string, v any) (bool, error) {
	if in == nil {
		return false, nil
	}
	b, ok := in.values[name]
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return true, fmt.Errorf("handover: %s: %w", name, err)
	}
	return true, nil
}

// FD is the descriptor that Out.FD has named n. It is the caller's to close from
// now on. It is close-on-exec, and blocking or not as it was before.
func (in *In) FD(n int) (int, error) {
	if in == nil {
		return -1, fmt.Errorf("handover: descriptor %d: %w", n, ErrTaken)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if n < 0 || n >= len(in.fds) || in.fds[n] < 0 {
		return -1, fmt.Errorf("handover: descriptor %d: %w", n, ErrTaken)
	}
	fd := in.fds[n]
	in.fds[n] = -1
	return fd, nil
}

// File is FD as a file, which is given a name.
func (in *In) File(n int, name string) (*os.File, error) {
	fd, err := in.FD(n)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Close closes the descriptors that nobody has taken.
func (in *In) Close() {
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, fd := range in.fds {
		if fd >= 0 {
			unix.Close(fd)
			in.fds[i] = -1
		}
	}
}

// check begins the value of Env that asks a program whether it could take over.
const check = "check:"

// Check is the variable, KEY=value, by which a program is asked whether it could
// take over from this one. It answers with [Fits].
func Check() string { return Env + "=" + check + strconv.Itoa(Version) }

// Asked reports whether this program was started to say whether it could take
// over, and of what version. It takes the variable out of the environment.
func Asked() (version int, asked bool) {
	text, ok := strings.CutPrefix(os.Getenv(Env), check)
	if !ok {
		return 0, false
	}
	os.Unsetenv(Env)
	version, _ = strconv.Atoi(text) // 0 is no version
	return version, true
}

// Fits is the line that a program prints which could take over; what else it
// would print shows that it is another program altogether.
func Fits() string { return fmt.Sprintf("brood handover %d", Version) }
