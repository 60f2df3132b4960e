package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestShorthandClients: three clients that know nothing of brood, GET and POST
// with a JSON list of arguments, 200 with the worker's text and 500 with its
// error.
func TestShorthandClients(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	for _, tt := range []struct {
		name    string
		needs   string
		program string // of sh; $1 is the method, $2 the page, $3 the body; prints status and text
	}{
		{"curl", "curl", `curl -s -X "$1" ${3:+-d "$3"} -w ' %{http_code}' --unix-socket "$BROOD_SOCKET" "http://brood$2"`},
		{"requests-unixsocket", "/usr/bin/python3", `/usr/bin/python3 - "$@" <<'PY'
import os, sys, urllib.parse
import requests_unixsocket
method, page, body = sys.argv[1:4]
url = "http+unix://" + urllib.parse.quote(os.environ["BROOD_SOCKET"], safe="") + page
r = requests_unixsocket.Session().request(method, url, data=body or None)
print(r.text, r.status_code)
PY`},
		{"http.client", "python3", `python3 - "$@" <<'PY'
import http.client, os, socket, sys
method, page, body = sys.argv[1:4]
c = http.client.HTTPConnection("brood")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect(os.environ["BROOD_SOCKET"])
c.request(method, page, body or None)
r = c.getresponse()
print(r.read().decode(), r.status)
PY`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			need(t, tt.needs)
			if tt.name == "requests-unixsocket" && exec.Command("/usr/bin/python3", "-c", "import requests_unixsocket").Run() != nil {
				t.Skip("python3-requests-unixsocket is not installed")
			}
			for _, c := range [][4]string{
				{"GET", "/echo", "", " 200"},
				{"POST", "/echo", `["some","args"]`, "some args 200"},
				{"POST", "/fail", `["no","paper"]`, "no paper 500"},
				{"GET", "/fail", "", "failed as asked 500"},
			} {
				r := runCmd(t, s.socket, exec.Command("sh", "-c", tt.program, tt.name, c[0], c[1], c[2]))
				if got := strings.TrimSuffix(r.stdout, "\n"); got != c[3] {
					t.Errorf("%s %s %s: got %q, want %q; %v", c[0], c[1], c[2], got, c[3], r)
				}
			}
		})
	}
}

// TestHealthCheckFromShell: what a cron job would do.
func TestHealthCheckFromShell(t *testing.T) {
	need(t, "curl")
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	r := shell(t, s.socket, `curl -sf -o /dev/null --unix-socket "$BROOD_SOCKET" http://b/v1/health && echo well`)
	wantIn(t, "all up", r.stdout, "well")
	r = shell(t, s.socket, `brood stop 'web/*' >/dev/null; curl -sf -o /dev/null --unix-socket "$BROOD_SOCKET" http://b/v1/health || echo ill`)
	wantIn(t, "all down", r.stdout, "ill")
}
