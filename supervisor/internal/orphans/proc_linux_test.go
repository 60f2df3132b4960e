package orphans

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 2 3 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 4 0 454168 0 0 18446744073709551615 4096 8192 140737 0"
	for _, c := range []struct {
		line string
		want proc
		bad  bool
	}{
		{line: "4711 (cat) S" + rest, want: proc{4711, "cat", 'S', 1, 2, 3, 4, 454168, 4096, 140737}},
		{line: "4711 (a) R 9 9 (b) Z" + rest, want: proc{4711, "a) R 9 9 (b", 'Z', 1, 2, 3, 4, 454168, 4096, 140737}},
		{line: "1 () X" + rest, want: proc{1, "", 'X', 1, 2, 3, 4, 454168, 4096, 140737}},
		{line: "1 (\x1b[2J\n) S" + rest, want: proc{1, "\uFFFD[2J\uFFFD", 'S', 1, 2, 3, 4, 454168, 4096, 140737}},
		{line: "", bad: true},
		{line: "1 (cat", bad: true},
		{line: "1 )cat( S" + rest, bad: true},
		{line: "1 (cat) S 1 2 3", bad: true},
		{line: "1 (cat) S" + strings.Replace(rest, " 1 2 3 ", " 0 -1 -1 ", 1), bad: true}, // reaped meanwhile
		{line: "x (cat) S" + rest, bad: true},
		{line: "1 (cat) S" + strings.Replace(rest, "454168", "-1", 1), bad: true},
	} {
		got, err := parseStat([]byte(c.line))
		if (err != nil) != c.bad || !c.bad && got != c.want {
			t.Errorf("%q: %+v, %v", c.line, got, err)
		}
	}
}

// TestAProcessChoosesItsName: and may choose one that looks like the rest of a
// line.
func TestAProcessChoosesItsName(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Skip("needs the program cat")
	}
	program, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), ") Z 1 1 (")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `exec "$0"`, path) // the shell's fork, so that the file is not still open for writing in another's
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ok := soon(func() bool {
		p, err := readStat(cmd.Process.Pid)
		return err == nil && p.name == ") Z 1 1 (" && p.parent == os.Getpid() && !p.ended()
	})
	if !ok {
		p, err := readStat(cmd.Process.Pid)
		t.Errorf("%+v, %v", p, err)
	}
	stdin.Close()
	_ = cmd.Wait()
}

func TestParseEnviron(t *testing.T) {
	long := "LONG=" + strings.Repeat("x", 10000)
	for _, c := range []struct {
		env  []string
		want claimed
		ok   bool
	}{
		{[]string{"A=b", "BROOD_RUN=r", "BROOD_WORKER=web/2", "BROOD_GENERATION=7"}, claimed{"web/2", 7, 0}, true},
		{[]string{long, "BROOD_RUN=r", long, "BROOD_WORKER=web/2", "BROOD_GENERATION=7", long}, claimed{"web/2", 7, 0}, true},
		{[]string{"BROOD_RUN=r.12", "BROOD_WORKER=web/2", "BROOD_GENERATION=7"}, claimed{"web/2", 7, 12}, true},
		{[]string{"BROOD_RUN=rr.12", "BROOD_WORKER=web/2", "BROOD_GENERATION=7"}, claimed{"web/2", 7, 0}, false},
		{[]string{"BROOD_RUN=other", "BROOD_WORKER=web/2", "BROOD_GENERATION=7"}, claimed{"web/2", 7, 0}, false},
		{[]string{"BROOD_WORKER=web/2", "BROOD_GENERATION=7"}, claimed{"web/2", 7, 0}, false},
		{[]string{"XBROOD_RUN=r", "BROOD_RUN", "BROOD_RUN=rr"}, claimed{}, false},
		{[]string{"LONG=" + strings.Repeat("x", 4096-5) + "BROOD_RUN=r"}, claimed{}, false},
		{nil, claimed{}, false},
	} {
		text := strings.Join(c.env, "\x00")
		if len(c.env) > 0 {
			text += "\x00"
		}
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(text), "in bytes": oneByte{strings.NewReader(text)}} {
			if got, ok, empty := parseEnviron(r, "r"); ok != c.ok || got != c.want || empty != (len(c.env) == 0) {
				t.Errorf("%.100q, %s: %+v, %v", c.env, how, got, ok)
			}
		}
	}
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:min(1, len(b))]) }

// TestReusedPidIsNotKilled: the pid is right and the start is not.
func TestReusedPidIsNotKilled(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := Kill(deadline(t), []Survivor{{PID: p.pid, Start: p.start - 1}, {PID: p.pid, Start: p.start + 1}, {PID: 1 << 30, Start: 1}}); err != nil {
		t.Error(err)
	}
	if len(living(p.pid)) != 1 {
		t.Fatal("it was killed")
	}
	if err := Kill(deadline(t), []Survivor{{PID: p.pid, Start: p.start}}); err != nil {
		t.Error(err)
	}
	stdin.Close()
	if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Error(err)
	}
}

// TestReusedNumbersProveNothing: a process, a group or a session with the
// right number and another start is a stranger.
func TestReusedNumbersProveNothing(t *testing.T) {
	leaders := &Leaders{pids: map[int]struct{}{50: {}}}
	o := &Orphans{leaders: leaders, session: 10, families: map[claimed]*Family{}, cgroups: map[string]*Family{}, claims: map[int]claim{}, known: map[int]kin{}}
	alive := o.Family(Origin{Worker: "web/1", Generation: 1, Leader: 50, Cgroup: "/brood-1/web.1.1"})
	dead := o.Family(Origin{Worker: "web/2", Generation: 1, Leader: 60})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.know(dead, proc{pid: 70, start: 100})
	o.claim(dead, 80, 200) // a session whose holder had started at 200
	o.claim(dead, 90, 0)   // one whose holder had ended
	own := func(p proc) proc {
		p.session = 10
		return p
	}
	for _, c := range []struct {
		name    string
		c       child
		f       *Family
		adopted bool
	}{
		{"seen before", child{proc: own(proc{pid: 70, group: 70, start: 100})}, dead, true},
		{"its pid, given to another", child{proc: own(proc{pid: 70, group: 70, start: 101})}, nil, false},
		{"of a living leader's group", child{proc: own(proc{pid: 71, group: 50}), groupHolder: 1}, alive, true},
		{"of a dead leader's group", child{proc: own(proc{pid: 71, group: 60})}, dead, true},
		{"its number, given to another group", child{proc: own(proc{pid: 71, group: 60}), groupHolder: 300}, nil, false},
		{"that group's own leader", child{proc: own(proc{pid: 60, group: 60, start: 300}), groupHolder: 300}, nil, false},
		{"of a session", child{proc: proc{pid: 72, session: 80}, sessionHolder: 200}, dead, true},
		{"of a session whose holder has ended", child{proc: proc{pid: 72, session: 80}}, dead, true},
		{"its number, given to another session", child{proc: proc{pid: 72, session: 80}, sessionHolder: 201}, nil, true},
		{"its number, given to this program's child", child{proc: proc{pid: 80, session: 80, group: 80, start: 201}, sessionHolder: 201, groupHolder: 201}, nil, false},
		{"of a session whose holder had ended before", child{proc: proc{pid: 72, session: 90}}, dead, true},
		{"its number, given to a later session", child{proc: proc{pid: 90, session: 90, start: 400}, sessionHolder: 400}, nil, false},
		{"in the cgroup", child{proc: proc{pid: 73, session: 73}, cgroup: "/brood-1/web.1.1"}, alive, true},
		{"in a cgroup below", child{proc: proc{pid: 73, session: 73}, cgroup: "/brood-1/web.1.1/a/b"}, alive, true},
		{"in a cgroup beside", child{proc: proc{pid: 73, session: 73}, cgroup: "/brood-1/web.1.11"}, nil, false},
		{"of the program's own", child{proc: own(proc{pid: 74, group: 10})}, nil, false},
		{"of a session that is neither its own nor ours", child{proc: proc{pid: 74, session: 75}}, nil, true},
	} {
		if f, adopted := o.kin(c.c); f != c.f || adopted != c.adopted {
			t.Errorf("%s: %+v, adopted %v", c.name, f, adopted)
		}
	}
}

// TestAParentIsNotYoungerThanItsChild: if it is, its pid was another's when the
// child was looked at.
func TestAParentIsNotYoungerThanItsChild(t *testing.T) {
	var tab table = map[int]proc{
		2: {pid: 2, parent: 1, start: 10},
		3: {pid: 3, parent: 2, start: 10},
		4: {pid: 4, parent: 3, start: 9},
		5: {pid: 5, parent: 4, start: 20},
		6: {pid: 6, parent: 7, start: 5}, // a circle can be seen, too
		7: {pid: 7, parent: 6, start: 5},
	}
	var got []int
	for _, p := range tab.descendants(1) {
		got = append(got, p.pid)
	}
	if len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("%v", got)
	}
	if n := len(tab.descendants(6)); n != 1 {
		t.Errorf("%d in a circle of two", n)
	}
}

// TestLooksAreShared: those who ask during a look get the next one, all the
// same.
func TestLooksAreShared(t *testing.T) {
	var s shared[int]
	var looks int
	first, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		got, _ := s.get(func() (int, error) {
			looks++
			close(first)
			<-release
			return looks, nil
		})
		if got != 1 {
			t.Errorf("the first got look %d", got)
		}
	})
	<-first
	for range 100 {
		wg.Go(func() {
			got, err := s.get(func() (int, error) {
				looks++
				return looks, nil
			})
			if got != 2 || err != nil {
				t.Errorf("got look %d, %v", got, err)
			}
		})
	}
	if !soon(func() bool { return s.waiting.Load() == 101 }) {
		t.Fatal("they do not wait")
	}
	close(release)
	wg.Wait()
	if looks != 2 || s.last != 0 {
		t.Errorf("%d looks; kept: %v", looks, s.last)
	}
}

// TestALookThatADeathHasCrossedIsWorthNothing: what the dead one had for a
// child may have been handed over after the look had passed it.
func TestALookThatADeathHasCrossedIsWorthNothing(t *testing.T) {
	h := open(t, false)
	tolls := []int{0, 1, 1, 2, 2, 2}
	looks := h.kids.began.Load()
	_, err := h.end(deadline(t), func(*Family) bool { return false }, func() int {
		toll := tolls[0]
		tolls = tolls[1:]
		return toll
	})
	if looks = h.kids.began.Load() - looks; err != nil || looks != 3 || len(tolls) != 0 {
		t.Errorf("%d looks, %v", looks, err)
	}
}

func TestSurvivorString(t *testing.T) {
	s := Survivor{PID: 4711, Name: "cached", Cmdline: "cached --port 80"}
	if got := s.String(); got != `4711 (cached) "cached --port 80"` {
		t.Error(got)
	}
	if err := Kill(context.Background(), nil); err != nil {
		t.Error(err)
	}
}
