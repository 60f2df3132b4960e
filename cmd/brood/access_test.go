package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor/control/api"
)

// These run a real brood, and ask it things as other users: docs/security.md has a
// row for each.

// who is a caller: a uid, the main gid, and supplementary groups.
type who struct {
	uid, gid int
	groups   string
}

var (
	stranger = who{uid: 61000, gid: 61000}
	deploy   = who{uid: 61001, gid: 61001}
	monitor  = who{uid: 61002, gid: 61002, groups: "61500"}
	webAdmin = who{uid: 61003, gid: 61600}
	flusher  = who{uid: 61004, gid: 61004}
	banned   = who{uid: 61005, gid: 61500}
	root     = who{}
)

// as runs a line as another user.
func as(t testing.TB, u who, socket, line string) result {
	t.Helper()
	if u == root {
		return shell(t, socket, line)
	}
	groups := "--clear-groups"
	if u.groups != "" {
		groups = "--groups=" + u.groups
	}
	return runCmd(t, socket, exec.Command("setpriv", fmt.Sprintf("--reuid=%d", u.uid), fmt.Sprintf("--regid=%d", u.gid), groups, "sh", "-c", line))
}

// configured runs brood with a control section, and waits until all is ready. The
// main socket lets everybody connect.
func configured(t *testing.T, control string) (s *server, file string) {
	t.Helper()
	needRoot(t)
	dir := socketDir(t)
	file = filepath.Join(dir, "brood.yaml")
	text := "pools:\n  web: {command: [sh, -c, \"echo I am web; echo web prints >&2; exec echo-worker\"], workers: 2}\n  db: {command: [sh, -c, \"echo I am db; echo db prints >&2; exec echo-worker\"]}\ncontrol:\n" + strings.ReplaceAll(control, "DIR", dir)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s = serveOn(t, filepath.Join(dir, "control.sock"), "-c", file)
	s.awaitHealthy()
	return s, file
}

const ruled = `
  listen:
    - {mode: "0666", role: none}
    - {path: DIR/open.sock, mode: "0666", role: operator}
    - {path: DIR/web.sock, mode: "0666", max_role: viewer}
  access:
    - {role: admin, users: 61001}
    - {role: viewer, groups: 61500}
    - {role: operator, groups: [61600], pools: web}
    - {role: operator, users: 61004, pools: [web], commands: [echo, pid]}
    - {role: none, users: 61005}
`

// TestAccessRules: each caller may do what the rules give, through each socket,
// and nothing else; in either tongue.
func TestAccessRules(t *testing.T) {
	need(t, "curl", "socat")
	s, _ := configured(t, ruled)
	dir := filepath.Dir(s.socket)
	open, web := dir+"/open.sock", dir+"/web.sock"
	const no = exitDenied
	for _, tt := range []struct {
		who    who
		socket string
		line   string
		code   int
	}{
		{stranger, s.socket, "brood status", no},
		{stranger, s.socket, "brood whoami", 0},
		{stranger, s.socket, "brood send web echo x", no},
		{stranger, open, "brood status", 0},
		{stranger, open, "brood send web echo x", 0},
		{stranger, open, "brood reload", no},
		{stranger, web, "brood status", 0},
		{stranger, web, "brood send web echo x", no},

		{deploy, s.socket, "brood reload --dry-run", 0},
		{deploy, web, "brood status", 0},
		{deploy, web, "brood reload --dry-run", no},
		{deploy, web, "brood send web echo x", no},
		{root, web, "brood reload --dry-run", no},
		{root, web, "brood send web echo x", no},
		{root, web, "brood status", 0},

		{monitor, s.socket, "brood status", 0},
		{monitor, s.socket, "brood health", 0},
		{monitor, s.socket, "brood send web echo x", no},
		{monitor, s.socket, "brood restart web/1", no},
		{monitor, open, "brood send web echo x", no}, // a rule names it, so the listener's role is not for it

		{webAdmin, s.socket, "brood send web echo x", 0},
		{webAdmin, s.socket, "brood send db echo x", no},
		{webAdmin, s.socket, "brood restart web/1", 0},
		{webAdmin, s.socket, "brood restart db/1", no},
		{webAdmin, s.socket, "brood restart '*'", no},
		{webAdmin, s.socket, "brood ping web/1", 0},
		{webAdmin, s.socket, "brood ping db/1", no},
		{webAdmin, s.socket, "brood scale db 2", no},
		{webAdmin, s.socket, "brood reload", no},
		{webAdmin, s.socket, "brood shutdown", no},

		{flusher, s.socket, "brood send web echo x", 0},
		{flusher, s.socket, "brood send web/2 pid", 0},
		{flusher, s.socket, "brood send web fail", no},
		{flusher, s.socket, "brood send db echo x", no},
		{flusher, s.socket, "brood restart web/1", no},
		{flusher, s.socket, "brood stop web", no},

		{banned, open, "brood send web echo x", no},
		{banned, open, "brood status", 0}, // by its group
	} {
		if r := as(t, tt.who, tt.socket, tt.line); r.code != tt.code {
			t.Errorf("uid %d, %s: %s: want exit %d, got %v", tt.who.uid, filepath.Base(tt.socket), tt.line, tt.code, r)
		}
	}
	// The same by lines.
	for _, tt := range []struct {
		who          who
		socket, line string
		want         string
	}{
		{stranger, s.socket, "status", "denied"},
		{stranger, open, "@web/1 echo x", "x"},
		{monitor, s.socket, "@web/1 echo x", "denied"},
		{webAdmin, s.socket, "@web/1 echo x", "x"},
		{webAdmin, s.socket, "@db/1 echo x", "denied"},
		{webAdmin, s.socket, "@web/* echo x", "web/2#"},
		{webAdmin, s.socket, "@* echo x", "denied"},
		{webAdmin, s.socket, "restart db", "denied"},
		{flusher, s.socket, "@web echo x", "x"},
		{flusher, s.socket, "@web fail", "denied"},
		{root, web, "restart web", "denied"},
	} {
		r := as(t, tt.who, tt.socket, fmt.Sprintf("echo '%s' | socat -t30 - UNIX-CONNECT:$BROOD_SOCKET", tt.line))
		wantIn(t, fmt.Sprintf("uid %d, %s: %s", tt.who.uid, filepath.Base(tt.socket), tt.line), r.stdout, tt.want)
	}
}

// TestOthersSeeTheirPools: of what a caller may not see there is no word in any
// list.
func TestOthersSeeTheirPools(t *testing.T) {
	need(t, "curl")
	s, _ := configured(t, ruled)
	as(t, root, s.socket, "brood restart db; brood restart web")
	for _, page := range []string{"/v1/status", "/v1/pools", "/v1/workers", "/v1/health", "/v1/events", "/v1/logs", "/metrics"} {
		line := "curl -s --unix-socket $BROOD_SOCKET http://b" + page
		if r := as(t, root, s.socket, line); !strings.Contains(r.stdout, "db") { // what is kept for others is not given to who may not see it
			t.Errorf("%s for root: %v", page, r)
		}
		r := as(t, webAdmin, s.socket, line)
		if strings.Contains(r.stdout, "db") || !strings.Contains(r.stdout, "web") || strings.Contains(r.stdout, "urn:brood:problem") {
			t.Errorf("%s: %v", page, r)
		}
	}
	for _, page := range []string{"/v1/pools/db", "/v1/workers/db/1", "/v1/health/db", "/v1/events?target=db", "/v1/pools/db/logs", "/v1/pools/nosuch"} {
		r := as(t, webAdmin, s.socket, "curl -s --unix-socket $BROOD_SOCKET http://b"+page)
		wantIn(t, page, r.stdout, `"code":"denied"`)
	}
}

// TestWhoami: everybody is told what they may do, and why.
func TestWhoami(t *testing.T) {
	need(t, "curl")
	s, _ := configured(t, ruled)
	for _, tt := range []struct {
		who          who
		role, reason string
	}{
		{root, "admin", "uid 0 is root"},
		{stranger, "none", "no rule names uid 61000; this listener gives none"},
		{monitor, "viewer", "access rule 2 names uid 61002 or a group of it"},
		{webAdmin, "operator", "access rule 3"},
		{banned, "viewer", "access rules 2, 5"},
	} {
		r := as(t, tt.who, s.socket, "curl -s --unix-socket $BROOD_SOCKET http://b/v1/whoami")
		var w api.Whoami
		if err := json.Unmarshal([]byte(r.stdout), &w); err != nil || w.UID != tt.who.uid || w.Role != tt.role || !strings.Contains(w.Reason, tt.reason) {
			t.Errorf("uid %d: %v %s", tt.who.uid, err, r.stdout)
		}
	}
	r := as(t, flusher, s.socket, "curl -s --unix-socket $BROOD_SOCKET http://b/v1/whoami")
	wantIn(t, "narrowed", r.stdout, `"narrowed":[{"role":"operator","pools":["web"],"commands":["echo","pid"]}],"everywhere":"none"`)
	for line, want := range map[string]string{
		"brood whoami": ": operator of web for echo, pid, because access rule 4 names uid 61004 or a group of it\n",
		"echo whoami | socat -t30 - UNIX-CONNECT:$BROOD_SOCKET": ", role operator of web for echo, pid: access rule 4 names uid 61004",
	} {
		wantIn(t, line, as(t, flusher, s.socket, line).stdout, want)
	}
}

// TestOutputIsForOperators: what a worker printed before it ended is shown by no page
// to who may not read its log, also when another has just been shown it.
func TestOutputIsForOperators(t *testing.T) {
	need(t, "curl", "socat")
	s, _ := configured(t, ruled)
	if r := as(t, root, s.socket, "brood restart web && brood restart db"); r.code != 0 {
		t.Fatal(r)
	}
	lines := []string{"brood status web/1", "brood status db/1", "brood events", "echo 'json show worker web/1' | socat -t30 - UNIX-CONNECT:$BROOD_SOCKET"}
	for _, page := range []string{"status", "status?commands=false", "pools/web", "pools/db", "workers", "workers/web/1", "workers/db/1", "events"} {
		lines = append(lines, "curl -s --unix-socket $BROOD_SOCKET 'http://b/v1/"+page+"'")
	}
	page := strings.Join(lines, "; ")
	for _, tt := range []struct {
		who     who
		web, db bool
	}{
		{root, true, true}, {monitor, false, false}, {deploy, true, true}, {webAdmin, true, false}, {flusher, false, false}, {root, true, true},
	} {
		r := as(t, tt.who, s.socket, page)
		if strings.Contains(r.stdout, "web prints") != tt.web || strings.Contains(r.stdout, "db prints") != tt.db || !strings.Contains(r.stdout, "web/1") {
			t.Errorf("uid %d: want web's %t, db's %t; got %v", tt.who.uid, tt.web, tt.db, r)
		}
	}
}

// TestTheOnlyPoolOfACaller: to who may see one pool it is the only one.
func TestTheOnlyPoolOfACaller(t *testing.T) {
	need(t, "socat")
	s, _ := configured(t, ruled)
	for _, tt := range []struct {
		who        who
		line, want string
	}{
		{webAdmin, "@1 echo mine", "mine\n"},
		{webAdmin, "json @1 fail", `"worker":"web/1#1"`},
		{webAdmin, "show worker @2", "target: web/2\n"},
		{webAdmin, "health @1", "ok: web "},
		{webAdmin, "logs @1", "I am web\n"},
		{webAdmin, "events @1", " web/1#1 state ready"},
		{flusher, "@2 echo mine", "mine\n"},
		{flusher, "@1 fail", "error: denied: command (web/1 fail)"},
		{monitor, "@1 echo", "error: denied: command (@1 echo)"},
		{monitor, "health @1", "say which of web, db"},
		{deploy, "@1 echo", "say which of web, db"},
		{stranger, "@1 echo", "error: denied: command (@1 echo)"},
	} {
		r := as(t, tt.who, s.socket, fmt.Sprintf("echo '%s' | socat -t30 - UNIX-CONNECT:$BROOD_SOCKET", tt.line))
		wantIn(t, fmt.Sprintf("uid %d: %s", tt.who.uid, tt.line), r.stdout, tt.want)
		if (tt.who == webAdmin || tt.who == flusher) && (strings.Contains(r.stdout, "db") || strings.Contains(r.stdout, "several")) {
			t.Errorf("uid %d: %s: it tells of others: %q", tt.who.uid, tt.line, r.stdout)
		}
	}
	r := as(t, webAdmin, s.socket, "curl -s -d '[\"mine\"]' --unix-socket $BROOD_SOCKET http://b/echo")
	if r.stdout != "mine" {
		t.Errorf("the shorthand: %v", r)
	}
}

// TestPassedConnection: a connection is its maker's, in whosever hands it is.
func TestPassedConnection(t *testing.T) {
	need(t, "python3")
	s, _ := configured(t, ruled)
	mine, err := dial(t, s.socket).File() // root's
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	cmd := exec.Command("setpriv", "--reuid=61000", "--regid=61000", "--clear-groups", "sh", "-c", "id -u; echo 'whoami; @web/1 echo done; quit' >&3; cat <&3")
	cmd.ExtraFiles = []*os.File{mine}
	r := runCmd(t, s.socket, cmd)
	wantIn(t, "root's connection, used by another", r.stdout, "61000\nuid 0, user root, ")
	wantIn(t, "root's connection, used by another", r.stdout, "\ndone\n")

	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Dir(s.socket) + "/handed", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetDeadline(time.Now().Add(time.Minute))
	if err := os.Chmod(l.Addr().String(), 0o666); err != nil {
		t.Fatal(err)
	}
	if r := as(t, stranger, s.socket, `python3 -c '
import os, socket
brood, to = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
brood.connect(os.environ["BROOD_SOCKET"])
to.connect("`+l.Addr().String()+`")
socket.send_fds(to, [b"x"], [brood.fileno()])
'`); r.code != 0 {
		t.Fatal(r)
	}
	from, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	from.SetDeadline(time.Now().Add(time.Minute))
	beside := make([]byte, 64)
	_, n, _, _, err := from.ReadMsgUnix(make([]byte, 1), beside)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := syscall.ParseSocketControlMessage(beside[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	theirs := os.NewFile(uintptr(fds[0]), "the stranger's connection")
	c, err := net.FileConn(theirs)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(c, "whoami; @web/1 echo done; quit\n")
	got := ended(t, c)
	wantIn(t, "a stranger's connection, used by root", got, "uid 61000, ")
	wantIn(t, "a stranger's connection, used by root", got, "error: denied: command (web/1 echo)")
}

// TestReloadedRules: rules that a reload brings hold for who is connected already,
// and a faulty file changes none.
func TestReloadedRules(t *testing.T) {
	need(t, "curl", "socat")
	s, file := configured(t, "  listen: {mode: \"0666\", role: viewer}\n")
	base, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// One connection stays open over both reloads: pipes feed it line by line.
	cmd := exec.Command("setpriv", "--reuid=61001", "--regid=61001", "--clear-groups", "socat", "-t30", "-", "UNIX-CONNECT:"+s.socket)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, child, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout = child
	err = cmd.Start()
	child.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	said := func(line, want string) {
		t.Helper()
		fmt.Fprintln(in, line)
		out.SetReadDeadline(time.Now().Add(30 * time.Second))
		var got []byte
		for b := make([]byte, 4096); !strings.Contains(string(got), want); {
			n, err := out.Read(b)
			if got = append(got, b[:n]...); err != nil {
				t.Fatalf("%s: got %q, want %q: %v", line, got, want, err)
			}
		}
	}
	rules := func(text string) {
		if err := os.WriteFile(file, []byte(string(base)+text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	said("@web/1 echo hello", "denied")
	rules("  access: [{role: operator, users: 61001}]\n")
	if r := as(t, root, s.socket, "brood reload"); r.code != 0 {
		t.Fatal(r)
	}
	said("@web/1 echo hello", "hello")
	rules("  access: [{role: admin, user: 61001}]\n")
	if r := as(t, root, s.socket, "brood reload"); r.code != exitUsage {
		t.Fatal(r)
	}
	said("@web/1 echo again", "again")

	// Neither does one that can't be carried out: the address is taken.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	text := strings.Replace(string(base), "workers: 2}", fmt.Sprintf("workers: 2, listen: {x: 'tcp://%v'}}", taken.Addr()), 1)
	if err := os.WriteFile(file, []byte(text+"  access: [{role: none, users: 61001}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := as(t, root, s.socket, "brood reload"); r.code == 0 {
		t.Fatal(r)
	}
	said("@web/1 echo as before", "as before")
	said("reload", "denied")
	rules("")
	if r := as(t, root, s.socket, "brood reload --dry-run"); r.code != 0 {
		t.Fatal(r)
	}
	said("@web/1 echo still", "still")
	if r := as(t, root, s.socket, "brood reload"); r.code != 0 {
		t.Fatal(r)
	}
	said("@web/1 echo no more", "denied")
}

// TestAuditFile: every change and every refusal is a line, with who and what, and
// looks are none.
func TestAuditFile(t *testing.T) {
	need(t, "curl")
	s, _ := configured(t, ruled+"  audit: DIR/audit\n  audit_required: true\n")
	path := filepath.Join(filepath.Dir(s.socket), "audit")
	as(t, flusher, s.socket, "brood status; brood health; brood whoami; brood ping web/1; brood send web echo x; brood send web fail; brood send web/1 echo y")
	as(t, webAdmin, s.socket, "brood restart web/2; brood send web/9 echo; brood send --all web fail")
	as(t, deploy, s.socket, "brood reload; brood send web echo '\n{\"uid\":0}'")
	as(t, stranger, s.socket, "brood shutdown; echo '@web/1 echo' | socat - UNIX-CONNECT:$BROOD_SOCKET")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		var l struct {
			At, Role, Verb, Target, Outcome, Socket string
			UID, GID, PID                           int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.PID == 0 || l.At == "" || l.Socket != s.socket {
			t.Errorf("%v: %s", err, line)
		}
		got = append(got, fmt.Sprintf("%d/%d %s %s %s: %s", l.UID, l.GID, l.Role, l.Verb, l.Target, l.Outcome))
	}
	want := []string{
		"61004/61004 operator ping web/1: denied",
		"61004/61004 operator command web echo: ok",
		"61004/61004 operator command web fail: denied",
		"61004/61004 operator command web/1 echo: ok",
		"61003/61600 operator restart web/2: ok",
		"61003/61600 operator command web/9 echo: not_found",
		"61003/61600 operator command web/* fail: error",
		"61001/61001 admin reload : ok",
		"61001/61001 admin command web echo: ok",
		"61000/61000 none shutdown : denied",
		"61000/61000 none command web/1 echo: denied",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v", st.Mode())
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	as(t, deploy, s.socket, "brood send web/2 echo")
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), `"target":"web/2 echo"`) {
		t.Errorf("after it was moved away: %q, %v", text, err)
	}
	r := as(t, deploy, s.socket, "cat "+path)
	wantIn(t, "others read it", r.stderr, "denied")
}

// TestAuditRequired: on a full disk changes are refused, looks are not, and all is
// well again when there is room.
func TestAuditRequired(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "none", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %s", out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	s, _ := configured(t, "  audit: "+dir+"/audit\n  audit_required: true\n")
	if r := as(t, root, s.socket, "brood send web echo x"); r.code != 0 {
		t.Fatal(r)
	}
	as(t, root, s.socket, "cat /dev/zero >"+dir+"/full")
	var r result
	for range 100 { // what room there is left is used up
		if r = as(t, root, s.socket, "brood send web echo x"); r.code != 0 {
			break
		}
	}
	if r.code != exitDown || !strings.Contains(r.stderr, "audited") {
		t.Errorf("on a full disk: %v", r)
	}
	if r := as(t, root, s.socket, "brood status -o json"); r.code != 0 || !strings.Contains(r.stdout, "no space left") {
		t.Errorf("status: %v", r)
	}
	if r := as(t, root, s.socket, "curl -s --unix-socket $BROOD_SOCKET http://b/metrics"); !strings.Contains(r.stdout, "brood_audit_failures_total") {
		t.Logf("metrics: %v", r)
	}
	os.Remove(dir + "/full")
	until(t, "a command is carried out with room again", func() bool {
		return as(t, root, s.socket, "brood send web echo x").code == 0
	})
	text, _ := os.ReadFile(dir + "/audit")
	for line := range strings.Lines(string(text)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a torn line: %q", line)
		}
	}
}

// TestRefusedChangesNothing: each thing that a caller may not do, asked in each
// tongue, leaves all as it was.
func TestRefusedChangesNothing(t *testing.T) {
	need(t, "curl", "socat")
	s, _ := configured(t, ruled)
	look := func() string {
		r := as(t, root, s.socket, `curl -s --unix-socket $BROOD_SOCKET http://b/v1/events; curl -s --unix-socket $BROOD_SOCKET http://b/v1/workers | grep -oE '"(pid|generation|commands_total|state)":[^,]*'`)
		return r.stdout
	}
	before := look()
	for _, u := range []who{stranger, monitor} {
		r := as(t, u, s.socket, `for page in v1/pools/web/restart v1/pools/web/stop v1/workers/web/1/stop 'v1/pools/web/scale?workers=1' v1/pools/web/commands/echo v1/workers/db/1/commands/echo \
			'v1/pools/*/commands/echo?all=true' v1/reload v1/upgrade v1/shutdown v1/workers/web/1/ping echo nosuch
		do curl -s -o /dev/null -w '%{http_code} ' -X POST --unix-socket $BROOD_SOCKET "http://b/$page"; done
		printf 'restart web\nstop web/1\nscale web 1\n@web echo\n@* echo\nreload\nshutdown\n' | socat -t30 - UNIX-CONNECT:$BROOD_SOCKET | grep -c denied`)
		if want := strings.Repeat("403 ", 13) + "7\n"; r.stdout != want {
			t.Errorf("uid %d: got %q, want %q", u.uid, r.stdout, want)
		}
	}
	if after := look(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// TestSecurityPage: every test that docs/security.md promises is there.
func TestSecurityPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, glob := range []string{"*_test.go", "../../supervisor/control/*_test.go", "../../supervisor/control/client/*_test.go"} {
		files, _ := filepath.Glob(glob)
		for _, f := range files {
			b, _ := os.ReadFile(f)
			source.Write(b)
		}
	}
	n := 0
	for _, word := range strings.FieldsFunc(string(page), func(r rune) bool { return strings.ContainsRune(" `|,\n", r) }) {
		if strings.HasPrefix(word, "Test") {
			n++
			if !strings.Contains(source.String(), "\nfunc "+word+"(t *testing.T)") {
				t.Errorf("there is no %s", word)
			}
		}
	}
	if n < 14 {
		t.Errorf("the page names %d tests", n)
	}
}
