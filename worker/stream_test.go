//go:build unix

package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/brood/ipc"
)

// A handler sends values by their type, bytes as a writer, and how far it is.
func TestRequestStreams(t *testing.T) {
	var w Worker
	w.Handle("stream", "", func(ctx context.Context, r *Request) (any, error) {
		for _, v := range []any{"text", []byte("bytes"), map[string]int{"n": 1}} {
			if err := r.Send(v); err != nil {
				return nil, err
			}
		}
		if err := r.Progress(1, 2, "half"); err != nil {
			return nil, err
		}
		n, err := io.Copy(r, bytes.NewReader(make([]byte, 200<<10)))
		return fmt.Sprint(n), err
	})
	f := supervise(t, context.Background(), &w)
	var seen []string
	written := 0
	m, err := f.CallStream(within(t), "stream", ipc.Message{}, func(p ipc.Piece) error {
		if len(seen) == 4 {
			written += len(p.Payload)
			return nil
		}
		seen = append(seen, fmt.Sprintf("%s:%v:%s", p.Name, p.Codec, p.Payload))
		return nil
	})
	want := `:text:text :bytes:bytes :json:{"n":1} progress:json:{"done":1,"total":2,"text":"half"}`
	if err != nil || strings.Join(seen, " ") != want || written != 200<<10 || string(m.Payload) != "204800" {
		t.Errorf("%v, %d bytes written, answer %q, %v", seen, written, m.Payload, err)
	}
}

// Descriptors come with a command and go with its answer.
func TestRequestFiles(t *testing.T) {
	var w Worker
	w.Handle("read", "the file that comes along", func(_ context.Context, r *Request) (any, error) {
		defer r.CloseFiles()
		return io.ReadAll(r.Files[0])
	})
	f := supervise(t, context.Background(), &w)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("what is in it"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m, err := f.Call(within(t), "read", ipc.Message{Files: []*os.File{file}})
	if err != nil || string(m.Payload) != "what is in it" {
		t.Errorf("%q, %v", m.Payload, err)
	}
	_, err = f.Call(within(t), "unknown", ipc.Message{Files: []*os.File{file}})
	if !errors.Is(err, ipc.ErrFailed) {
		t.Error(err)
	}
}

// Inline commands answer while all others are busy.
func TestHandleInline(t *testing.T) {
	w := Worker{MaxInflight: 2}
	h := hold(&w)
	w.HandleInline("quick", "", func(_ context.Context, c *ipc.Call) (ipc.Message, error) { return ipc.Text(string(c.Plain())), nil })
	f := supervise(t, context.Background(), &w)
	f.call("hold", ipc.Message{})
	receive(t, "the command", h.begun)
	m, err := f.Call(within(t), "quick", ipc.Text("hi"))
	if err != nil || string(m.Payload) != "hi" {
		t.Errorf("%q, %v", m.Payload, err)
	}
	close(h.let)
}

// A reason is one word on the wire; other text is told beside it.
func TestRetireReason(t *testing.T) {
	for reason, want := range map[string]string{"memory": "memory/", "the cache is stale": "requested/the cache is stale"} {
		var w Worker
		told := make(chan string, 1)
		f := superviseWith(t, context.Background(), &w, func(cfg *ipc.Config) {
			cfg.OnRetire = func(reason, text string) { told <- reason + "/" + text }
		})
		if err := w.Retire(reason); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, "RETIRE", told); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		f.Close()
	}
}
