package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

func init() {
	testWorkers["feeds"] = func() { notifies(0) }
	testWorkers["feeds-later"] = func() { notifies(1500 * time.Millisecond) }
	testWorkers["paused"] = paused
}

// notifies says READY=1 after a while, then WATCHDOG=1 again and again, until
// nobody takes it any more.
func notifies(after time.Duration) {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		log.Fatal(err)
	}
	<-time.After(after)
	for text := "READY=1"; err == nil; text = "WATCHDOG=1" {
		_, err = c.Write([]byte(text))
		<-time.After(100 * time.Millisecond)
	}
}

// paused is a supervisor that says when its first pool is ready and, when its input
// has ended, what has gone wrong until some time after it was absent.
func paused() {
	absent := make(chan struct{})
	logs := &firstWith{text: "did not run for a while", found: absent}
	feeds := Pool{Name: "feeds", Command: asWorker("feeds"), Workers: 8, Ready: Ready{When: ReadyNotify}, Health: Health{Beat: 2 * time.Second}}
	later := Pool{Name: "later", Command: asWorker("feeds-later"), Workers: 4, Ready: Ready{When: ReadyNotify, Timeout: 4 * time.Second}}
	s, err := New(Config{Pools: []Pool{feeds, later}, Log: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: logs})})
	if err != nil {
		log.Fatal(err)
	}
	wrong := func() (all []string) {
		events, _ := s.Events(0)
		for _, e := range events {
			if e.Kind == EventHung || e.Kind == EventExit || strings.HasPrefix(e.Text, "stopping") {
				all = append(all, fmt.Sprintf("%s/%d %s %s", e.Pool, e.Slot, e.Kind, e.Text))
			}
		}
		return all
	}
	go func() {
		for {
			_, news := s.Events(0)
			if s.Status().Pools[0].Ready == feeds.Workers {
				break
			}
			<-news
		}
		out := json.NewEncoder(os.Stdout)
		_ = out.Encode("ready")
		_, _ = os.Stdin.Read(make([]byte, 1))
		for limit := time.Now().Add(time.Minute); len(wrong()) == 0 && time.Now().Before(limit); {
			select {
			case <-absent:
				<-time.After(feeds.Health.Beat * 3 / 2) // nothing may come of it later either
				limit = time.Now()
			case <-time.After(10 * time.Millisecond):
			}
		}
		_ = out.Encode(append(wrong(), "nothing else"))
		s.Shutdown(true)
	}()
	if err := s.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// firstWith is a log in which a text is looked for.
type firstWith struct {
	text  string
	found chan struct{} // closed at the first
}

func (f *firstWith) Write(b []byte) (int, error) {
	if f.text != "" && strings.Contains(string(b), f.text) {
		f.text = ""
		close(f.found)
	}
	return len(b), nil
}

// TestStoppedSupervisorBlamesNobody: signs of life, and a READY, that came while the
// supervisor itself was stopped count when it goes on.
func TestStoppedSupervisorBlamesNobody(t *testing.T) {
	cmd, stdin, stdout := startAs(t, "paused")
	said := bufio.NewScanner(stdout)
	if !said.Scan() || said.Text() != `"ready"` {
		t.Fatalf("%q, %v", said.Text(), said.Err())
	}
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second) // longer than anything is waited for
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	if !said.Scan() || said.Text() != `["nothing else"]` {
		t.Errorf("after it went on: %q, %v", said.Text(), said.Err())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
