package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor/control/api"
)

// outcomeDenied is the outcome of a request that the caller's role does not cover.
const outcomeDenied = "denied"

const (
	// maxAuditValue is how many bytes of a client's text an audit line takes over.
	maxAuditValue = 256
	// keptAudit is how many lines wait for a file that can't be written, or a log
	// that is stuck. More are lost, which is counted and told.
	keptAudit = 8192
	// auditWait is how long an answer waits for its line to be written.
	auditWait = time.Second
	// auditPause is the least time between two writes for which nobody waits.
	auditPause = 2 * time.Millisecond
	// auditRetry is the time between two tries to write to a file that can't be.
	auditRetry = time.Second
)

// auditor writes the one line that each change and each refusal leaves: to a file
// of its own, or to the log. A goroutine of its own writes, so that a full disk or
// a stuck log holds up nobody for longer than auditWait, and the first only.
type auditor struct {
	log      hclog.Logger
	path     string // empty: lines go to the log
	required bool   // changes are refused while lines can't be written

	failed atomic.Uint64 // writes that failed
	lost   atomic.Uint64 // lines that are nowhere, in all
	busy   atomic.Int64  // since when a write is under way, Unix ns; 0: none is
	bad    atomic.Pointer[string]

	wake    chan struct{}        // has room for one
	exports chan chan savedAudit // to run; a reply channel has room for its reply
	quit    chan struct{}
	done    chan struct{}
	stop    sync.Once

	mu    sync.Mutex
	queue []auditLine
	drops uint64 // lines lost that the file or log has not been told of

	// Owned by run.
	file *os.File // closed by run
	half []byte   // what is left of a line that was written in part
}

// auditLine is a line of the file, as JSON.
type auditLine struct {
	At      string `json:"at"`
	UID     int    `json:"uid"`
	GID     int    `json:"gid"`
	PID     int    `json:"pid"`
	Role    string `json:"role"`
	Verb    string `json:"verb"`
	Target  string `json:"target"`
	Outcome string `json:"outcome"`
	Why     string `json:"why,omitempty"` // of what was denied
	Socket  string `json:"socket,omitempty"`

	written chan struct{} // closed when it is
}

// savedAudit is what an auditor has not written, for the next program.
type savedAudit struct {
	Lines []auditLine `json:",omitempty"`
	Drops uint64      `json:",omitempty"`
	// Half is what is left of a line that was written in part, to the file that is
	// Of; a file by that name which is another has no use for it.
	Half []byte `json:",omitempty"`
	Of   fileID
}

// newAuditor starts the goroutine that writes, first what the program before has
// left; close ends it. A file that can't be opened is an error, as it would be told
// to nobody later.
func newAuditor(path string, required bool, left savedAudit, log hclog.Logger) (*auditor, error) {
	a := &auditor{
		log: log, path: path, required: required, queue: left.Lines, drops: left.Drops,
		wake: make(chan struct{}, 1), exports: make(chan chan savedAudit), quit: make(chan struct{}), done: make(chan struct{}),
	}
	if path != "" {
		if err := a.open(); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
	if len(left.Half) > 0 && a.fileID() == left.Of {
		a.half = left.Half
	} else if len(left.Half) > 0 {
		a.lost.Add(1)
	}
	for i := range a.queue {
		a.queue[i].written = make(chan struct{})
	}
	if len(a.queue) > 0 || a.drops > 0 || len(a.half) > 0 {
		a.wake <- struct{}{}
	}
	go a.run()
	return a, nil
}

// export has what is queued written, and is what can't be. A file or a log that is
// stuck until ctx ends is an error: what it is being given may be there in part.
func (a *auditor) export(ctx context.Context) (savedAudit, error) {
	reply := make(chan savedAudit, 1)
	select {
	case a.exports <- reply:
	case <-ctx.Done():
		return savedAudit{}, failf(api.CodeUnavailable, "audit lines are still being written: %s", cmp.Or(a.trouble(), "to "+a.where()))
	case <-a.done:
		return savedAudit{}, nil
	}
	select {
	case left := <-reply:
		return left, nil
	case <-ctx.Done():
		return savedAudit{}, failf(api.CodeUnavailable, "%s does not take audit lines: %s", a.where(), cmp.Or(a.trouble(), "it takes long"))
	}
}

// left is what is not written.
func (a *auditor) left() savedAudit {
	a.mu.Lock()
	defer a.mu.Unlock()
	return savedAudit{Lines: slices.Clone(a.queue), Drops: a.drops, Half: a.half, Of: a.fileID()}
}

// fileID is of the file that is open; the zero one: none is.
func (a *auditor) fileID() fileID {
	fi, err := a.file.Stat()
	if err != nil {
		return fileID{}
	}
	return idOf(fi)
}

func (a *auditor) where() string {
	if a.path == "" {
		return "the log"
	}
	return a.path
}

// line leaves one line. Where lines are required it returns when that is written,
// or takes too long; else it does not wait.
// The target and the outcome may come from a client.
func (a *auditor) line(c *caller, role Role, v verb, target, outcome, why string) {
	l := auditLine{
		At: stamp(time.Now()), UID: c.peer.UID, GID: c.peer.GID, PID: c.peer.PID, Role: role.String(), Verb: string(v),
		Target: clipped(target), Outcome: clipped(outcome), Why: why, Socket: c.door, written: make(chan struct{}),
	}
	if !a.enqueue(l) || !a.required || a.stuck() {
		return
	}
	timer := time.NewTimer(auditWait)
	defer timer.Stop()
	select {
	case <-l.written:
	case <-timer.C:
	case <-a.done:
	}
}

// clipped bounds what a client can put into a line.
func clipped(s string) string {
	if len(s) > maxAuditValue {
		s = s[:maxAuditValue] + "…"
	}
	return s
}

// enqueue tells whether there was room.
func (a *auditor) enqueue(l auditLine) bool {
	a.mu.Lock()
	room := len(a.queue) < keptAudit
	if room {
		a.queue = append(a.queue, l)
	} else {
		a.drops++
		a.lost.Add(1)
	}
	a.mu.Unlock()
	if room {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
	return room
}

// stuck: what is being written takes too long, or could not be written the last
// time, so nobody waits for more.
func (a *auditor) stuck() bool {
	since := a.busy.Load()
	return a.bad.Load() != nil || since != 0 && time.Since(time.Unix(0, since)) > auditWait
}

// trouble says what is wrong, for people; empty: nothing is.
func (a *auditor) trouble() string {
	if bad := a.bad.Load(); bad != nil {
		return *bad
	}
	if since := a.busy.Load(); since != 0 && time.Since(time.Unix(0, since)) > auditWait {
		return fmt.Sprintf("%s has not taken a line for %v", a.where(), time.Since(time.Unix(0, since)).Round(time.Second))
	}
	return ""
}

// close has what is queued written, if that takes no longer than a moment.
func (a *auditor) close() {
	a.stop.Do(func() { close(a.quit) })
	timer := time.NewTimer(auditWait)
	defer timer.Stop()
	select {
	case <-a.done:
	case <-timer.C:
	}
}

func (a *auditor) run() {
	defer close(a.done)
	defer func() { a.file.Close() }()
	var retry <-chan time.Time
	for {
		var export chan savedAudit
		select {
		case <-a.wake:
		case <-retry:
		case export = <-a.exports:
		case <-a.quit:
			_ = a.flush() // told already if it can't be
			return
		}
		retry = nil
		err := a.flush()
		if export != nil {
			export <- a.left()
		}
		if err != nil {
			retry = time.After(auditRetry)
		} else if !a.required {
			pause(auditPause, a.quit) // a wake-up for each of many commands would slow these down
		}
	}
}

// flush writes what is queued. What can't be stays queued.
func (a *auditor) flush() error {
	a.mu.Lock()
	lines, drops := a.queue, a.drops
	a.queue, a.drops = nil, 0
	a.mu.Unlock()
	kept := len(lines)
	if drops > 0 {
		lines = append(lines, lostLine(drops))
	}
	if len(lines) == 0 && len(a.half) == 0 {
		return nil
	}
	a.busy.Store(time.Now().UnixNano())
	n, err := a.write(lines)
	a.busy.Store(0)
	for _, l := range lines[:n] {
		close(l.written)
	}
	if err == nil {
		if a.bad.Swap(nil) != nil {
			a.log.Warn("audit lines are written again", "lost", a.lost.Load())
		}
		return nil
	}
	a.failed.Add(1)
	text := err.Error()
	if a.bad.Swap(&text) == nil {
		a.log.Error("audit lines cannot be written; they are kept as long as there is room", "error", text)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if n <= kept { // the line that tells of drops is made anew: it takes the place of no other
		lines, a.drops = lines[:kept], a.drops+drops
	}
	a.queue = append(lines[min(n, kept):], a.queue...)
	if over := len(a.queue) - keptAudit; over > 0 {
		a.queue, a.drops = a.queue[:keptAudit], a.drops+uint64(over)
		a.lost.Add(uint64(over))
	}
	return err
}

// write returns how many lines are written.
func (a *auditor) write(lines []auditLine) (int, error) {
	if a.path == "" {
		for _, l := range lines {
			l.log(a.log)
		}
		return len(lines), nil
	}
	if err := a.reopen(); err != nil {
		return 0, err
	}
	text := slices.Clone(a.half)
	ends := make([]int, len(lines))
	for i, l := range lines {
		text = append(append(text, encodeLine(l)...), '\n')
		ends[i] = len(text)
	}
	wrote, err := a.file.Write(text)
	return a.account(text, ends, wrote), err
}

// account returns how many lines are in the file after wrote bytes of text. One
// that is there in part counts, and its rest goes first the next time.
func (a *auditor) account(text []byte, ends []int, wrote int) int {
	begin := len(a.half)
	if wrote < begin {
		a.half = a.half[wrote:]
		return 0
	}
	a.half = nil
	for i, end := range ends {
		switch {
		case wrote >= end:
			begin = end
		case wrote > begin:
			a.half = slices.Clone(text[wrote:end])
			return i + 1
		default:
			return i
		}
	}
	return len(ends)
}

// verbLost is the verb of a line that tells of others.
const verbLost = "lost"

// lostLine tells that n lines have not found room.
func lostLine(n uint64) auditLine {
	return auditLine{At: stamp(time.Now()), Verb: verbLost, Target: fmt.Sprintf("%d audit lines", n), Outcome: "lost", written: make(chan struct{})}
}

func encodeLine(l auditLine) []byte {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings and numbers
	}
	return b
}

// log writes the line to the log: at Info, or at Warn when it was denied. Quoted,
// what comes from a client can neither end the line nor pass for another key.
func (l auditLine) log(log hclog.Logger) {
	if l.Verb == verbLost {
		log.Error("audit lines were lost: they were not written fast enough", "lines", l.Target)
		return
	}
	level := hclog.Info
	if l.Outcome == outcomeDenied {
		level = hclog.Warn
	}
	args := []any{"uid", l.UID, "gid", l.GID, "pid", l.PID, "role", l.Role,
		"verb", l.Verb, "target", hclog.Quote(l.Target), "outcome", hclog.Quote(l.Outcome)}
	if l.Why != "" {
		args = append(args, "why", hclog.Quote(l.Why))
	}
	log.Log(level, "audit", args...)
}

// open opens the file for appending, and makes it if it is not there.
func (a *auditor) open() error {
	if st, err := os.Stat(a.path); err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", a.path)
	}
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	a.file.Close() // nil the first time
	a.file = f
	return nil
}

// reopen opens the file anew if it was moved away, as logrotate(8) does.
func (a *auditor) reopen() error {
	there, err := os.Stat(a.path)
	if err == nil && a.file != nil {
		if ours, err := a.file.Stat(); err == nil && os.SameFile(there, ours) {
			return nil
		}
	}
	if len(a.half) > 0 { // it belongs into the other file
		a.half = nil
		a.lost.Add(1)
	}
	return a.open()
}
