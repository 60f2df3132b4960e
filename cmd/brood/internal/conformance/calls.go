package conformance

import (
	"bytes"
	"errors"
	"fmt"

	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"example.com/brood/ipc"
)

// Calls, many of them, and long ones.

var callChecks = []check{
	{name: "ping/under-load", about: "pings are answered while commands are at work", needs: []string{"sleep"}, run: checkPingUnderLoad},
	{name: "ping/beside-16MiB", about: "a ping does not wait for the end of a long answer", needs: []string{"echo"}, run: checkPingBesideLong},
	{name: "ping/flood", about: "pings whose answers nobody reads cost it no memory without bound", run: checkPingFlood},
	{name: "echo/16MiB", about: "16 MiB go there and back, in chunks", needs: []string{"echo"}, run: checkLongEcho},
	{name: "echo/many", about: "a thousand calls, as many at once as it accepts", needs: []string{"echo"}, run: checkMany},
	{name: "overloaded", about: "a call beyond max_inflight is refused, not started, and the connection goes on", needs: []string{"sleep", "echo"}, run: checkOverloaded},
	{name: "cancel/race", about: "each of 200 calls that are canceled as they end gets exactly one terminal frame", needs: []string{"sleep"}, run: checkCancelRace},
	{name: "deadline", about: "what is out of time is answered timeout, soon", needs: []string{"sleep"}, run: checkDeadline},
	{name: "own-call", about: "a call of the worker's own has an even id and takes its answer", needs: []string{"ask"}, run: checkOwnCall},
	{name: "own-call/given-up", about: "one that is given up is sent to its end first, and no CANCEL comes before that", needs: []string{"ask"}, run: checkOwnCallGivenUp},
	{name: "event", about: "an EVENT is well formed", needs: []string{"status"}, run: checkEvent},
	{name: "retire", about: "a RETIRE names its reason, and the worker goes on serving", needs: []string{"retire"}, run: checkRetire},
}

func checkPingUnderLoad(s *subject) error {
	n := uint32(min(s.hello.MaxInflight, 4))
	for i := range n {
		if err := s.call(2*i+1, "sleep", "1h"); err != nil {
			return err
		}
	}
	for i := range uint32(100) {
		start := time.Now()
		if err := s.alive(i); err != nil {
			return fmt.Errorf("with %d commands at work: %w", n, err)
		}
		if took := time.Since(start); took > max(time.Second, s.options.Timeout/3) {
			return fmt.Errorf("with %d commands at work a ping took %v", n, took)
		}
	}
	return nil
}

// long is a CALL in chunks.
func (s *subject) long(id uint32, command string, m ipc.Message) (b []byte) {
	chunk, name, payload := s.hello.Chunk, []byte(command), m.Payload
	for first := true; first || len(payload) > 0; first = false {
		n := min(len(payload), chunk-len(name))
		f := ipc.Frame{Header: ipc.Header{Type: ipc.TypeCall, ID: id, Codec: m.Codec}, Name: name, Payload: payload[:n]}
		payload, name = payload[n:], nil
		if len(payload) > 0 {
			f.Flags = ipc.FlagMore
		}
		b = ipc.AppendFrame(b, f)
	}
	return b
}

// message puts a RESULT together; between is given every other frame.
func (s *subject) message(id uint32, between func(ipc.Frame) error) ([]byte, error) {
	var payload []byte
	for frames := 0; ; frames++ {
		f, err := s.next()
		if err != nil {
			return nil, fmt.Errorf("after %d bytes of RESULT %d: %w", len(payload), id, err)
		}
		if f.Type != ipc.TypeResult || f.ID != id {
			if between == nil {
				return nil, fmt.Errorf("got %s within RESULT %d", describe(f), id)
			}
			if err := between(f); err != nil {
				return nil, err
			}
			continue
		}
		payload = append(payload, f.Payload...)
		if f.Flags&ipc.FlagMore == 0 {
			return payload, nil
		}
	}
}

func checkLongEcho(s *subject) error {
	payload := make([]byte, min(ipc.DefaultMaxMessage, s.hello.MaxMessage))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range payload {
		payload[i] = byte(random.Uint32())
	}
	wrote := make(chan error, 1)
	go func() { wrote <- s.write(s.long(1, "echo", ipc.Bytes(payload))) }()
	got, err := s.message(1, nil)
	if err != nil {
		return err
	}
	if err := <-wrote; err != nil {
		return err
	}
	if !bytes.Equal(got, payload) {
		return fmt.Errorf("%d bytes came back, not the %d that went", len(got), len(payload))
	}
	return s.alive(1)
}

// checkPingBesideLong stops reading, so that the worker can't write on, pings,
// and then looks where in the answer the PONG is.
func checkPingBesideLong(s *subject) error {
	payload := make([]byte, min(ipc.DefaultMaxMessage, s.hello.MaxMessage))
	if err := s.write(s.long(1, "echo", ipc.Bytes(payload))); err != nil {
		return err
	}
	f, err := s.expect(ipc.TypeResult, 1)
	if err != nil {
		return err
	}
	if err := s.control(ipc.TypePing, 0, 5); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // time to read the ping; without it the check is weaker, not wrong
	rest, ponged := len(payload)-len(f.Payload), false
	_, err = s.message(1, func(f ipc.Frame) error {
		if f.Type != ipc.TypePong || f.Arg != 5 {
			return fmt.Errorf("got %s within RESULT 1", describe(f))
		}
		ponged = true
		return nil
	})
	switch {
	case err != nil:
		return err
	case !ponged:
		return fmt.Errorf("the PONG came behind all of the %d bytes that were still to be written", rest)
	}
	return nil
}

func checkPingFlood(s *subject) error {
	before, err := s.memory()
	if err != nil {
		return err
	}
	pings := bytes.Repeat(ipc.AppendFrame(nil, ipc.Frame{Header: ipc.Header{Type: ipc.TypePing}}), 4096)
	s.conn.SetWriteDeadline(time.Now().Add(min(s.options.Timeout, 2*time.Second)))
	for range 400 { // 32 MB
		if _, err := s.conn.Write(pings); err != nil {
			break // it has ended the connection, or reads no more: both bound it
		}
	}
	return s.bounded(before, 16<<20)
}

// memory is the process's resident memory in bytes.
func (s *subject) memory() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.hello.PID))
	if err != nil {
		return 0, skipf("its memory can't be seen: %v", err)
	}
	_, rss, _ := strings.Cut(string(b), "VmRSS:")
	fields := strings.Fields(rss)
	if len(fields) == 0 {
		return 0, skipf("its memory can't be seen: it is ending")
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	return kb << 10, err
}

// bounded holds what the process has grown by since against a bound.
func (s *subject) bounded(before, bound int64) error {
	now, err := s.memory()
	if err != nil {
		return nil // it has ended
	}
	if now-before > bound {
		return fmt.Errorf("it grew by %d MiB, at most %d are fair", (now-before)>>20, bound>>20)
	}
	return nil
}

func checkMany(s *subject) error {
	const calls = 1000
	window := min(s.hello.MaxInflight, 64)
	sent, open := 0, map[uint32]string{}
	send := func() error {
		id := uint32(2*sent + 1)
		open[id] = fmt.Sprintf("call %d", sent)
		sent++
		return s.call(id, "echo", strings.Fields(open[id])...)
	}
	for range window {
		if err := send(); err != nil {
			return err
		}
	}
	for range calls {
		f, err := s.next()
		if err != nil {
			return fmt.Errorf("with %d calls unanswered: %w", len(open), err)
		}
		if want, ok := open[f.ID]; !ok || f.Type != ipc.TypeResult || string(f.Payload) != want {
			return fmt.Errorf("got %s, want the RESULT of a call that is open", describe(f))
		}
		delete(open, f.ID)
		if sent < calls {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return s.alive(1)
}

func checkOverloaded(s *subject) error {
	n := uint32(s.hello.MaxInflight)
	if n > 1024 {
		return skipf("it accepts %d calls at once", n)
	}
	for i := range n {
		if err := s.call(2*i+1, "sleep", "1h"); err != nil {
			return err
		}
	}
	if err := s.call(2*n+1, "echo", "one too many"); err != nil {
		return err
	}
	f, err := s.expect(ipc.TypeError, 2*n+1)
	if err != nil {
		return fmt.Errorf("with %d calls open: %w", n, err)
	}
	if string(f.Name) != string(ipc.ErrOverloaded) || !bytes.Contains(f.Payload, []byte(`"no"`)) {
		return fmt.Errorf("with %d calls open the next was answered %s, not overloaded and not started", n, describe(f))
	}
	for i := range n {
		if err := s.control(ipc.TypeCancel, 2*i+1, 0); err != nil {
			return err
		}
	}
	for range n {
		f, err := s.next()
		if err != nil || f.Type != ipc.TypeError || string(f.Name) != string(ipc.ErrCanceled) {
			return fmt.Errorf("after CANCEL: got %s, %v", describe(f), err)
		}
	}
	if err := s.call(1, "echo", "room"); err != nil {
		return err
	}
	_, err = s.expect(ipc.TypeResult, 1)
	return err
}

func checkCancelRace(s *subject) error {
	const calls = 200
	open, answered := map[uint32]bool{}, 0
	take := func() error {
		f, err := s.next()
		if err != nil {
			return fmt.Errorf("with %d of %d calls answered: %w", answered, calls, err)
		}
		if f.Type != ipc.TypeResult && f.Type != ipc.TypeError || !open[f.ID] {
			return fmt.Errorf("got %s, want one terminal frame of each open call", describe(f))
		}
		delete(open, f.ID)
		answered++
		return nil
	}
	for i := range uint32(calls) {
		id := 2*i + 1
		open[id] = true
		if err := s.call(id, "sleep", strconv.Itoa(int(i%3))+"ms"); err != nil {
			return err
		}
		if i%2 == 0 {
			time.Sleep(time.Millisecond) // the race is the point: some end first, some are canceled first
		}
		if err := s.control(ipc.TypeCancel, id, 0); err != nil {
			return err
		}
		for len(open) >= min(s.hello.MaxInflight, 8) {
			if err := take(); err != nil {
				return err
			}
		}
	}
	for len(open) > 0 {
		if err := take(); err != nil {
			return err
		}
	}
	return s.alive(9)
}

func checkDeadline(s *subject) error {
	start := time.Now()
	if err := s.callWithin(1, 100, "sleep", "1h"); err != nil {
		return err
	}
	if err := s.failure(1, ipc.ErrTimeout); err != nil {
		return err
	}
	if took := time.Since(start); took < 95*time.Millisecond || took > 100*time.Millisecond+s.options.Timeout/2 {
		return fmt.Errorf("a call with 100 ms left was answered timeout after %v", took)
	}
	if err := s.callWithin(1, 0xFFFFFFFF, "sleep", "1ms"); err != nil {
		return err
	}
	_, err := s.expect(ipc.TypeResult, 1)
	return err
}

func checkOwnCall(s *subject) error {
	if err := s.call(1, "ask", "what"); err != nil {
		return err
	}
	f, err := s.next()
	if err != nil {
		return err
	}
	if f.Type != ipc.TypeCall || f.ID%2 != 0 || string(f.Payload) != "what" {
		return fmt.Errorf("got %s, want a CALL with an even id and the payload what", describe(f))
	}
	if err := s.send(ipc.Frame{Header: ipc.Header{Type: ipc.TypeData, ID: f.ID, Codec: ipc.CodecText}, Payload: []byte("an")},
		ipc.Frame{Header: ipc.Header{Type: ipc.TypeResult, ID: f.ID, Codec: ipc.CodecText}, Payload: []byte("swer")}); err != nil {
		return err
	}
	if f, err = s.expect(ipc.TypeResult, 1); err == nil && string(f.Payload) != "answer" {
		err = fmt.Errorf("got %s, want what the supervisor answered: answer", describe(f))
	}
	return err
}

// checkOwnCallGivenUp cancels a command that is in the midst of a long call of its
// own. Whether it gives that up then is its own affair.
func checkOwnCallGivenUp(s *subject) error {
	if err := s.write(s.long(1, "ask", ipc.Args(strings.Repeat("x", 1<<20)))); err != nil {
		return err
	}
	f, err := s.next()
	if err != nil {
		return err
	}
	if f.Type != ipc.TypeCall || f.ID%2 != 0 || f.Flags&ipc.FlagMore == 0 {
		return fmt.Errorf("got %s, want the first frame of a CALL with an even id", describe(f))
	}
	own, whole := f.ID, false
	if err := s.control(ipc.TypeCancel, 1, 0); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // time to read the CANCEL; without it the check is weaker, not wrong
	for answered := false; !whole || !answered; {
		f, err := s.next()
		switch {
		case err != nil:
			return err
		case f.Type == ipc.TypeCall && f.ID == own && !whole:
			if f.Flags&ipc.FlagMore != 0 {
				continue
			}
			whole = true
			if err := s.send(ipc.Frame{Header: ipc.Header{Type: ipc.TypeError, ID: own}, Name: []byte(ipc.ErrCanceled)}); err != nil {
				return err
			}
		case f.Type == ipc.TypeCancel && f.ID == own && whole:
		case (f.Type == ipc.TypeResult || f.Type == ipc.TypeError) && f.ID == 1 && !answered:
			answered = true
		case f.Type == ipc.TypeCancel:
			return fmt.Errorf("CANCEL %d came before the last frame of its call", f.ID)
		default:
			return fmt.Errorf("got %s, want the rest of call %d, its CANCEL, or the answer to call 1", describe(f), own)
		}
	}
	if err := s.control(ipc.TypePing, 0, 1); err != nil {
		return err
	}
	f, err = s.next()
	if err == nil && f.Type == ipc.TypeCancel && f.ID == own {
		f, err = s.next()
	}
	if err == nil && f.Type != ipc.TypePong {
		err = fmt.Errorf("got %s, want PONG", describe(f))
	}
	return err
}

func checkEvent(s *subject) error {
	if err := s.call(1, "status", "busy"); err != nil {
		return err
	}
	if _, err := s.expect(ipc.TypeResult, 1); err != nil {
		return err
	}
	if err := s.alive(1); err != nil {
		return err
	}
	for _, f := range s.said {
		if f.Type == ipc.TypeEvent && string(f.Name) == "status" && f.Codec == ipc.CodecText && string(f.Payload) == "busy" {
			return nil
		}
	}
	return errors.New("no EVENT status with the text busy came")
}

func checkRetire(s *subject) error {
	if err := s.call(1, "retire", "memory"); err != nil {
		return err
	}
	if _, err := s.expect(ipc.TypeResult, 1); err != nil {
		return err
	}
	if err := s.alive(1); err != nil {
		return err
	}
	for _, f := range s.said {
		if f.Type == ipc.TypeRetire && string(f.Name) == "memory" {
			return nil
		}
	}
	return errors.New("no RETIRE memory came")
}
