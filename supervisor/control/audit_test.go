package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

var auditedCaller = &caller{peer: Peer{UID: 1000, GID: 100, PID: 4711, known: true}, door: "/run/b.sock"}

// audited is what one line becomes in the log.
func audited(t *testing.T, options hclog.LoggerOptions, target, outcome, why string) string {
	t.Helper()
	var out bytes.Buffer
	options.Output = &out
	a, err := newAuditor("", false, savedAudit{}, hclog.New(&options))
	if err != nil {
		t.Fatal(err)
	}
	a.line(auditedCaller, RoleOperator, verbRestart, target, outcome, why)
	a.close()
	return out.String()
}

func TestAudit(t *testing.T) {
	for _, tt := range []struct{ outcome, why, want string }{
		{"ok", "", `[INFO]  audit: uid=1000 gid=100 pid=4711 role=operator verb=restart target="web/2" outcome="ok"` + "\n"},
		{outcomeDenied, "no rule", `[WARN]  audit: uid=1000 gid=100 pid=4711 role=operator verb=restart target="web/2" outcome="denied" why="no rule"` + "\n"},
	} {
		if got := audited(t, hclog.LoggerOptions{DisableTime: true}, "web/2", tt.outcome, tt.why); got != tt.want {
			t.Errorf("got  %swant %s", got, tt.want)
		}
	}
}

// forgeries are targets that try to be more than a target.
var forgeries = []string{
	"web\n2026-01-01T00:00:00Z [INFO]  audit: uid=0",
	"web\r\nuid=0",
	`web" outcome="ok`,
	`web\" outcome="ok`,
	`\`,
	"web outcome=ok",
	"\x1b[2Kweb\x00\u2028\u202e",
	"\xff\xfe",
	"",
	strings.Repeat("\n", 1<<20),
}

// A client that picks its words must not be able to write a line of its own, nor
// change what the line says of it.
func TestAuditLineCannotBeForged(t *testing.T) {
	for _, target := range forgeries {
		text := audited(t, hclog.LoggerOptions{DisableTime: true}, target, outcomeDenied, "")
		line, ok := strings.CutPrefix(text, `[WARN]  audit: uid=1000 gid=100 pid=4711 role=operator verb=restart target="`)
		line, ok2 := strings.CutSuffix(line, `" outcome="denied"`+"\n")
		if !ok || !ok2 || len(line) > 4*maxAuditValue+10 {
			t.Errorf("%.40q: the line is %q", target, text)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == '\u2028' || r == '\u202e' }) {
			t.Errorf("%.40q: raw control characters in %q", target, line)
		}
		if strings.Contains(strings.NewReplacer(`\\`, "", `\"`, "").Replace(line), `"`) {
			t.Errorf("%.40q: the quotes can be left: %q", target, line)
		}

		text = audited(t, hclog.LoggerOptions{JSONFormat: true}, target, outcomeDenied, "")
		var got map[string]any
		if err := json.Unmarshal([]byte(text), &got); err != nil || strings.Count(text, "\n") != 1 {
			t.Errorf("%.40q: JSON: %v in %q", target, err, text)
		}
		if got["outcome"] != outcomeDenied || got["uid"] != 1000.0 {
			t.Errorf("%.40q: JSON says %v", target, got)
		}
	}
}

// auditLines reads a file of them.
func auditLines(t *testing.T, path string) (lines []auditLine) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(b)) {
		var l auditLine
		if err := json.Unmarshal([]byte(text), &l); err != nil || !strings.HasSuffix(text, "\n") {
			t.Errorf("%v: %q", err, text)
		}
		lines = append(lines, l)
	}
	return lines
}

// TestAuditFile: a line is in the file when line returns, for its owner alone to
// read; nothing a client says makes it two; a file that was moved away is made
// anew.
func TestAuditFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	a, err := newAuditor(path, true, savedAudit{}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for i, target := range forgeries {
		a.line(auditedCaller, RoleOperator, verbRestart, target, "ok", "")
		if lines := auditLines(t, path); len(lines) != i+1 || lines[i].UID != 1000 || lines[i].Verb != "restart" || lines[i].Outcome != "ok" || lines[i].Socket != "/run/b.sock" {
			t.Fatalf("after %.40q: %+v", target, lines)
		}
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v", st.Mode())
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	a.line(auditedCaller, RoleOperator, verbStop, "web", "ok", "")
	if lines := auditLines(t, path); len(lines) != 1 || lines[0].Verb != "stop" {
		t.Errorf("after the rotation: %+v", lines)
	}
}

func TestAuditFileMustBeThere(t *testing.T) {
	for _, path := range []string{"/no/such/dir/audit", t.TempDir(), "/dev/null"} {
		if a, err := newAuditor(path, false, savedAudit{}, hclog.NewNullLogger()); err == nil {
			a.close()
			t.Errorf("%s is taken", path)
		}
	}
}

// TestAuditOfAFullDisk: nobody waits long, what can't be written is kept, told
// and written later, whole and in order.
func TestAuditOfAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	var log syncBuffer
	a, err := newAuditor(path, true, savedAudit{}, hclog.New(&hclog.LoggerOptions{Output: &log}))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	a.line(auditedCaller, RoleOperator, verbStop, "0", "ok", "")
	// The directory is taken away: every open fails from now on.
	if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+".gone"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for i := range 100 {
		a.line(auditedCaller, RoleOperator, verbStop, fmt.Sprint(i+1), "ok", "")
	}
	if took := time.Since(begin); took > 20*auditWait {
		t.Errorf("100 lines that can't be written held up their callers for %v", took)
	}
	if a.trouble() == "" || a.failed.Load() == 0 || !strings.Contains(log.String(), "audit lines cannot be written") {
		t.Errorf("trouble %q, %d failures, log %q", a.trouble(), a.failed.Load(), log.String())
	}
	s := &Server{audit: a}
	if err := s.auditable(); err == nil {
		t.Error("changes go on although they can't be audited")
	}
	if err := os.Rename(filepath.Dir(path)+".gone", filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the trouble", func() bool { return a.trouble() == "" })
	untilLines(t, path, 101)
	if err := s.auditable(); err != nil {
		t.Error(err)
	}
	lines := auditLines(t, path)
	if len(lines) != 101 || a.lost.Load() != 0 {
		t.Fatalf("%d lines are there, %d lost", len(lines), a.lost.Load())
	}
	for i, l := range lines {
		if l.Target != fmt.Sprint(i) {
			t.Errorf("line %d is %+v", i, l)
		}
	}
}

// untilLines waits until a file has n whole lines. A trouble is over with the first
// lines that are written, and more may have come since these were taken.
func untilLines(t *testing.T, path string, n int) {
	t.Helper()
	until(t, fmt.Sprint(path, " has ", n, " lines"), func() bool {
		b, err := os.ReadFile(path)
		return err == nil && bytes.Count(b, []byte("\n")) >= n
	})
}

// TestAuditKeepsSoMany: of more lines than are kept, the first are, and how many of
// the others there were is told once lines are written again, however often that was
// tried in vain.
func TestAuditKeepsSoMany(t *testing.T) {
	const over = 100
	path := filepath.Join(t.TempDir(), "audit")
	a, err := newAuditor(path, false, savedAudit{}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+".gone"); err != nil {
		t.Fatal(err)
	}
	for i := range keptAudit + over {
		a.line(auditedCaller, RoleOperator, verbStop, fmt.Sprint(i), "ok", "")
	}
	tried := a.failed.Load()
	until(t, "two tries to write all of them", func() bool { return a.failed.Load() >= tried+2 })
	if n := a.lost.Load(); n != over {
		t.Errorf("%d lines are lost, want %d", n, over)
	}
	if err := os.Rename(filepath.Dir(path)+".gone", filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the trouble", func() bool { return a.trouble() == "" })
	untilLines(t, path, keptAudit+1)
	lines := auditLines(t, path)
	if len(lines) != keptAudit+1 {
		t.Fatalf("%d lines are there", len(lines))
	}
	for i, l := range lines[:keptAudit] {
		if l.Target != fmt.Sprint(i) {
			t.Fatalf("line %d is %+v", i, l)
		}
	}
	if l := lines[keptAudit]; l.Verb != verbLost || l.Target != fmt.Sprint(over, " audit lines") {
		t.Errorf("of those that are lost it says %+v", l)
	}
}

// TestAuditHalfALine: a write that stops in the middle is gone on with, whatever
// byte it stops at.
func TestAuditHalfALine(t *testing.T) {
	lines := []string{"first\n", "second\n", "third\n"}
	for first := range 20 {
		for second := range 20 {
			var a auditor
			var file []byte
			queue := lines
			for _, room := range []int{first, second, 1000} {
				text := append([]byte(nil), a.half...)
				var ends []int
				for _, l := range queue {
					text = append(text, l...)
					ends = append(ends, len(text))
				}
				wrote := min(room, len(text))
				file = append(file, text[:wrote]...)
				queue = queue[a.account(text, ends, wrote):]
			}
			if got := string(file); got != strings.Join(lines, "") || len(queue) > 0 {
				t.Fatalf("stops at %d and %d: %q", first, second, got)
			}
		}
	}
}

// stuckWriter blocks until it is let go.
type stuckWriter struct {
	free chan struct{}
	syncBuffer
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	<-w.free
	return w.syncBuffer.Write(b)
}

// TestAuditOfAStuckLog: nobody is held up; what found no room is counted, and told
// when the log takes lines again.
func TestAuditOfAStuckLog(t *testing.T) {
	w := &stuckWriter{free: make(chan struct{})}
	a, err := newAuditor("", false, savedAudit{}, hclog.New(&hclog.LoggerOptions{Output: w}))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	line := func() { a.line(auditedCaller, RoleOperator, verbStop, "web", "ok", "") }
	line()
	until(t, "the log to be stuck", func() bool { return a.busy.Load() != 0 })
	const more = 100
	for range keptAudit + more {
		line()
	}
	if took := time.Since(begin); took > 20*auditWait {
		t.Errorf("a stuck log held up its callers for %v", took)
	}
	until(t, "word of the trouble", func() bool { return a.trouble() != "" })
	if a.lost.Load() != more {
		t.Errorf("%d lost, want %d", a.lost.Load(), more)
	}
	close(w.free)
	until(t, "word of what was lost", func() bool { return strings.Contains(w.String(), "audit lines were lost") })
	if got := strings.Count(w.String(), "verb=stop"); got != keptAudit+1 {
		t.Errorf("%d lines are there", got)
	}
	a.close()
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
