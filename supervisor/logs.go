package supervisor

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What workers print is kept, a little of it for each slot, whoever else gets
// it: the last lines can be asked for, and followed. A follower that is slow
// loses lines and is told how many; nobody ever waits for it.

// LogLine is a line that a worker printed.
type LogLine struct {
	At         time.Time
	Pool       string
	Slot       int
	Generation uint64
	Stderr     bool // else it was on stdout
	Text       string

	// Dropped: this is no line, but how many of the slot's lines a follower has
	// lost here, by being slow.
	Dropped uint64

	seq uint64 // of all lines, to put them in order
}

// Target names the slot.
func (l LogLine) Target() Target { return Target{Pool: l.Pool, Slot: l.Slot} }

// keptLog bounds what is kept of a slot's output, in bytes of text and in lines.
// At least half of either is kept.
const (
	keptLog      = 64 << 10
	keptLogLines = 2048
)

// logRing is the last output of one slot, of all its generations. It is two
// halves: while one is filled the other, older one can still be read; then that
// is emptied and filled.
type logRing struct {
	mu    sync.Mutex
	older logHalf
	newer logHalf
}

// logHalf is lines in order. The memory of an emptied one is used again.
type logHalf struct {
	first uint64 // number of its first line, of those that the slot ever printed
	lines []logRecord
	text  []byte
}

type logRecord struct {
	end        int // of its text in logHalf.text
	at         int64
	seq        uint64
	generation uint64
	stderr     bool
}

func (r *logRing) add(rec logRecord, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := &r.newer; len(n.text)+len(text) > keptLog/2 || len(n.lines) == keptLogLines/2 {
		r.older, r.newer = r.newer, logHalf{first: n.first + uint64(len(n.lines)), lines: r.older.lines[:0], text: r.older.text[:0]}
	}
	n := &r.newer
	n.text = append(n.text, text...)
	rec.end = len(n.text)
	n.lines = append(n.lines, rec)
}

// next is the number that the slot's next line will have.
func (r *logRing) next() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newer.first + uint64(len(r.newer.lines))
}

// since appends the lines from number from on, at most max of them, and returns
// the number to go on with, and how many before these are no longer kept.
func (r *logRing) since(out []LogLine, id Target, from uint64, max int) ([]LogLine, uint64, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lost uint64
	if from < r.older.first {
		lost, from = r.older.first-from, r.older.first
	}
	for _, h := range []*logHalf{&r.older, &r.newer} {
		for ; from < h.first+uint64(len(h.lines)) && max > 0; max-- {
			i := int(from - h.first)
			rec, begin := h.lines[i], 0
			if i > 0 {
				begin = h.lines[i-1].end
			}
			out = append(out, LogLine{
				At: time.Unix(0, rec.at), Pool: id.Pool, Slot: id.Slot, Generation: rec.generation, Stderr: rec.stderr,
				Text: string(h.text[begin:rec.end]), seq: rec.seq,
			})
			from++
		}
	}
	return out, from, lost
}

// logBell wakes who follows the output. It costs a look where nobody does.
type logBell struct {
	seq    atomic.Uint64 // of the last line
	wanted atomic.Bool   // somebody waits for news
	mu     sync.Mutex
	news   chan struct{} // closed and forgotten when there is some
}

func (b *logBell) ring() {
	if b.wanted.Load() {
		b.wake()
	}
}

func (b *logBell) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.news != nil {
		close(b.news)
		b.news = nil
	}
	b.wanted.Store(false)
}

// wait is a channel that is closed at the next line. What was printed before the
// call is there to be read.
func (b *logBell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.news == nil {
		b.news = make(chan struct{})
	}
	b.wanted.Store(true)
	return b.news
}

// keepLog has the output of a process kept in the ring of its slot.
func (s *Supervisor) keepLog(l *live) {
	keep := func(stderr bool) func([]byte) {
		return func(line []byte) {
			l.place.logs.add(logRecord{at: time.Now().UnixNano(), seq: s.logs.seq.Add(1), generation: l.id.Generation, stderr: stderr}, line)
			s.logs.ring()
		}
	}
	l.out.Each(keep(false))
	l.err.Each(keep(true))
}

// maxLogLines bounds what one answer of Logs holds.
const maxLogLines = 10_000

// Logs returns the last lines that the workers of t have printed, at most n,
// oldest first, as far back as they are kept. Of a target with a generation they
// are that generation's.
func (s *Supervisor) Logs(t Target, n int) ([]LogLine, error) {
	f, err := s.FollowLogs(t, n)
	if err != nil {
		return nil, err
	}
	return f.backlog, nil
}

// LogFollower reads what workers print, as they do. It belongs to one goroutine
// and holds nothing that would have to be closed.
type LogFollower struct {
	s       *Supervisor
	target  Target
	at      map[*place]uint64 // number of the next line
	backlog []LogLine
	looked  time.Time
}

// FollowLogs begins to follow the output of the workers of t: with the last n
// lines that are kept.
func (s *Supervisor) FollowLogs(t Target, n int) (*LogFollower, error) {
	places, err := s.logPlaces(t)
	if err != nil {
		return nil, err
	}
	f := &LogFollower{s: s, target: t, at: make(map[*place]uint64, len(places))}
	n = min(max(n, 0), maxLogLines)
	for _, pl := range places {
		from := uint64(0)
		if n == 0 {
			from = pl.logs.next()
		}
		f.at[pl] = from
		var lines []LogLine
		lines, f.at[pl], _ = pl.logs.since(nil, targetOf(pl), from, keptLogLines)
		lines = f.wanted(lines)
		f.backlog = append(f.backlog, lines[max(0, len(lines)-n):]...)
	}
	sortLines(f.backlog)
	f.backlog = f.backlog[max(0, len(f.backlog)-n):]
	return f, nil
}

func (s *Supervisor) logPlaces(t Target) ([]*place, error) {
	t.All = t.All || t.Slot == 0
	return s.find(t)
}

func targetOf(pl *place) Target { return Target{Pool: pl.id.Pool, Slot: pl.id.N} }

func sortLines(lines []LogLine) {
	slices.SortStableFunc(lines, func(a, b LogLine) int {
		switch {
		case a.seq < b.seq:
			return -1
		case a.seq > b.seq:
			return 1
		}
		return 0
	})
}

// wanted leaves the lines of the generation that is followed.
func (f *LogFollower) wanted(lines []LogLine) []LogLine {
	if f.target.Generation == 0 {
		return lines
	}
	return slices.DeleteFunc(lines, func(l LogLine) bool { return l.Generation != f.target.Generation })
}

const (
	// logBatch is how many lines Next returns at most of one slot.
	logBatch = 256
	// logPause is the least time between two looks, so that a follower of a worker
	// that prints without end takes many lines at once.
	logPause = 10 * time.Millisecond
)

// Next returns the lines that came since the last call, oldest first, and waits
// for some. The error is ctx's; io.EOF when Run has returned; ErrNoTarget when
// what was followed is gone.
func (f *LogFollower) Next(ctx context.Context) ([]LogLine, error) {
	if lines := f.backlog; len(lines) > 0 {
		f.backlog = nil
		return lines, nil
	}
	for {
		news := f.s.logs.wait()
		ended := f.s.events.isClosed()
		lines, more, err := f.look()
		switch {
		case len(lines) > 0:
			return lines, nil
		case more: // of another generation
			continue
		case ended:
			return nil, io.EOF
		case err != nil:
			return nil, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if wait := logPause - time.Since(f.looked); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil, ctx.Err()
			}
		}
	}
}

// look takes what is there. A slot that is gone is read once more.
func (f *LogFollower) look() (out []LogLine, more bool, err error) {
	f.looked = time.Now()
	places, err := f.s.logPlaces(f.target)
	for _, pl := range places {
		if _, known := f.at[pl]; !known {
			f.at[pl] = 0
		}
	}
	for pl, from := range f.at {
		id := targetOf(pl)
		lines, next, lost := pl.logs.since(nil, id, from, logBatch)
		f.at[pl] = next
		if lost > 0 {
			gap := LogLine{Pool: id.Pool, Slot: id.Slot, Dropped: lost}
			if len(lines) > 0 {
				gap.seq = lines[0].seq // the sort is stable, so it stays before that
			}
			out = append(out, gap)
		}
		more = more || len(lines) > 0
		out = append(out, f.wanted(lines)...)
		if len(lines) == 0 && !slices.Contains(places, pl) {
			delete(f.at, pl)
		}
	}
	sortLines(out)
	return out, more, err
}
