package probe

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	http := func(text string) error { _, err := ParseHTTP(text); return err }
	tcp := func(text string) error { _, err := ParseTCP(text); return err }
	for _, c := range []struct {
		parse func(string) error
		text  string
		want  string // of the error; empty: it is right
	}{
		{http, "http://127.0.0.1:8080/healthz", ""},
		{http, "http://127.0.0.1:8080", ""},
		{http, "http://localhost/", ""},
		{http, "http://[::1]/a?b=c", ""},
		{http, "http://[::1]:80/", ""},
		{http, "unix:/run/app.sock:/healthz", ""},
		{http, "unix:/run/app.sock:/a:b?c=d", ""},
		{http, "", "no address of a page"},
		{http, "htp://x/", "no address of a page"},
		{http, "127.0.0.1:8080/healthz", "no address of a page"},
		{http, "/healthz", "no address of a page"},
		{http, "http://x y/", "no address of a page"},
		{http, "http://x/\x00", "no address of a page"},
		{http, "https://x/", "no TLS"},
		{http, "http://me:secret@x/", "user and password"},
		{http, "http:///healthz", "names no host"},
		{http, "http://x:0/", "1 to 65535"},
		{http, "http://x:70000/", "1 to 65535"},
		{http, "unix:/run/app.sock", "unix:/run/app.sock:/healthz"},
		{http, "unix:run/app.sock:/healthz", "begins with /"},
		{http, "unix:/run/:/healthz", "that of a file"},
		{http, "unix:/run/app.sock:healthz", "unix:/run/app.sock:/healthz"},
		{http, "unix:/run/app.sock:/%zz", "can't be asked for"},
		{http, "unix:/" + strings.Repeat("x", 200) + ":/", "bytes long"},
		{tcp, "127.0.0.1:8080", ""},
		{tcp, "[::1]:8080", ""},
		{tcp, "localhost:1", ""},
		{tcp, "unix:/run/app.sock", ""},
		{tcp, "", "names no host and port"},
		{tcp, ":8080", "names no host and port"},
		{tcp, "8080", "names no host and port"},
		{tcp, "::1:8080", "names no host and port"},
		{tcp, "localhost:http", "1 to 65535"},
		{tcp, "localhost:-1", "1 to 65535"},
		{tcp, "unix:", "begins with /"},
		{tcp, "unix:@abstract", "begins with /"},
		{tcp, "unix:/a\x00b", "NUL"},
		{tcp, strings.Repeat("\x1b\xff", 10000), "names no host and port"},
	} {
		err := c.parse(c.text)
		if c.want != "" {
			wantError(t, err, c.want)
		} else if err != nil {
			t.Errorf("%q: %v", c.text, err)
		}
	}
	for _, err := range []error{HTTP{}.Ready(t.Context()), TCP{}.Ready(t.Context())} {
		if err == nil {
			t.Error("a check of nothing is ready")
		}
	}
}

func TestTCP(t *testing.T) {
	noLeaks(t)
	socket := filepath.Join(shortDir(t), "s")
	for _, l := range []struct{ network, listen, prefix string }{{"tcp", "127.0.0.1:0", ""}, {"unix", socket, "unix:"}} {
		ln, err := net.Listen(l.network, l.listen) // nobody accepts
		if err != nil {
			t.Fatal(err)
		}
		check, err := ParseTCP(l.prefix + ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := check.Ready(soon(t)); err != nil {
			t.Error(err)
		}
		ln.Close()
		if l.network == "unix" {
			wantError(t, check.Ready(soon(t)), socket, "no such file")
		} else {
			wantError(t, check.Ready(soon(t)), "refused")
		}
	}
}
