package control

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestRoleNames(t *testing.T) {
	for _, r := range []Role{RoleNone, RoleViewer, RoleOperator, RoleAdmin} {
		if got, err := ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%v reads as %v, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "Admin", "root", "role(7)"} {
		if r, err := ParseRole(s); err == nil || r != RoleNone {
			t.Errorf("%q reads as %v, %v", s, r, err)
		}
	}
	if got := Role(7).String() + Role(-1).String(); got != "role(7)role(-1)" {
		t.Error(got)
	}
}

func TestMay(t *testing.T) {
	for role, can := range map[Role]string{
		RoleNone:     "",
		RoleViewer:   "status health events metrics whoami version",
		RoleOperator: "status health events metrics whoami version command logs restart start stop scale ping",
		RoleAdmin:    "status health events metrics whoami version command logs restart start stop scale ping reload upgrade shutdown",
	} {
		n := 0
		for v := range minRole {
			if role.may(v) {
				n++
			}
		}
		if n != len(strings.Fields(can)) {
			t.Errorf("%v may do %d things", role, n)
		}
		for v := range strings.FieldsSeq(can) {
			if !role.may(verb(v)) {
				t.Errorf("%v may not %s", role, v)
			}
		}
		if role.may("no such verb") || role.may("") {
			t.Errorf("%v may do what nobody knows", role)
		}
	}
}

func TestRoleOf(t *testing.T) {
	peer := func(uid int) Peer { return Peer{UID: uid, known: true} }
	for _, tt := range []struct {
		access Access
		peer   Peer
		role   Role
		reason string
	}{
		{Access{1000, RoleViewer}, peer(0), RoleAdmin, "uid 0 is root"},
		{Access{1000, RoleViewer}, peer(1000), RoleAdmin, "uid 1000 is the supervisor's own"},
		{Access{1000, RoleViewer}, peer(1001), RoleViewer, "no rule names uid 1001; this listener gives viewer"},
		{Access{1000, RoleOperator}, peer(1001), RoleOperator, "no rule names uid 1001; this listener gives operator"},
		{Access{1000, RoleNone}, peer(1001), RoleNone, "no rule names uid 1001; this listener gives none"},
		{Access{}, peer(1001), RoleNone, "no rule names uid 1001; this listener gives none"},
		{Access{0, RoleAdmin}, Peer{}, RoleNone, "the kernel does not say who is calling"},
	} {
		role, reason := tt.access.roleOf(tt.peer)
		if role != tt.role || reason != tt.reason {
			t.Errorf("%+v, uid %d: %v, %s; want %v, %s", tt.access, tt.peer.UID, role, reason, tt.role, tt.reason)
		}
	}
}

var auditedPeer = Peer{UID: 1000, GID: 100, PID: 4711, known: true}

func TestAudit(t *testing.T) {
	for _, tt := range []struct{ outcome, want string }{
		{"ok", `[INFO]  audit: uid=1000 gid=100 pid=4711 role=operator verb=restart target="web/2" outcome="ok"` + "\n"},
		{outcomeDenied, `[WARN]  audit: uid=1000 gid=100 pid=4711 role=operator verb=restart target="web/2" outcome="denied"` + "\n"},
	} {
		var out bytes.Buffer
		audit(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true}), auditedPeer, RoleOperator, verbRestart, "web/2", tt.outcome)
		if out.String() != tt.want {
			t.Errorf("got  %swant %s", out.String(), tt.want)
		}
	}
}

// A client that picks its words must not be able to write a line of its own, nor
// change what the line says of it.
func TestAuditLineCannotBeForged(t *testing.T) {
	for _, target := range []string{
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
	} {
		var out bytes.Buffer
		audit(hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true}), auditedPeer, RoleOperator, verbRestart, target, outcomeDenied)
		line, ok := strings.CutPrefix(out.String(), `[WARN]  audit: uid=1000 gid=100 pid=4711 role=operator verb=restart target="`)
		line, ok2 := strings.CutSuffix(line, `" outcome="denied"`+"\n")
		if !ok || !ok2 || len(line) > 4*maxAuditValue+10 {
			t.Errorf("%.40q: the line is %q", target, out.String())
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == '\u2028' || r == '\u202e' }) {
			t.Errorf("%.40q: raw control characters in %q", target, line)
		}
		if strings.Contains(strings.NewReplacer(`\\`, "", `\"`, "").Replace(line), `"`) {
			t.Errorf("%.40q: the quotes can be left: %q", target, line)
		}

		out.Reset()
		audit(hclog.New(&hclog.LoggerOptions{Output: &out, JSONFormat: true}), auditedPeer, RoleOperator, verbRestart, target, outcomeDenied)
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Errorf("%.40q: JSON: %v in %q", target, err, out.String())
		}
		if got["outcome"] != outcomeDenied || got["uid"] != 1000.0 {
			t.Errorf("%.40q: JSON says %v", target, got)
		}
	}
}
