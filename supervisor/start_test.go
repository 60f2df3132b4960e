package supervisor

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// quick is a pool that tries again at once, three times.
func quick(command ...string) Pool {
	return Pool{
		Name: "job", Command: command, Ready: Ready{When: ReadyAlive, Timeout: time.Minute},
		Restart: Restart{BackoffMin: time.Millisecond, BackoffMax: 2 * time.Millisecond, Budget: 3, Window: time.Hour},
	}
}

// What can't be started is tried again, then given up, and says what is wrong.
func TestStartThatFails(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	elsewhere := quick("sleep", "1000")
	elsewhere.Dir = filepath.Join(dir, "missing")
	for _, c := range []struct {
		name string
		pool Pool
		why  string
	}{
		{"missing program", quick("/no/such/program"), "it could not be started: stat /no/such/program: no such file or directory"},
		{"not in PATH", quick("no-such-program"), `it could not be started: "no-such-program" is not in PATH`},
		{"no program", quick(text), text + " may not be executed: permission denied"},
		{"missing directory", elsewhere, "it could not be started: working directory: stat " + elsewhere.Dir},
		{"exits at once", quick("sh", "-c", "exit 9"), "exit code 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, Config{Pools: []Pool{c.pool}, Log: discard()})
			await(t, s, "it to be given up", func(st Status) bool { return st.Pools[0].Slots[0].State == HasFailed })
			w := s.Status().Pools[0].Slots[0]
			if !strings.Contains(w.Reason, c.why) || !strings.HasSuffix(w.Reason, "; 3 restarts within 1h0m0s are used up") {
				t.Errorf("reason %q", w.Reason)
			}
			if w.Generation != 4 || w.Restarts != 3 || w.PID != 0 || !strings.Contains(w.LastExit.String(), c.why) {
				t.Errorf("%+v, %+v", w, w.LastExit)
			}
			inOrder(t, s, func(Event) bool { return true }, "state starting", "exit", "state starting: restarted after", "exit", // the first time at once
				"state backoff", "state starting", "exit", "state backoff", "state starting", "exit", "state failed")
			// A start by hand is exempt, and fails for the same reason.
			results, err := s.Start(within(t, time.Minute), Target{Pool: "job", Slot: 1})
			if err != nil || results[0].Outcome != OutcomeFailed || !strings.Contains(results[0].Text, c.why) {
				t.Errorf("%+v, %v", results, err)
			}
		})
	}
}

// Once what was missing is there, a start by hand is all it takes.
func TestStartAfterTheCauseIsMended(t *testing.T) {
	dir := t.TempDir()
	later, vars := quick("sleep", "1000"), quick("sleep", "1000")
	later.Dir = filepath.Join(dir, "later")
	vars.EnvFile = []string{filepath.Join(dir, "vars")}
	for _, c := range []struct {
		name string
		pool Pool
		mend func() error
	}{
		{"dir", later, func() error { return os.Mkdir(later.Dir, 0o755) }},
		{"env_file", vars, func() error { return os.WriteFile(vars.EnvFile[0], []byte("A=b\n"), 0o600) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := run(t, Config{Pools: []Pool{c.pool}, Log: discard()})
			await(t, s, "it to be given up", func(st Status) bool { return st.Pools[0].Slots[0].State == HasFailed })
			if err := c.mend(); err != nil {
				t.Fatal(err)
			}
			results, err := s.Start(within(t, time.Minute), Target{Pool: "job", Slot: 1})
			if err != nil || results[0].Outcome != OutcomeDone || !results[0].Slot.Ready {
				t.Errorf("%+v, %v", results, err)
			}
		})
	}
}

// A user who is made after the first start that needed them is found by the next.
func TestUserIsLookedUpUntilFound(t *testing.T) {
	own, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	l := launch{pool: &Pool{User: "no-such-user"}}
	if _, err := l.attributes(); err == nil {
		t.Fatal("it was found")
	}
	l.pool.User = own.Username
	if _, err := l.attributes(); err != nil {
		t.Error(err)
	}
}

// An environment file that has become a FIFO fails the start and holds nothing
// up: neither the starts of others nor the end.
func TestEnvFileThatBecomesAFIFO(t *testing.T) {
	p := quick("sleep", "1000")
	p.Workers, p.EnvFile = 3, []string{filepath.Join(t.TempDir(), "vars")} // more than there are spawners
	if err := os.WriteFile(p.EnvFile[0], []byte("A=b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := run(t, Config{Pools: []Pool{p, {Name: "other", Command: []string{"sleep", "1000"}, Ready: Ready{When: ReadyAlive}}}, Log: discard()})
	await(t, s, "all ready", allReady)
	if err := os.Remove(p.EnvFile[0]); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(p.EnvFile[0], 0o600); err != nil {
		t.Fatal(err)
	}
	for slot := 1; slot <= p.Workers; slot++ {
		results, err := s.Restart(within(t, time.Minute), Target{Pool: "job", Slot: slot})
		if err != nil || results[0].Outcome != OutcomeFailed || !strings.Contains(results[0].Text, p.EnvFile[0]+" is not a regular file") {
			t.Errorf("%+v, %v", results, err)
		}
	}
	for _, to := range []Target{{Pool: "job", Slot: 1}, {Pool: "other", Slot: 1}} {
		if results, err := s.Stop(within(t, time.Minute), to); err != nil || results[0].Outcome == OutcomeTimeout {
			t.Errorf("%v: %+v, %v", to, results, err)
		}
	}
	results, err := s.Start(within(t, time.Minute), Target{Pool: "other", Slot: 1})
	if err != nil || results[0].Outcome != OutcomeDone {
		t.Errorf("%+v, %v", results, err)
	}
}

// TestBusyProgram: a program that somebody else still holds open for writing
// (ETXTBSY) is started as soon as it is let go.
func TestBusyProgram(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fresh")
	if err := os.WriteFile(path, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command("sh", "-c", "read line")
	holder.ExtraFiles = []*os.File{writer}
	let, err := holder.StdinPipe()
	if err == nil {
		err = holder.Start()
	}
	writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	p := quick(path, "1000")
	p.Restart.Budget = -1
	s := run(t, Config{Pools: []Pool{p}, Log: discard()})
	await(t, s, "a start that fails", func(st Status) bool { return st.Pools[0].Slots[0].LastExit != nil })
	if e := s.Status().Pools[0].Slots[0].LastExit; !strings.Contains(e.Err, "text file busy") {
		t.Errorf("%+v", e)
	}
	let.Close()
	if err := holder.Wait(); err != nil {
		t.Log(err) // read fails at the end of its input
	}
	await(t, s, "it to be ready", allReady)
}
