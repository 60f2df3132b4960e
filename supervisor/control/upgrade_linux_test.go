package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
)

// A throne is the place of one supervisor, and the servers that take it one after
// the other, in this process.
type throne struct {
	t    testing.TB
	sup  *supervisor.Supervisor
	cfg  Config
	path string
	log  *syncBuffer

	mu       sync.Mutex // of the two below
	server   *Server
	listener net.Listener
	mode     os.FileMode
	n        int // how many there have been
	served   sync.WaitGroup
	halfway  func() // is called between hold and export
}

// newThrone starts one. All is ended with the test.
func newThrone(t testing.TB, cfg Config, pools ...supervisor.Pool) *throne {
	t.Helper()
	th := &throne{t: t, cfg: cfg, log: &syncBuffer{}, mode: 0o600}
	dir, err := os.MkdirTemp("", "bh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	th.path = dir + "/c.sock"
	th.sup, err = supervisor.New(supervisor.Config{Pools: pools, Log: hclog.NewNullLogger(), Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	th.cfg.Supervisor = th.sup
	if th.cfg.Log == nil {
		th.cfg.Log = hclog.New(&hclog.LoggerOptions{Output: th.log, Level: hclog.Info})
	}
	if th.cfg.Shutdown == nil {
		th.cfg.Shutdown = func() {}
	}
	ran := make(chan error, 1)
	go func() { ran <- th.sup.Run(context.Background()) }()
	(&here{t: t, sup: th.sup}).await("all ready", func(st supervisor.Status) bool {
		for _, p := range st.Pools {
			if p.Ready < p.Workers {
				return false
			}
		}
		return true
	})
	l, err := Listen(ListenConfig{Path: th.path, Mode: th.mode})
	if err != nil {
		t.Fatal(err)
	}
	th.enthrone(nil, nil, l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := th.now().Close(ctx); err != nil {
			t.Error("close:", err)
		}
		th.served.Wait()
		th.listener.Close()
		th.sup.Shutdown(false)
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return th
}

func (th *throne) now() *Server {
	th.mu.Lock()
	defer th.mu.Unlock()
	return th.server
}

// enthrone has another server serve l.
func (th *throne) enthrone(saved *Saved, in *handover.In, l net.Listener) {
	th.t.Helper()
	cfg := th.cfg
	cfg.Saved, cfg.Handover, cfg.Version = saved, in, fmt.Sprintf("v%d", th.n)
	server, err := NewServer(cfg)
	if err != nil {
		th.t.Fatal(err)
	}
	th.mu.Lock()
	th.server, th.listener = server, l
	th.n++
	th.mu.Unlock()
	th.served.Go(func() {
		if err := server.Serve(l); err != nil {
			th.t.Error("serve:", err)
		}
	})
}

// upgrade is what happens at an execve(2): another takes the throne, and of the one
// before nothing is left that could do anything.
func (th *throne) upgrade(ctx context.Context) error {
	old, l := th.now(), th.listener
	if err := old.Hold(ctx); err != nil {
		return err
	}
	if th.halfway != nil {
		th.halfway()
	}
	var out handover.Out
	saved, err := old.Export(&out)
	if err != nil {
		old.Release()
		return err
	}
	door, err := ExportListener(l, &out)
	if err != nil {
		old.Release()
		return err
	}
	in, got := handovertest.Carry(th.t, &out, parcel{saved, door})
	vanish(old, l)
	heir, err := AdoptListener(ListenConfig{Path: th.path, Mode: th.mode, Log: th.cfg.Log}, in, got.Door)
	if err != nil {
		th.t.Fatal(err)
	}
	th.enthrone(&got.Server, in, heir)
	return nil
}

// inVain is an upgrade of which nothing comes: all goes on. It returns what would have
// been handed over.
func (th *throne) inVain(ctx context.Context) (Saved, error) {
	s := th.now()
	if err := s.Hold(ctx); err != nil {
		return Saved{}, err
	}
	defer s.Release()
	var out handover.Out
	return s.Export(&out)
}

// parcel is what the one before leaves to the one that comes.
type parcel struct {
	Server Saved
	Door   SavedListener
}

// vanish closes what a program that is replaced had open, without a word to anybody.
func vanish(s *Server, l net.Listener) {
	vanishDoor(l)
	s.house.mu.Lock()
	strangers := s.house.door
	s.house.mu.Unlock()
	for _, a := range strangers {
		a.conn.Close()
	}
	s.house.close(true)
	s.http.Close()
	s.audit.close()
}

func vanishDoor(l net.Listener) {
	own, ok := l.(*Listener)
	if !ok {
		l.Close() // of a socket that was passed nothing is given up
		return
	}
	own.closing = func() error { return nil }
	close(own.done)
	<-own.watched
	for _, in := range own.inletsOpen() {
		in.stop()
	}
	own.inlets.Wait()
	own.seat.abandon()
}

// client is an HTTP client with one connection that it keeps.
func (th *throne) client() *http.Client {
	var mu sync.Mutex
	dialed := 0
	tr := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if dialed++; dialed > 1 {
			return nil, errors.New("the connection was not kept")
		}
		return new(net.Dialer).DialContext(ctx, "unix", th.path)
	}}
	th.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// crowd runs clients until the function that it returns is called, which returns how
// much each kind has done.
func (th *throne) crowd(kinds map[string]func(stop <-chan struct{}) (int, error), each int) (end func() map[string]int) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := map[string]int{}
	for name, run := range kinds {
		for range each {
			wg.Go(func() {
				n, err := run(stop)
				if err != nil {
					th.t.Errorf("%s, after %d: %v", name, n, err)
				}
				mu.Lock()
				defer mu.Unlock()
				done[name] += n
			})
		}
	}
	return func() map[string]int {
		close(stop)
		wg.Wait()
		return done
	}
}

func ended(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

var tokens atomic.Uint64

// kinds of clients, none of which may notice more than a delay.
func (th *throne) kinds() map[string]func(stop <-chan struct{}) (int, error) {
	return map[string]func(stop <-chan struct{}) (int, error){
		"posts on one connection": func(stop <-chan struct{}) (n int, err error) {
			c := th.client()
			for ; !ended(stop); n++ {
				token := fmt.Sprint("token ", tokens.Add(1))
				resp, err := c.Post("http://brood/v1/pools/web/commands/echo", "text/plain", strings.NewReader(token))
				if err != nil {
					return n, err
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(b) != token {
					return n, fmt.Errorf("%q, %v: want %q", b, err, token)
				}
			}
			return n, nil
		},
		"lines on one connection": func(stop <-chan struct{}) (n int, err error) {
			c, err := net.Dial("unix", th.path)
			if err != nil {
				return 0, err
			}
			defer c.Close()
			in := bufio.NewReader(c)
			for ; !ended(stop); n++ {
				token := fmt.Sprint("token-", tokens.Add(1))
				if _, err := fmt.Fprintf(c, "json @web echo %s\n", token); err != nil {
					return n, err
				}
				for { // a blank line is between two answers
					line, err := in.ReadString('\n')
					if err != nil {
						return n, fmt.Errorf("%q: %w", line, err)
					}
					if line == "\n" {
						continue
					}
					if !strings.Contains(line, `"outcome":"ok"`) || !strings.Contains(line, token+`"`) {
						return n, fmt.Errorf("%q, want %s", line, token)
					}
					break
				}
			}
			return n, nil
		},
		"a line on a connection": func(stop <-chan struct{}) (n int, err error) {
			for ; !ended(stop); n++ {
				token := fmt.Sprint("token-", tokens.Add(1))
				c, err := net.Dial("unix", th.path)
				if err != nil {
					return n, err
				}
				fmt.Fprintf(c, "@web echo %s\n", token)
				c.(*net.UnixConn).CloseWrite()
				b, err := io.ReadAll(c)
				c.Close()
				if err != nil || !strings.Contains(string(b), `["`+token+`"]`) {
					return n, fmt.Errorf("%q, %v: want %s", b, err, token)
				}
			}
			return n, nil
		},
		"follows events": func(stop <-chan struct{}) (n int, err error) { return th.follow(stop) },
		"polls events":   func(stop <-chan struct{}) (n int, err error) { return th.poll(stop) },
		"asks for health": func(stop <-chan struct{}) (n int, err error) {
			for ; !ended(stop); n++ {
				c, err := net.Dial("unix", th.path)
				if err != nil {
					return n, err
				}
				fmt.Fprint(c, "GET /v1/health HTTP/1.0\r\n\r\n")
				b, err := io.ReadAll(c)
				c.Close()
				if err != nil || !strings.Contains(string(b), `"health":"ok"`) {
					return n, fmt.Errorf("%q, %v", b, err)
				}
			}
			return n, nil
		},
	}
}

// follow reads the events as they come, again after each end, and wants each once.
func (th *throne) follow(stop <-chan struct{}) (n int, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-stop; cancel() }()
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", th.path)
	}}}
	defer c.CloseIdleConnections()
	var last uint64
	for !ended(stop) {
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://brood/v1/events", nil)
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Last-Event-ID", fmt.Sprint(last))
		resp, err := c.Do(req)
		if ended(stop) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		lines := bufio.NewScanner(resp.Body)
		whole := true
		for lines.Scan() {
			whole = lines.Text() == ""
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var e api.Event
			if err := json.Unmarshal([]byte(data), &e); err != nil || e.Seq != last+1 {
				return n, fmt.Errorf("after %d: %s %v", last, data, err)
			}
			last = e.Seq
		}
		resp.Body.Close()
		if err := lines.Err(); !ended(stop) && (err != nil || !whole) {
			return n, fmt.Errorf("it ended within an item: %v", err)
		}
		n++
	}
	return n, nil
}

func (th *throne) poll(stop <-chan struct{}) (n int, err error) {
	c := th.client()
	var next uint64
	for ; !ended(stop); n++ {
		resp, err := c.Get(fmt.Sprintf("http://brood/v1/events?since=%d&wait=1s", next))
		if err != nil {
			return n, err
		}
		var out api.Events
		err = json.NewDecoder(resp.Body).Decode(&out)
		resp.Body.Close()
		if err != nil {
			return n, err
		}
		for _, e := range out.Events {
			if e.Seq != next+1 {
				return n, fmt.Errorf("after %d: %+v", next, e)
			}
			next = e.Seq
		}
	}
	return n, nil
}

// patient tries until it can be, as who upgrades does.
func patient(t testing.TB, try func(context.Context) error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// upgradeRounds is how often the throne changes under a crowd.
func upgradeRounds(t testing.TB) int {
	if testing.Short() {
		return 20
	}
	return 200
}

// progress waits until the crowd has got somewhere.
func progress(t testing.TB) {
	t.Helper()
	was := tokens.Load()
	until(t, "a crowd that goes on", func() bool { return tokens.Load() > was+5 || t.Failed() })
}

// TestUpgradeUnderACrowd: no client notices that the supervisor is another one.
func TestUpgradeUnderACrowd(t *testing.T) {
	th := newThrone(t, Config{}, workers("web", 2), workers("db", 1))
	end := th.crowd(th.kinds(), 3)
	for i := range upgradeRounds(t) {
		if i%20 == 0 { // for those who follow
			if _, err := th.sup.Restart(t.Context(), supervisor.Target{Pool: "db"}); err != nil {
				t.Fatal(err)
			}
		}
		progress(t)
		patient(t, th.upgrade)
		if t.Failed() {
			break
		}
	}
	for name, n := range end() {
		if t.Logf("%s: %d", name, n); n == 0 {
			t.Errorf("%s: nothing was done", name)
		}
	}
	if text := th.log.String(); strings.Contains(text, "[ERROR]") || strings.Contains(text, "[WARN]") {
		t.Errorf("the log says: %s", text)
	}
}

// TestUpgradeThatFails: where the other program does not come, all goes on as well.
func TestUpgradeThatFails(t *testing.T) {
	th := newThrone(t, Config{}, workers("web", 2))
	end := th.crowd(th.kinds(), 3)
	for range upgradeRounds(t) {
		progress(t)
		patient(t, func(ctx context.Context) error {
			_, err := th.inVain(ctx)
			return err
		})
		if t.Failed() {
			break
		}
	}
	end()
}
