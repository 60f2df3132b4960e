package vectors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/ipc"
)

var update = flag.Bool("update", false, "write the files anew from build_test.go")

func TestFilesAreWhatIsBuilt(t *testing.T) {
	for name, v := range map[string]any{"frames.json": buildFrames(), "breaches.json": buildBreaches(), "sessions.json": buildSessions()} {
		want := marshal(v)
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what build_test.go makes (%v); run go test ./docs/vectors -update, then once more without", name, err)
		}
	}
}

func TestFrames(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Frames() {
		seen[v.TypeName] = true
		f, n, err := ipc.ParseFrame(v.Hex, ipc.DefaultChunk)
		if err != nil || n != len(v.Hex) {
			t.Errorf("%s: %d of %d bytes, %v", v.About, n, len(v.Hex), err)
			continue
		}
		if !bytes.Equal(ipc.AppendFrame(nil, f), v.Hex) {
			t.Errorf("%s: encoded again it is another", v.About)
		}
		got := Frame{v.About, v.Hex, uint8(f.Type), v.TypeName, uint8(f.Flags), f.ID, f.Arg, f.NFDs, uint8(f.Codec), string(f.Name), f.Payload}
		if !bytes.Equal(marshal(got), marshal(v)) {
			t.Errorf("%s: got %s", v.About, marshal(got))
		}
		for i := range v.Hex {
			if _, n, err := ipc.ParseFrame(v.Hex[:i], ipc.DefaultChunk); n != 0 || err != nil {
				t.Errorf("%s: of its first %d bytes it made %d, %v", v.About, i, n, err)
			}
		}
	}
	for name := range typeOf {
		if !seen[name] {
			t.Errorf("no frame is a %s", name)
		}
	}
}

func TestBreaches(t *testing.T) {
	for _, v := range Breaches() {
		_, _, err := ipc.ParseFrame(v.Hex, ipc.DefaultChunk)
		var pe *ipc.ProtocolError
		if !errors.As(err, &pe) || pe.Rule != v.Rule || pe.Offset != int64(v.At) {
			t.Errorf("%s: %v, want rule %s at %d", v.About, err, v.Rule, v.At)
		}
	}
}

// commands are those that the sessions need.
func commands(ctx context.Context, c *ipc.Call) (ipc.Message, error) {
	var words []string
	if c.Codec == ipc.CodecJSON {
		json.Unmarshal(c.Payload, &words)
	}
	switch c.Command {
	case "echo":
		if words != nil {
			return ipc.Text(string(bytes.Join(asBytes(words), []byte(" ")))), nil
		}
		return ipc.Message{Codec: c.Codec, Payload: bytes.Clone(c.Payload)}, nil
	case "sleep":
		d, err := time.ParseDuration(words[0])
		if err != nil {
			return ipc.Message{}, err
		}
		select {
		case <-time.After(d):
			return ipc.Text("slept " + words[0]), nil
		case <-ctx.Done():
			return ipc.Message{}, ctx.Err()
		}
	case "fail":
		return ipc.Message{}, &ipc.CallError{Code: "asked", Message: string(bytes.Join(asBytes(words), []byte(" "))), Started: ipc.StartedYes}
	case "count":
		n, _ := strconv.Atoi(words[0])
		for i := range n {
			if err := c.Send(ctx, ipc.Piece{Message: ipc.Text(strconv.Itoa(i+1) + "\n")}); err != nil {
				return ipc.Message{}, err
			}
		}
		return ipc.Message{}, nil
	}
	return ipc.Message{}, &ipc.CallError{Code: ipc.ErrUnknownCommand, Started: ipc.StartedNo}
}

func asBytes(words []string) (all [][]byte) {
	for _, w := range words {
		all = append(all, []byte(w))
	}
	return all
}

// worker is package ipc's own worker end, which ends as a worker does: when it
// is drained and idle.
func worker(t *testing.T, f *os.File) *ipc.Conn {
	t.Helper()
	idle := make(chan struct{})
	var c *ipc.Conn
	_, err := ipc.NewConn(f, ipc.Config{
		Role: ipc.Worker, Handler: commands,
		Hello:  ipc.Hello{Commands: []ipc.CommandInfo{{Name: "echo"}, {Name: "sleep"}, {Name: "fail"}, {Name: "count"}}},
		OnOpen: func(conn *ipc.Conn) { c = conn },
		OnDrain: func(time.Duration) {
			select {
			case <-idle:
			default:
				close(idle)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		select {
		case <-idle:
			<-c.Refuse()
			c.Close()
		case <-c.Done():
		}
	}()
	if err := c.Ready(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSessions(t *testing.T) {
	rules := map[string]bool{}
	for _, s := range Sessions() {
		t.Run(s.Name, func(t *testing.T) {
			parent, child, err := ipc.Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer parent.Close()
			if err := unix.SetNonblock(int(child.Fd()), true); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.Dup(int(child.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			child.Close()
			unix.SetNonblock(fd, true)
			c := worker(t, os.NewFile(uintptr(fd), "worker"))
			defer c.Close()
			if err := Play(parent, s, 20*time.Second, nil); err != nil {
				t.Fatal(err)
			}
			last := s.Steps[len(s.Steps)-1]
			<-c.Done()
			var pe *ipc.ProtocolError
			if e := last.Ends; e != nil && e.Rule != "" {
				rules[e.Rule] = true
				if !errors.As(c.Err(), &pe) || pe.Rule != e.Rule || pe.Offset != e.At {
					t.Errorf("ended with %v, want rule %s at %d", c.Err(), e.Rule, e.At)
				}
			} else if errors.As(c.Err(), &pe) {
				t.Errorf("ended with %v", c.Err())
			}
		})
	}
	for _, rule := range []string{"hello-first", "hello", "json", "direction", "message", "interleave", "continuation", "call-id", "answer", "window", "fds", "magic"} {
		if !rules[rule] {
			t.Errorf("no session breaks %s", rule)
		}
	}
}

func TestSessionsAreWellFormed(t *testing.T) {
	var names []string
	for _, s := range Sessions() {
		if slices.Contains(names, s.Name) || s.Name == "" || s.About == "" {
			t.Errorf("session %q: its name is not its own, or it says nothing", s.Name)
		}
		names = append(names, s.Name)
		last := s.Steps[len(s.Steps)-1]
		if last.Ends == nil && !last.Close {
			t.Errorf("session %s does not end", s.Name)
		}
	}
}
