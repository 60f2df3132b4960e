package listen

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	addr := netip.MustParseAddrPort
	for _, c := range []struct {
		text string
		want Spec
		as   string // what String makes of it, if not text
	}{
		{"tcp://127.0.0.1:8080", Spec{Network: "tcp", Addr: addr("127.0.0.1:8080")}, ""},
		{"tcp://[::1]:8080", Spec{Network: "tcp", Addr: addr("[::1]:8080")}, ""},
		{"tcp://[fe80::1%eth0]:80", Spec{Network: "tcp", Addr: addr("[fe80::1%eth0]:80")}, ""},
		{"tcp://[::ffff:10.0.0.1]:80", Spec{Network: "tcp", Addr: addr("10.0.0.1:80")}, "tcp://10.0.0.1:80"},
		{"tcp://:8080", Spec{Network: "tcp", Addr: netip.AddrPortFrom(netip.Addr{}, 8080)}, ""},
		{"tcp://0.0.0.0:0", Spec{Network: "tcp", Addr: addr("0.0.0.0:0")}, ""},
		{"udp://:53", Spec{Network: "udp", Addr: netip.AddrPortFrom(netip.Addr{}, 53)}, ""},
		{"unix:///run/app.sock", Spec{Network: "unix", Path: "/run/app.sock", Mode: 0o660}, "unix:///run/app.sock?mode=0660"},
		{"unix:///run/app.sock?mode=600", Spec{Network: "unix", Path: "/run/app.sock", Mode: 0o600}, "unix:///run/app.sock?mode=0600"},
		{"unix:///run/app.sock?group=www-data&mode=0666&user=app", Spec{Network: "unix", Path: "/run/app.sock", Mode: 0o666, User: "app", Group: "www-data"}, "unix:///run/app.sock?mode=0666&user=app&group=www-data"},
		{"unix:///run//x/../a%3Fb%25c%20d", Spec{Network: "unix", Path: "/run/a?b%c d", Mode: 0o660}, "unix:///run/a%3Fb%25c d?mode=0660"},
	} {
		got, err := Parse(c.text)
		if err != nil || !got.Equal(c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.text, got, err, c.want)
			continue
		}
		if c.as == "" {
			c.as = c.text
		}
		if got.String() != c.as {
			t.Errorf("%s is written %s, want %s", c.text, got, c.as)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for _, c := range [][2]string{
		{"", "write tcp://127.0.0.1:8080, tcp://:8080 or unix:///run/app.sock"},
		{":8080", "write tcp://127.0.0.1:8080"},
		{"http://127.0.0.1:80", `there is no network "http"; use tcp, udp or unix`},
		{"tcp://8080", "write tcp://ADDRESS:PORT"},
		{"tcp://::1:8080", "an IPv6 address in brackets"},
		{"tcp://localhost:8080", `"localhost" is no address; write one such as 127.0.0.1 or [::1]`},
		{"tcp://127.0.0.1:http", `port "http" is no number from 0 to 65535`},
		{"tcp://127.0.0.1:65536", `port "65536" is no number`},
		{"tcp://127.0.0.1:", `port "" is no number`},
		{"tcp://127.0.0.1:80/", `port "80/" is no number`},
		{"tcp://:80?mode=0600", `tcp takes no option, so no "mode"`},
		{"unix://run/app.sock", "so there are three: unix:///run/app.sock"},
		{"unix://", "the path must begin with a slash"},
		{"unix:///run/app/", "must name the socket, not a directory"},
		{"unix:///.", "must name the socket, not a directory"},
		{"unix:///run/%00", "the path has a NUL in it"},
		{"unix:///run/%zz", "a % in it is written %25"},
		{"unix:///" + strings.Repeat("x", 200), "the path has 201 bytes and the system takes"},
		{"unix:///run/a?mod=0600", `there is no option "mod"; a unix socket takes mode, user and group`},
		{"unix:///run/a?mode=0660&mode=0600", `option "mode" is there 2 times`},
		{"unix:///run/a?group=", `option "group" says nothing`},
		{"unix:///run/a?mode=rw", `mode "rw" is no octal number up to 0777`},
		{"unix:///run/a?mode=01777", `mode "01777" is no octal number up to 0777`},
		{"unix:///run/a?mode=-1", `mode "-1" is no octal`},
	} {
		if got, err := Parse(c[0]); err == nil || !strings.Contains(err.Error(), c[1]) || !strings.HasPrefix(err.Error(), `"`) {
			t.Errorf("%s: %+v, %v, want %q", c[0], got, err, c[1])
		}
	}
}

func TestEqualAndSameAddress(t *testing.T) {
	parse := func(text string) Spec {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		a, b        string
		equal, same bool
	}{
		{"tcp://127.0.0.1:80", "tcp://127.0.0.1:80", true, true},
		{"tcp://[::ffff:127.0.0.1]:80", "tcp://127.0.0.1:80", true, true},
		{"tcp://127.0.0.1:80", "tcp://127.0.0.1:81", false, false},
		{"tcp://127.0.0.1:80", "udp://127.0.0.1:80", false, false},
		{"tcp://:80", "tcp://[::]:80", false, false},
		{"unix:///a/b", "unix:///a/./b?mode=660", true, true},
		{"unix:///a", "unix:///a?mode=600", false, true},
		{"unix:///a?group=x", "unix:///a?group=y", false, true},
		{"unix:///a", "unix:///b", false, false},
	} {
		a, b := parse(c.a), parse(c.b)
		if a.Equal(b) != c.equal || a.SameAddress(b) != c.same {
			t.Errorf("%s and %s: equal %v, same address %v", a, b, a.Equal(b), a.SameAddress(b))
		}
	}
}

// What is accepted is read the same again as it is written.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"tcp://127.0.0.1:8080", "tcp://[fe80::1%eth0]:80", "tcp://:0", "tcp://:8080", "udp://[::]:53", "unix:///run/a%3F?mode=0660&user=a&group=b%26"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil || !again.Equal(s) {
			t.Errorf("%q is %+v, written %s, which is %+v, %v", text, s, s, again, err)
		}
		var told Spec
		b, err := json.Marshal(s)
		if err == nil {
			err = json.Unmarshal(b, &told)
		}
		if err != nil || !told.Equal(s) {
			t.Errorf("%q is %+v, in JSON %s, which is %+v, %v", text, s, b, told, err)
		}
	})
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"tcp://:80", "tcp://127.0.0.1:80", true},
		{"tcp://:80", "tcp://[::1]:80", true},
		{"tcp://0.0.0.0:80", "tcp://127.0.0.1:80", true},
		{"tcp://[::]:80", "tcp://[::1]:80", true},
		{"udp://127.0.0.1:80", "udp://127.0.0.1:80", true},
		{"tcp://:80", "tcp://:81", false},
		{"tcp://:80", "udp://:80", false},
		{"tcp://127.0.0.2:80", "tcp://127.0.0.1:80", false},
		{"tcp://[::]:80", "tcp://127.0.0.1:80", false},
		{"unix:///run/a", "unix:///run/a", false},
	} {
		a, errA := Parse(c.a)
		b, errB := Parse(c.b)
		if errA != nil || errB != nil || a.Overlaps(b) != c.want || b.Overlaps(a) != c.want {
			t.Errorf("%s and %s: %v, want %v (%v, %v)", c.a, c.b, a.Overlaps(b), c.want, errA, errB)
		}
	}
}
