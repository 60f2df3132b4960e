package notify

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func status(s string) *string              { return &s }
func every(d time.Duration) *time.Duration { return &d }

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want Message
	}{
		{"", Message{}},
		{"READY=1", Message{Ready: true}},
		{"READY=1\n", Message{Ready: true}},
		{"READY=1\n\x00\x00", Message{Ready: true}},
		{"READY=0", Message{}},
		{"READY=true", Message{}},
		{"READY", Message{}},
		{" READY=1", Message{}},
		{"ready=1", Message{}},
		{"RELOADING=1\nMONOTONIC_USEC=12", Message{Reloading: true}},
		{"STOPPING=1", Message{Stopping: true}},
		{"STOPPING=1\nREADY=1", Message{Stopping: true}},
		{"RELOADING=1\nREADY=1", Message{Ready: true}},
		{"X_MINE=a=b\nREADY=1\n===\n\n=", Message{Ready: true}},
		{"STATUS=3 of 4 = 75 %", Message{Status: status("3 of 4 = 75 %")}},
		{"STATUS=", Message{Status: status("")}},
		{"STATUS=one\nSTATUS=two", Message{Status: status("one")}},
		{"STATUS=\xffa\x1b[31m\ttab\r", Message{Status: status("\uFFFDa [31m tab")}},
		{"STATUS=\u202eoverride", Message{Status: status("override")}},
		{"STATUS=" + strings.Repeat("é", 200), Message{Status: status(strings.Repeat("é", 128))}},
		{"STATUS=" + strings.Repeat("\xff€", 200), Message{Status: status(strings.Repeat("\uFFFD€", 42) + "\uFFFD")}},
		{"EXTEND_TIMEOUT_USEC=5000000", Message{ExtendTimeout: 5 * time.Second}},
		{"EXTEND_TIMEOUT_USEC=0", Message{}},
		{"EXTEND_TIMEOUT_USEC=-1", Message{}},
		{"EXTEND_TIMEOUT_USEC=1e6", Message{}},
		{"EXTEND_TIMEOUT_USEC=" + forever, Message{}},
		{"EXTEND_TIMEOUT_USEC=9223372036854775807", Message{}},
		{"WATCHDOG=1", Message{Watchdog: true}},
		{"WATCHDOG=trigger", Message{WatchdogTrigger: true}},
		{"WATCHDOG=2", Message{}},
		{"WATCHDOG_USEC=20000000", Message{WatchdogEvery: every(20 * time.Second)}},
		{"WATCHDOG_USEC=0", Message{WatchdogEvery: every(0)}},
		{"WATCHDOG_USEC=" + forever, Message{WatchdogEvery: every(0)}},
		{"WATCHDOG_USEC=99999999999999999999", Message{}},
		{"MAINPID=4711", Message{MainPID: 4711}},
		{"MAINPID=0", Message{}},
		{"MAINPID=-1", Message{}},
		{"MAINPID=2147483648", Message{}},
		{"ERRNO=2", Message{Errno: 2}},
		{"ERRNO=4096", Message{}},
		{"FDSTORE=1\nFDNAME=x\nREADY=1", Message{Ready: true}},
		{"BARRIER=1", Message{}},
		{"BARRIER=0\nREADY=1", Message{Ready: true}},
	} {
		got, ok := parse([]byte(c.text))
		if !ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%.60q: %+v, %v; want %+v", c.text, got, ok, c.want)
		}
	}
	for _, broken := range []string{"READY=1\x00\nSTATUS=x", "\x00READY=1", "BARRIER=1\nREADY=1", "READY=1\nBARRIER=1"} {
		if got, ok := parse([]byte(broken)); ok || got != (Message{}) {
			t.Errorf("%q says %+v, %v", broken, got, ok)
		}
	}
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"READY=1", "", "READY=1"},
		{"", "READY=1", "READY=1"},
		{"READY=1", "READY=1", "READY=1"},
		{"READY=1\nSTATUS=a\nMAINPID=1", "STATUS=b\nERRNO=3", "READY=1\nSTATUS=b\nMAINPID=1\nERRNO=3"},
		{"STATUS=a", "STATUS=", "STATUS="},
		{"WATCHDOG=1", "WATCHDOG=trigger", "WATCHDOG=1\nWATCHDOG=trigger"},
		{"EXTEND_TIMEOUT_USEC=10", "EXTEND_TIMEOUT_USEC=5", "EXTEND_TIMEOUT_USEC=10"},
		{"WATCHDOG_USEC=10", "WATCHDOG_USEC=5", "WATCHDOG_USEC=5"},
	} {
		a, _ := parse([]byte(c.a))
		b, _ := parse([]byte(c.b))
		want, _ := parse([]byte(c.want))
		if got, ok := merge(a, b); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%q and %q: %+v, %v; want %+v", c.a, c.b, got, ok, want)
		}
	}
	for _, pair := range [][2]Message{
		{{Ready: true}, {Reloading: true}}, {{Reloading: true}, {Ready: true}},
		{{Ready: true}, {Stopping: true}}, {{Stopping: true}, {Reloading: true}},
	} {
		if got, ok := merge(pair[0], pair[1]); ok {
			t.Errorf("%+v: the order is lost in %+v", pair, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=\xff\x1b\nMAINPID=1\nERRNO=2\nWATCHDOG=1\nWATCHDOG_USEC=3\nEXTEND_TIMEOUT_USEC=4"), []byte("STOPPING=1"))
	f.Add([]byte("BARRIER=1"), []byte("RELOADING=1\nWATCHDOG=trigger\x00"))
	f.Fuzz(func(t *testing.T, b1, b2 []byte) {
		var ms []Message
		for _, b := range [][]byte{b1, b2} {
			m, ok := parse(b)
			if !ok && m != (Message{}) {
				t.Fatalf("%q breaks a rule and says %+v", b, m)
			}
			ms = append(ms, m)
		}
		if both, ok := merge(ms[0], ms[1]); ok {
			ms = append(ms, both)
		} else if ms[0].stage() == 0 || ms[1].stage() == 0 {
			t.Fatalf("%+v and %+v are not merged", ms[0], ms[1])
		}
		for _, m := range ms {
			check(t, m)
		}
	})
}

// check holds m against what is promised of every Message.
func check(t *testing.T, m Message) {
	t.Helper()
	stages := 0
	for _, is := range []bool{m.Ready, m.Reloading, m.Stopping} {
		if is {
			stages++
		}
	}
	if stages > 1 {
		t.Errorf("%+v is in two stages at once", m)
	}
	if m.ExtendTimeout < 0 || m.ExtendTimeout > maxDuration || m.MainPID < 0 || m.MainPID > math.MaxInt32 || m.Errno < 0 || m.Errno > maxErrno {
		t.Errorf("out of range: %+v", m)
	}
	if m.WatchdogEvery != nil && (*m.WatchdogEvery < 0 || *m.WatchdogEvery > maxDuration) {
		t.Errorf("out of range: %v", *m.WatchdogEvery)
	}
	if m.Status == nil {
		return
	}
	if s := *m.Status; len(s) > maxStatus || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("status %q", s)
	}
}
