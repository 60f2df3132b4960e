package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/docs/vectors"
	"example.com/brood/ipc"
)

// subject is a worker under test and the supervisor's end of its socketpair.
type subject struct {
	ctx     context.Context
	options Options

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is reaped
	output lastLines

	conn   *os.File // this end
	reader vectors.Reader
	child  uint64 // inode of the worker's end
	hello  ipc.Hello
	said   []ipc.Frame // EVENT and RETIRE frames that came
	ready  bool
}

// start runs the worker as a supervisor does.
func (s *subject) start() error { return s.startWith(0) }

// startWith adds wrong to the inode that the worker is told.
func (s *subject) startWith(wrong uint64) error {
	parent, child, err := ipc.Pair()
	if err != nil {
		return err
	}
	defer child.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(child.Fd()), &st); err != nil {
		return err
	}
	s.conn, s.child = parent, st.Ino
	s.reader = vectors.Reader{F: parent, Timeout: s.options.Timeout}
	cmd := exec.Command(s.options.Command[0], s.options.Command[1:]...)
	cmd.ExtraFiles = []*os.File{child}
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "BROOD_") })
	cmd.Env = append(cmd.Env, fmt.Sprintf("BROOD_FD=3:%d", st.Ino+wrong), "BROOD_WORKER=conformance/1", "BROOD_POOL=conformance",
		"BROOD_SLOT=1", "BROOD_GENERATION=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	s.output.each = s.options.Output
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("the worker does not start: %w", err)
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func() {
		cmd.Wait()
		close(s.exited)
	}()
	return nil
}

// leaveTime is how long a worker may take to end, and what it has started with it,
// once its connection has.
const leaveTime = time.Second

// end leaves nothing behind but what a worker leaves that does not end by itself.
func (s *subject) end() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.cmd == nil {
		return
	}
	select {
	case <-s.exited:
	case <-time.After(leaveTime):
	}
	unix.Kill(-s.cmd.Process.Pid, unix.SIGKILL)
	<-s.exited
}

// withLastWords adds what the process has written, or how it died.
func (s *subject) withLastWords(err error) error {
	var sk skip
	if errors.As(err, &sk) || s.cmd == nil {
		return err
	}
	select {
	case <-s.exited:
		if state := s.cmd.ProcessState; !state.Success() && !strings.Contains(err.Error(), state.String()) {
			err = fmt.Errorf("%w (the process ended: %v)", err, state)
		}
	default:
	}
	if words := s.output.String(); words != "" {
		err = fmt.Errorf("%w; it wrote: %s", err, words)
	}
	return err
}

// greet says HELLO and awaits the worker's, and its READY.
func (s *subject) greet() error {
	if err := s.takeHello(); err != nil {
		return err
	}
	if err := s.greeting(ipc.Hello{Worker: "conformance/1", Generation: 1, FDs: 16}); err != nil {
		return err
	}
	for !s.ready {
		f, err := s.reader.Frame()
		if err != nil {
			return fmt.Errorf("waiting for READY: %w", err)
		}
		if err := s.note(f); err != nil {
			return err
		}
	}
	return nil
}

func (s *subject) greeting(h ipc.Hello) error {
	h.Protocol = [2]int{1, 1}
	m, err := ipc.JSON(h)
	if err != nil {
		return err
	}
	return s.send(ipc.Frame{Header: ipc.Header{Type: ipc.TypeHello, Codec: ipc.CodecJSON}, Payload: m.Payload})
}

func (s *subject) takeHello() error {
	f, err := s.reader.Frame()
	if err != nil {
		return fmt.Errorf("waiting for HELLO: %w", err)
	}
	if f.Type != ipc.TypeHello {
		return fmt.Errorf("the first frame is %v, not HELLO", f.Type)
	}
	return s.readHello(f)
}

func (s *subject) readHello(f ipc.Frame) error {
	if err := json.Unmarshal(f.Payload, &s.hello); err != nil {
		return fmt.Errorf("its HELLO %.200q: %w", f.Payload, err)
	}
	h := &s.hello
	for limit, byDefault := range map[*int]int{&h.MaxMessage: ipc.DefaultMaxMessage, &h.MaxInflight: ipc.DefaultMaxInflight, &h.Chunk: ipc.DefaultChunk} {
		if *limit == 0 {
			*limit = byDefault
		}
	}
	return nil
}

func (s *subject) offers(command string) bool {
	return slices.ContainsFunc(s.hello.Commands, func(c ipc.CommandInfo) bool { return c.Name == command })
}

// need skips a check whose commands the worker does not have.
func (s *subject) need(commands []string) error {
	for _, command := range commands {
		if !s.offers(command) {
			return skipf("its HELLO has no command %s", command)
		}
	}
	return nil
}

// note takes a frame that the worker may send of its own accord.
func (s *subject) note(f ipc.Frame) error {
	switch f.Type {
	case ipc.TypeReady:
		s.ready = true
		return nil
	case ipc.TypeEvent, ipc.TypeRetire:
		if len(f.Name) == 0 {
			return fmt.Errorf("%v without a name, rule name", f.Type)
		}
		s.said = append(s.said, f)
		return nil
	}
	return fmt.Errorf("%s came of its own accord", describe(f))
}

// next is the next frame that answers something.
func (s *subject) next() (ipc.Frame, error) {
	for {
		f, err := s.reader.Frame()
		if err != nil {
			return f, err
		}
		switch f.Type {
		case ipc.TypeReady, ipc.TypeEvent, ipc.TypeRetire:
			if err := s.note(f); err != nil {
				return f, err
			}
		default:
			return f, nil
		}
	}
}

// expect is the next frame, of that type and id.
func (s *subject) expect(t ipc.Type, id uint32) (ipc.Frame, error) {
	f, err := s.next()
	if err != nil {
		return f, fmt.Errorf("waiting for %v %d: %w", t, id, err)
	}
	if f.Type != t || f.ID != id {
		return f, fmt.Errorf("got %s instead of %v %d", describe(f), t, id)
	}
	return f, nil
}

// failure expects the ERROR of a call.
func (s *subject) failure(id uint32, code ipc.Code) error {
	f, err := s.expect(ipc.TypeError, id)
	if err == nil && string(f.Name) != string(code) {
		err = fmt.Errorf("call %d ended with %s, not with %s", id, describe(f), code)
	}
	return err
}

func describe(f ipc.Frame) string {
	return fmt.Sprintf("%v %d %s %.80q", f.Type, f.ID, f.Name, f.Payload)
}

// send writes frames. It does not find out that the worker has ended the
// connection; what is read next does.
func (s *subject) send(frames ...ipc.Frame) error {
	var b []byte
	for _, f := range frames {
		b = ipc.AppendFrame(b, f)
	}
	return s.write(b)
}

func (s *subject) write(b []byte) error {
	s.conn.SetWriteDeadline(time.Now().Add(s.options.Timeout))
	_, err := s.conn.Write(b)
	switch {
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it has not read for %v", s.options.Timeout)
	}
	return err
}

func (s *subject) call(id uint32, command string, words ...string) error {
	return s.callWithin(id, 0, command, words...)
}

func (s *subject) callWithin(id, ms uint32, command string, words ...string) error {
	m := ipc.Args(words...)
	return s.send(ipc.Frame{Header: ipc.Header{Type: ipc.TypeCall, ID: id, Arg: ms, Codec: m.Codec}, Name: []byte(command), Payload: m.Payload})
}

func (s *subject) control(t ipc.Type, id, arg uint32) error {
	return s.send(ipc.Frame{Header: ipc.Header{Type: t, ID: id, Arg: arg}})
}

// alive has a ping answered by the very next frame.
func (s *subject) alive(token uint32) error {
	if err := s.control(ipc.TypePing, 0, token); err != nil {
		return err
	}
	f, err := s.expect(ipc.TypePong, 0)
	if err == nil && f.Arg != token {
		err = fmt.Errorf("PING %d was answered by PONG %d", token, f.Arg)
	}
	return err
}

// gone awaits the end of the connection.
func (s *subject) gone() error {
	f, err := s.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("waiting for the end of the connection: %w", err)
	}
	return fmt.Errorf("got %s instead of the end of the connection", describe(f))
}

// ends awaits the end of the process; want is its status, -1 any.
func (s *subject) ends(want int) error {
	select {
	case <-s.exited:
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-time.After(s.options.Timeout):
		return fmt.Errorf("the process has not ended within %v", s.options.Timeout)
	}
	state := s.cmd.ProcessState
	if got := state.ExitCode(); got < 0 || want >= 0 && got != want {
		if want < 0 {
			return fmt.Errorf("the process did not exit by itself: %v", state)
		}
		return fmt.Errorf("the process ended: %v, not with status %d", state, want)
	}
	return nil
}

// lastLines keeps the end of what a process writes.
type lastLines struct {
	each func(string)

	mu   sync.Mutex
	tail []byte
}

const kept = 400

func (l *lastLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each != nil {
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
			l.each(lines.Text())
		}
	}
	l.tail = append(l.tail, b...)
	if over := len(l.tail) - kept; over > 0 {
		l.tail = append(l.tail[:0], l.tail[over:]...)
	}
	return len(b), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(l.tail), "?"))
}
