package process

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func init() {
	programs["look-up-users"] = func() {
		for _, names := range lookups {
			c, err := LookupUser(names[0], names[1])
			fmt.Println(c != nil, err)
		}
	}
}

// Whatever id(1) says of a user, a worker of theirs gets.
func TestLookupUserFindsWhatIDFinds(t *testing.T) {
	needRoot(t)
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSpace(l), ":")
		if len(f) < 7 {
			continue
		}
		out, err := exec.Command("id", "-G", f[0]).Output()
		if err != nil {
			t.Fatal(err)
		}
		var want []uint32
		for _, text := range strings.Fields(string(out)) {
			gid, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, uint32(gid))
		}
		slices.Sort(want)
		for _, name := range []string{f[0], f[2]} {
			c, err := LookupUser(name, "")
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if c.User != f[0] { // several names may have one number
				continue
			}
			if got := fmt.Sprintf("%d:%d %s", c.UID, c.GID, c.Home); got != f[2]+":"+f[3]+" "+f[5] || !slices.Equal(c.Groups, slices.Compact(want)) {
				t.Errorf("%s: %+v, want %q and groups %v", name, c, f, want)
			}
		}
	}
}

func TestLookupUser(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		user, group string
		want        string // of the error, or uid, gid and groups
	}{
		{"", "", "nothing"},
		{"nobody", "", "65534 65534 [65534]"},
		{"nobody", "daemon", "65534 1 [1]"}, // the group of the entry is replaced
		{"nobody", "4321", "65534 4321 [4321]"},
		{"4321", "4322", "4321 4322 [4322]"},
		{"", "daemon", "0 1 [1]"},
		{"root", "", "0 0 [0]"},
		{"4321", "", "the system knows no user with the number 4321, and so not which group is theirs"},
		{"no-such-user", "", `the system knows no user "no-such-user"; make it (useradd --system no-such-user)`},
		{"nobody", "no-such-group", `the system knows no group "no-such-group"; make it (groupadd --system no-such-group)`},
		{"4294967295", "", `user "4294967295": an id is a number from 0 to 4294967294`},
		{"nobody", "99999999999", `group "99999999999": an id is a number`},
	} {
		got := "nothing"
		if cred, err := LookupUser(c.user, c.group); err != nil {
			got = err.Error()
		} else if cred != nil {
			got = fmt.Sprint(cred.UID, cred.GID, cred.Groups)
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("user %q, group %q: %s, want %s", c.user, c.group, got, c.want)
		}
	}
}

var lookups = [][2]string{{"", ""}, {"nobody", ""}, {"65534", "65534"}, {"root", ""}, {"nobody", "daemon"}, {"", "daemon"}, {"no-such-user", ""}}

func TestLookupUserWithoutBeingRoot(t *testing.T) {
	got := outcomes(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", reachable(t), "as-program", "look-up-users")
	compare(t, got,
		"false <nil>",
		"false <nil>",
		"false <nil>",
		"false only root can become user root (uid 0, gid 0) and brood runs as uid 65534; start it as root, or leave user: and group: away and start it as that user",
		"false only root can become user nobody (uid 65534, gid 1)",
		"false only root can become uid 65534, gid 1",
		`false the system knows no user "no-such-user"`,
	)
}
