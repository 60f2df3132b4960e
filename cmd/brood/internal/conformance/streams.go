package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"example.com/brood/ipc"
)

// Streams and their credit, and how a worker ends.

const firstCredit = 256 << 10

var streamChecks = []check{
	{name: "stream/pieces", about: "the pieces and the answer, joined, are the whole", needs: []string{"count"}, run: checkPieces},
	{name: "stream/credit", about: "it stops when the credit is used up, answers pings, and goes on when it is granted more", needs: []string{"count"}, run: checkCredit},
	{name: "stream/cancel", about: "a command that waits for credit is woken by CANCEL", needs: []string{"count"}, run: checkStreamCancel},
	{name: "stream/deadline", about: "a command that waits for credit is woken by the end of its time", needs: []string{"count"}, run: checkStreamDeadline},
	{name: "stream/unread", about: "credit without end, and nobody who reads, cost it no memory without bound", needs: []string{"count"}, run: checkStreamUnread},
	{name: "progress", about: "progress is JSON and comes before the answer", needs: []string{"work"}, run: checkProgress},
}

// stream takes DATA of a call off its credit until the next frame is another.
func (s *subject) stream(id uint32, credit *int, text *bytes.Buffer) (ipc.Frame, error) {
	for {
		f, err := s.next()
		if err != nil {
			return f, fmt.Errorf("after %d bytes of pieces: %w", text.Len(), err)
		}
		if f.Type != ipc.TypeData || f.ID != id {
			return f, nil
		}
		*credit -= ipc.HeaderSize + len(f.Name) + len(f.Payload) + 4096*int(f.NFDs)
		if *credit < 0 {
			return f, fmt.Errorf("%s costs %d bytes more than it has credit, rule credit", describe(f), -*credit)
		}
		if len(f.Name) == 0 {
			text.Write(f.Payload)
		}
	}
}

func numbers(n int) (b []byte) {
	for i := range n {
		b = append(strconv.AppendInt(b, int64(i+1), 10), '\n')
	}
	return b
}

func checkPieces(s *subject) error {
	if err := s.call(1, "count", "1000"); err != nil {
		return err
	}
	credit, text := firstCredit, &bytes.Buffer{}
	f, err := s.stream(1, &credit, text)
	if err != nil {
		return err
	}
	if f.Type != ipc.TypeResult || f.ID != 1 {
		return fmt.Errorf("got %s behind the pieces, want RESULT 1", describe(f))
	}
	text.Write(f.Payload)
	if !bytes.Equal(text.Bytes(), numbers(1000)) {
		return fmt.Errorf("the pieces and the answer are %.80q…, %d bytes, want the numbers from 1 to 1000, a line each", text.Bytes(), text.Len())
	}
	return s.alive(1)
}

// exhaust has count run out of credit: until a ping is answered and nothing has
// come since the one before it.
func (s *subject) exhaust(ms uint32) (credit int, text *bytes.Buffer, err error) {
	credit, text = firstCredit, &bytes.Buffer{}
	if err := s.callWithin(1, ms, "count", "1000000"); err != nil {
		return 0, nil, err
	}
	for ends := time.Now().Add(s.options.Timeout); time.Now().Before(ends); {
		had := credit
		if err := s.control(ipc.TypePing, 0, 1); err != nil {
			return 0, nil, err
		}
		f, err := s.stream(1, &credit, text)
		if err != nil {
			return 0, nil, err
		}
		if f.Type != ipc.TypePong {
			return 0, nil, fmt.Errorf("got %s with %d bytes of credit left, want DATA 1 or PONG", describe(f), credit)
		}
		if credit == had && credit < 100 { // a piece is 22 to 27 bytes
			return credit, text, nil
		}
	}
	return 0, nil, fmt.Errorf("with %d bytes of credit left nothing more came", credit)
}

func checkCredit(s *subject) error {
	credit, text, err := s.exhaust(0)
	if err != nil {
		return err
	}
	for range 3 {
		if err := s.control(ipc.TypeWindow, 1, 100000); err != nil {
			return err
		}
		credit += 100000
		for ends := time.Now().Add(s.options.Timeout); credit >= 100; {
			if err := s.control(ipc.TypePing, 0, 1); err != nil {
				return err
			}
			if _, err := s.stream(1, &credit, text); err != nil {
				return err
			}
			if time.Now().After(ends) {
				return fmt.Errorf("after WINDOW 100000 it stopped with %d bytes of credit left", credit)
			}
		}
	}
	if !bytes.HasPrefix(numbers(1000000), text.Bytes()) {
		return errors.New("the pieces are not the numbers from 1 on, a line each")
	}
	return s.control(ipc.TypeCancel, 1, 0)
}

func checkStreamCancel(s *subject) error {
	if _, _, err := s.exhaust(0); err != nil {
		return err
	}
	if err := s.control(ipc.TypeCancel, 1, 0); err != nil {
		return err
	}
	if err := s.failure(1, ipc.ErrCanceled); err != nil {
		return err
	}
	if err := s.control(ipc.TypeWindow, 1, 1000); err != nil { // it crossed the end
		return err
	}
	return s.alive(2)
}

func checkStreamDeadline(s *subject) error {
	if err := s.callWithin(1, 500, "count", "1000000"); err != nil {
		return err
	}
	credit, text := firstCredit, &bytes.Buffer{}
	f, err := s.stream(1, &credit, text)
	if err != nil {
		return err
	}
	if f.Type != ipc.TypeError || string(f.Name) != string(ipc.ErrTimeout) {
		return fmt.Errorf("got %s when the time was up, want ERROR timeout", describe(f))
	}
	return s.alive(3)
}

func checkStreamUnread(s *subject) error {
	before, err := s.memory()
	if err != nil {
		return err
	}
	if err := s.call(1, "count", "100000000"); err != nil {
		return err
	}
	if err := s.control(ipc.TypeWindow, 1, 0x7FFFFFFF-firstCredit); err != nil {
		return err
	}
	time.Sleep(time.Second) // that long it may grow
	return s.bounded(before, 64<<20)
}

func checkProgress(s *subject) error {
	if err := s.call(1, "work", "50ms"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		f, err := s.next()
		if err != nil {
			return fmt.Errorf("after %d reports of progress: %w", n, err)
		}
		if f.Type == ipc.TypeResult && f.ID == 1 {
			if n == 0 {
				return errors.New("work has told nothing of its progress before its RESULT")
			}
			return s.alive(1)
		}
		var p struct {
			Done, Total float64
			Text        string
		}
		if f.Type != ipc.TypeData || f.ID != 1 || string(f.Name) != "progress" || f.Codec != ipc.CodecJSON {
			return fmt.Errorf("got %s, want DATA 1 progress in JSON", describe(f))
		}
		if err := json.Unmarshal(f.Payload, &p); err != nil {
			return fmt.Errorf("progress %q: %w", f.Payload, err)
		}
	}
}

var endChecks = []check{
	{name: "drain", about: "open calls are finished, new ones refused, and it exits with status 0", needs: []string{"sleep", "echo"}, run: checkDrain},
	{name: "drain/idle", about: "an idle worker exits with status 0 at once", run: func(s *subject) error {
		if err := s.control(ipc.TypeDrain, 0, 60000); err != nil {
			return err
		}
		return errors.Join(s.gone(), s.ends(0))
	}},
	{name: "eof", about: "when the supervisor is gone it exits, whatever is at work", needs: []string{"sleep"}, run: func(s *subject) error {
		if err := s.call(1, "sleep", "1h"); err != nil {
			return err
		}
		if err := s.alive(1); err != nil {
			return err
		}
		s.conn.Close()
		return s.ends(-1)
	}},
	{name: "eof/stream", about: "the same while an answer is written", needs: []string{"count"}, run: func(s *subject) error {
		if err := s.call(1, "count", "1000000"); err != nil {
			return err
		}
		if _, err := s.expect(ipc.TypeData, 1); err != nil {
			return err
		}
		s.conn.Close()
		return s.ends(-1)
	}},
	{name: "eof/half-a-frame", about: "the same in the middle of a frame", run: func(s *subject) error {
		if err := s.write(ipc.AppendFrame(nil, ipc.Frame{Header: ipc.Header{Type: ipc.TypePing}})[:13]); err != nil {
			return err
		}
		s.conn.Close()
		return s.ends(-1)
	}},
}

func checkDrain(s *subject) error {
	if err := errors.Join(s.call(1, "sleep", "300ms"), s.control(ipc.TypeDrain, 0, 60000), s.call(3, "echo", "late")); err != nil {
		return err
	}
	if err := s.failure(3, ipc.ErrUnavailable); err != nil {
		return err
	}
	if _, err := s.expect(ipc.TypeResult, 1); err != nil {
		return fmt.Errorf("the call that was open: %w", err)
	}
	return errors.Join(s.gone(), s.ends(0))
}
