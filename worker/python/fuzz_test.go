package python_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/docs/vectors"
	"example.com/brood/ipc"
)

// The Go implementation and this one are held against each other: any bytes, and
// both accept them or both name the same rule and byte.

// oracle is a Python that says what it makes of bytes. It ends with this process.
type oracle struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

var python = sync.OnceValues(func() (*oracle, error) {
	cmd := exec.Command("python3", "differential.py")
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &oracle{in: in, out: bufio.NewReader(out)}, cmd.Start()
})

func ask(t *testing.T, kind byte, data []byte) string {
	t.Helper()
	o, err := python()
	if err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	question := append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data))), data...)
	if _, err := o.in.Write(question); err != nil {
		t.Fatal(err)
	}
	answer, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the Python has ended: %v", err)
	}
	return strings.TrimSuffix(answer, "\n")
}

func needPython(f *testing.F) {
	if _, err := exec.LookPath("python3"); err != nil {
		f.Skip("python3 is not installed")
	}
}

func FuzzFrameAgainstPython(f *testing.F) {
	needPython(f)
	for _, v := range vectors.Frames() {
		f.Add([]byte(v.Hex))
	}
	for _, v := range vectors.Breaches() {
		f.Add([]byte(v.Hex))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		_, n, err := ipc.ParseFrame(in, ipc.DefaultChunk)
		want := fmt.Sprintf("frame %d", n)
		if n == 0 {
			want = "more"
		}
		if rule := ruleOf(err); rule != "" {
			want = rule
		}
		if got := ask(t, 'f', in); got != want {
			t.Errorf("%x: Python says %s, Go says %s", in, got, want)
		}
	})
}

// ruleOf is the rule and the byte that err names, or "".
func ruleOf(err error) string {
	var pe *ipc.ProtocolError
	if !errors.As(err, &pe) {
		return ""
	}
	return fmt.Sprintf("%s %d", pe.Rule, pe.Offset)
}

func FuzzConversationAgainstPython(f *testing.F) {
	needPython(f)
	for _, s := range vectors.Sessions() {
		var all []byte
		for _, step := range s.Steps {
			if len(step.Send)*max(step.Times, 1) < 1<<16 {
				for range max(step.Times, 1) {
					all = append(all, step.Send...)
				}
			}
		}
		f.Add(all)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 100<<10 {
			t.Skip("longer answers than may wait")
		}
		got, want := ask(t, 'c', in), converse(t, in)
		if got == "ok" && early(in, want) {
			return
		}
		if got != want && !aboutJSON(got) && !aboutJSON(want) {
			t.Errorf("%x: Python says %s, Go says %s", in, got, want)
		}
	})
}

// early reports whether breach is in a last frame that is not whole. Go finds some
// of what breaks a rule of the connection before the body has come.
func early(in []byte, breach string) bool {
	start := 0
	for start < len(in) {
		_, n, err := ipc.ParseFrame(in[start:], ipc.DefaultChunk)
		if err != nil {
			return false
		}
		if n == 0 {
			break
		}
		start += n
	}
	_, at, _ := strings.Cut(breach, " ")
	offset, err := strconv.Atoi(at)
	return err == nil && start < len(in) && offset >= start
}

// TestHelloAgainstPython: what a HELLO may say is not left to the JSON library.
func TestHelloAgainstPython(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	for hello, want := range map[string]string{
		`{"x":NaN}`: "json 20", `{"x":-Infinity}`: "json 20",
		`{"chunk":false}`: "json 20", `{"chunk":""}`: "json 20", `{"fds":[]}`: "json 20", `{"max_message":{}}`: "json 20",
		`{"protocol":false}`: "json 20", `{"protocol":""}`: "json 20", `{"protocol":["1","1"]}`: "json 20",
		`{"protocol":[]}`: "hello 20", `{"protocol":[0,0]}`: "hello 20", `{"protocol":[1]}`: "hello 20", `{"protocol":[1,1,7]}`: "hello 20",
		`{"protocol":null,"chunk":null,"fds":0}`: "ok",
	} {
		in := ipc.AppendFrame(nil, ipc.Frame{Header: ipc.Header{Type: ipc.TypeHello, Codec: ipc.CodecJSON}, Payload: []byte(hello)})
		if python, goes := ask(t, 'c', in), converse(t, in); python != want || goes != want {
			t.Errorf("%s: Python says %s, Go says %s, want %s", hello, python, goes, want)
		}
	}
}

// aboutJSON: what else a JSON library takes for a field's name, for a number or for
// text is its own, and so is what is then made of a HELLO.
func aboutJSON(answer string) bool {
	return strings.HasPrefix(answer, "json ") || strings.HasPrefix(answer, "hello ")
}

// converse is what the Go end of a worker says of all that a supervisor sends. Its
// commands begin and do not end.
func converse(t *testing.T, in []byte) string {
	t.Helper()
	parent, child, err := ipc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	fd, err := unix.FcntlInt(child.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	child.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	defer close(over)
	c, err := ipc.NewConn(os.NewFile(uintptr(fd), "worker"), ipc.Config{
		Role:    ipc.Worker,
		Handler: func(context.Context, *ipc.Call) (ipc.Message, error) { <-over; return ipc.Message{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	parent.SetDeadline(time.Now().Add(20 * time.Second))
	read := make(chan struct{})
	go func() {
		io.Copy(io.Discard, parent)
		close(read)
	}()
	parent.Write(in) // it may have ended by then
	raw, err := parent.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	<-c.Done()
	<-read
	if rule := ruleOf(c.Err()); rule != "" {
		return rule
	}
	return "ok"
}
