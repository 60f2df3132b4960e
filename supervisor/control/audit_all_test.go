package control

import (
	"strings"
	"testing"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
)

// TestAuditOfACommandToAll: the line names all that were asked, and the worst that
// came of it, however it was asked; and so do the metrics.
func TestAuditOfACommandToAll(t *testing.T) {
	file := t.TempDir() + "/audit"
	h := serveHere(t, Config{Audit: file, AuditRequired: true}, workers("web", 2))
	for _, command := range []string{"fail", "echo"} {
		h.ask("POST", "/v1/pools/web/commands/"+command+"?all=true", "[]")
		h.ask("POST", "/v1/pools/web/commands/"+command+"?all=true", "[]", "Accept", ndjson)
		h.line("@web/* " + command + "\n")
	}
	until(t, "six lines", func() bool { return len(auditLines(t, file)) == 6 })
	var got []string
	for _, l := range auditLines(t, file) {
		got = append(got, l.Verb+" "+l.Target+": "+l.Outcome)
	}
	want := strings.Repeat("command web/* fail: error\n", 3) + strings.Repeat("command web/* echo: ok\n", 3)
	if strings.Join(got, "\n")+"\n" != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	_, text := h.ask("GET", "/metrics", "")
	for _, line := range []string{`{verb="command",outcome="ok"} 3`, `{verb="command",outcome="failed"} 3`} {
		if !strings.Contains(text, "brood_control_requests_total"+line+"\n") {
			t.Errorf("no %s in:\n%s", line, text)
		}
	}
}

// TestWorseOf: the worst of many stays, whichever comes first.
func TestWorseOf(t *testing.T) {
	failed, late, lost := &ipc.CallError{Code: ipc.ErrFailed}, &ipc.CallError{Code: ipc.ErrTimeout}, &ipc.CallError{Code: ipc.ErrLost}
	for _, tt := range []struct {
		all  []error
		want string
	}{
		{[]error{nil, nil}, "ok"},
		{[]error{nil, failed, nil}, "error"},
		{[]error{failed, lost, late}, "lost"},
		{[]error{lost, failed}, "lost"},
		{[]error{supervisor.ErrStale, failed}, "stale"},
	} {
		var worst error
		for _, err := range tt.all {
			worst = worseOf(worst, err)
		}
		if got := outcomeOf(worst); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.all, got, tt.want)
		}
	}
}
