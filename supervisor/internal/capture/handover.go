package capture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
)

// What is handed over to the program that takes this one's place. See package
// handover.

// SavedStream is a Stream as it is handed over. What the worker has written and
// nobody has read stays in the pipe.
type SavedStream struct {
	Prefix  string
	FD      int    // as handover.Out names it; -1: the stream has ended
	Partial []byte // of a line whose end has not come
	Cut     bool   // the last line was broken
	Tail    [][]byte
}

// clone shares nothing with who goes on with saved.
func (saved SavedStream) clone() SavedStream {
	saved.Partial = bytes.Clone(saved.Partial)
	tail := make([][]byte, len(saved.Tail))
	for i, l := range saved.Tail {
		tail[i] = bytes.Clone(l)
	}
	saved.Tail = tail
	return saved
}

// SavedSink is a Sink as it is handed over.
type SavedSink struct {
	Queue   []byte            // whole lines
	Dropped map[string]uint64 // by prefix, not told yet
	Total   map[string]uint64
}

// Pause has nothing more written until Resume, which is called after it whatever
// it returns; lines are queued as before. It waits for a Write under way until
// ctx ends.
//
// If that Write is stuck there is an error, and the sink is paused all the same.
// What Export gives then begins with what that Write was given, so none of it is
// lost if the program ends now. None is doubled if it goes to a pipe, where what
// waits for room was not written in part (pipe(7)), and the line is not longer
// than 4 KiB; elsewhere what that Write has achieved will be there twice. Whether
// to go on with that is the caller's to say.
func (s *Sink) Pause(ctx context.Context) error {
	s.mu.Lock()
	s.paused = true
	if s.under == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.still == nil {
		s.still = make(chan struct{})
	}
	still, under := s.still, s.under
	s.mu.Unlock()
	select {
	case <-still:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the workers' output is not read where it goes to, %d bytes of it are still being written: %w", under, context.Cause(ctx))
	}
}

// Resume ends a pause, if there is one.
func (s *Sink) Resume() {
	s.mu.Lock()
	s.paused = false
	s.mu.Unlock()
	s.awaken()
}

// Export is called during a pause, once no more lines come: when the streams
// are not read.
func (s *Sink) Export() SavedSink {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SavedSink{
		Queue:   append(bytes.Clone(s.batch), s.queue...),
		Dropped: maps.Clone(s.dropped), Total: maps.Clone(s.total),
	}
}

// AdoptSink goes on with a sink of the program before. It is a NewSink otherwise.
func AdoptSink(w io.Writer, failed func(error), saved SavedSink) *Sink {
	s := newSink(w, failed)
	s.queue = saved.Queue
	maps.Copy(s.dropped, saved.Dropped)
	maps.Copy(s.total, saved.Total)
	go s.run()
	return s
}
