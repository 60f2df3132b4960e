package notify

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxStatus bounds a Status, in bytes.
	maxStatus = 256
	// maxDuration is the longest time that is taken for meant. Sums of it and a
	// clock stay far from any overflow.
	maxDuration = 365 * 24 * time.Hour
	// maxErrno is what Linux has room for.
	maxErrno = 4095
)

// Message is what a worker has said in one datagram, or in several that came
// close to each other. The zero value of each field means that nothing was said
// of it. Keys are those of sd_notify(3); unknown keys, and values that are out of
// range, say nothing.
//
// Descriptors are never kept: those of BARRIER=1 are closed once all that came
// before was handled, which is the answer; those of FDSTORE=1 and of anything
// else are closed as well, and the message counts without them.
type Message struct {
	// One of these at most. In one datagram STOPPING=1 goes before READY=1, and
	// that before RELOADING=1; from several, each comes in a Message of its own, in
	// the order they were sent. READY=1 comes again after every RELOADING=1.
	Ready, Reloading, Stopping bool

	// Status is STATUS=: one line of valid UTF-8, at most 256 bytes, all printable,
	// so it may be shown on a terminal. "" takes back what was said before.
	Status *string

	// ExtendTimeout is EXTEND_TIMEOUT_USEC=: from now on, until the worker must have
	// said something new. At most a year; how much of it is granted is not the
	// worker's to say.
	ExtendTimeout time.Duration

	Watchdog        bool // WATCHDOG=1: a sign of life
	WatchdogTrigger bool // WATCHDOG=trigger: it has found itself broken
	// WatchdogEvery is WATCHDOG_USEC=: how far apart the signs of life are to be from
	// now on; 0: none are to be expected.
	WatchdogEvery *time.Duration

	// MainPID is MAINPID=: the process that the worker calls its main one. It may
	// be anybody's: it is to be shown, never signalled.
	MainPID int
	Errno   int // ERRNO=: why it fails, 1 to 4095
}

// parse reads one datagram. It is not ok if it breaks a rule; then it says
// nothing at all. Of two equal keys the first counts.
func parse(b []byte) (m Message, ok bool) {
	b = bytes.TrimRight(b, "\x00") // C's own
	if bytes.IndexByte(b, 0) >= 0 {
		return Message{}, false
	}
	barrier, keys := false, 0
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		key, value, found := bytes.Cut(line, []byte{'='})
		if !found {
			continue
		}
		keys++
		if string(key) == "BARRIER" {
			barrier = barrier || string(value) == "1"
			continue
		}
		m.set(string(key), value)
	}
	if barrier && keys > 1 {
		return Message{}, false
	}
	m.Ready = m.Ready && !m.Stopping
	m.Reloading = m.Reloading && !m.Stopping && !m.Ready
	return m, true
}

func (m *Message) set(key string, value []byte) {
	one := string(value) == "1"
	switch key {
	case "READY":
		m.Ready = m.Ready || one
	case "RELOADING":
		m.Reloading = m.Reloading || one
	case "STOPPING":
		m.Stopping = m.Stopping || one
	case "WATCHDOG":
		m.Watchdog = m.Watchdog || one
		m.WatchdogTrigger = m.WatchdogTrigger || string(value) == "trigger"
	case "STATUS":
		if m.Status == nil {
			line := printable(value)
			m.Status = &line
		}
	case "EXTEND_TIMEOUT_USEC":
		if d, ok := microseconds(value); ok && m.ExtendTimeout == 0 {
			m.ExtendTimeout = d
		}
	case "WATCHDOG_USEC":
		if d, ok := microseconds(value); ok && m.WatchdogEvery == nil {
			m.WatchdogEvery = &d
		} else if string(value) == forever && m.WatchdogEvery == nil {
			m.WatchdogEvery = new(time.Duration)
		}
	case "MAINPID":
		if m.MainPID == 0 {
			m.MainPID = number(value, math.MaxInt32)
		}
	case "ERRNO":
		if m.Errno == 0 {
			m.Errno = number(value, maxErrno)
		}
	}
}

// forever is how systemd writes that a time never comes.
const forever = "18446744073709551615"

func microseconds(b []byte) (time.Duration, bool) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil || n > uint64(maxDuration/time.Microsecond) {
		return 0, false
	}
	return time.Duration(n) * time.Microsecond, true
}

// number is 1 to most, or 0 for anything else.
func number(b []byte, most uint64) int {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil || n > most {
		return 0
	}
	return int(n)
}

// printable makes a line of anything: what can't be printed becomes a space,
// what is no UTF-8 the replacement character, what is too long is cut.
func printable(b []byte) string {
	b = b[:min(len(b), maxStatus)]
	line := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(string(b), string(utf8.RuneError)))
	if len(line) > maxStatus { // replacements are longer than what they replace
		end := maxStatus
		for !utf8.RuneStart(line[end]) {
			end--
		}
		line = line[:end]
	}
	return strings.TrimSpace(line)
}

// merge makes one message of two in the order they came. It is not ok if that
// would lose the order of what they say.
func merge(a, b Message) (both Message, ok bool) {
	if a.stage() != 0 && b.stage() != 0 && a.stage() != b.stage() {
		return Message{}, false
	}
	both = a
	both.Ready = a.Ready || b.Ready
	both.Reloading = a.Reloading || b.Reloading
	both.Stopping = a.Stopping || b.Stopping
	both.Watchdog = a.Watchdog || b.Watchdog
	both.WatchdogTrigger = a.WatchdogTrigger || b.WatchdogTrigger
	both.ExtendTimeout = max(a.ExtendTimeout, b.ExtendTimeout) // the longer reaches as far as the two
	if b.Status != nil {
		both.Status = b.Status
	}
	if b.WatchdogEvery != nil {
		both.WatchdogEvery = b.WatchdogEvery
	}
	if b.MainPID != 0 {
		both.MainPID = b.MainPID
	}
	if b.Errno != 0 {
		both.Errno = b.Errno
	}
	return both, true
}

// stage tells apart what the worker says it has come to; 0: nothing was said.
func (m Message) stage() int {
	switch {
	case m.Ready:
		return 1
	case m.Reloading:
		return 2
	case m.Stopping:
		return 3
	}
	return 0
}
