package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// go test -run Soak ./cmd/brood -soak 30m -v
var soakFor = flag.Duration("soak", 4*time.Second, "how long TestSoak goes on")

// TestSoak has a real `brood run` with several pools live through all that can
// happen to it at once: clients of both tongues, workers that are killed, hang and
// leave processes behind, restarts, stops, scaling, reloads, faulty reloads, upgrades. In
// between it is left alone a few times, and must then be healthy, with as many
// processes, descriptors and threads, and as much memory, as the first time.
func TestSoak(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it looks into /proc")
	}
	k := newSoak(t)
	rests := time.Duration(6)
	if *soakFor < 30*time.Second {
		rests = 2
	}
	spell := *soakFor / rests
	var first vitals
	for i := range rests {
		k.rage(spell)
		k.calm()
		v := k.vitals()
		t.Logf("%d: %+v; %v", i+1, v, &k.tally)
		if i == 0 {
			first = v
		} else {
			k.hold(first, v)
		}
		if t.Failed() {
			return
		}
	}
	k.finish()
}

// soak is a supervisor under load.
type soak struct {
	t     *testing.T
	s     *server
	file  string
	round atomic.Int64 // of configurations
	tally tally
}

// tally counts how commands ended, and what was done to the supervisor.
type tally struct{ ok, no, lost, timeout, busy, down, kills, hangs, orders, upgrades, reloads, refused, events, lines atomic.Int64 }

func (y *tally) String() string {
	return fmt.Sprintf("%d ok, %d said no, %d lost, %d timeout, %d overloaded, %d not up; %d killed, %d hung, %d orders, %d upgrades, %d reloads, %d faulty ones; %d events, %d lines of output",
		y.ok.Load(), y.no.Load(), y.lost.Load(), y.timeout.Load(), y.busy.Load(), y.down.Load(), y.kills.Load(), y.hangs.Load(), y.orders.Load(), y.upgrades.Load(), y.reloads.Load(), y.refused.Load(), y.events.Load(), y.lines.Load())
}

// soakWorkers is how many there are when all is calm.
const soakWorkers = 4 + 2 + 2

// config writes the file anew. Another round is another environment, so that the
// workers roll.
func (k *soak) config(workers int, extra string) {
	k.t.Helper()
	text := fmt.Sprintf(`pools:
  web:
    command: [echo-worker]
    workers: %d
    env: {ROUND: "%d"}
    ready: {when: hello}
    health: {ping: 200ms, timeout: 200ms, failures: 2}
    restart: {backoff: 10ms..200ms, budget: off, rate: off}
    stop: {timeout: 2s}
    rollout: {soak: 50ms}
    dispatch: {queue: 16, timeout: 2s}
    recycle: {commands: 3000}
  jobs:
    command: [echo-worker]
    workers: 2
    ready: {when: hello}
    restart: {backoff: 10ms..200ms, budget: off, rate: off}
    recycle: {age: 2s}
    rollout: {surge: 0, unavailable: 1, soak: 0s}
    stop: {timeout: 2s}
    after: [web]
  plain:
    command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo "line $i"; (sleep 0.2 & :); (setsid sleep 1000 & :); sleep 0.2; [ $i -lt 16 ] || exit 3; done']
    workers: 2
    ready: {log: "line 1"}
    restart: {backoff: 10ms..200ms, budget: off, rate: off}
    stop: {timeout: 1s}
%s`, workers, k.round.Add(1), extra)
	if err := os.WriteFile(k.file, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func newSoak(t *testing.T) *soak {
	k := &soak{t: t, file: filepath.Join(t.TempDir(), "brood.yaml")}
	k.config(4, "")
	k.s = serve(t, "-c", k.file, "--log-level", "error")
	return k
}

// client is a new one for each actor.
func (k *soak) client() *client.Client { return client.New(k.s.socket) }

// rage has everything happen at once for d.
func (k *soak) rage(d time.Duration) {
	ctx, cancel := context.WithTimeout(k.t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { k.calls(ctx, i) })
	}
	for i := range 2 {
		wg.Go(func() { k.speaks(ctx, i) })
	}
	wg.Go(func() { k.kills(ctx) })
	wg.Go(func() { k.orders(ctx) })
	wg.Go(func() { k.reloads(ctx) })
	wg.Go(func() { k.looks(ctx) })
	wg.Go(func() { k.follows(ctx) })
	wg.Wait()
}

// calls sends commands one after the other, to workers, generations and pools.
func (k *soak) calls(ctx context.Context, who int) {
	c := k.client()
	defer c.Close()
	for i := 0; ctx.Err() == nil; i++ {
		target := []string{"web", fmt.Sprintf("web/%d", 1+rand.IntN(6)), fmt.Sprintf("web/1#%d", 1+rand.IntN(50)), "jobs", "plain/1"}[rand.IntN(5)]
		text := fmt.Sprintf("%d.%d", who, i)
		call, cancel := context.WithTimeout(k.t.Context(), 20*time.Second) // a lost outcome, not the soak's end
		began := time.Now()
		switch rand.IntN(10) {
		case 0:
			_, err := c.Call(call, target, "fail", ipc.Text("[]"))
			k.outcome(target, began, err)
		case 1: // the caller gives up
			short, stop := context.WithTimeout(call, 5*time.Millisecond)
			_, err := c.Call(short, target, "sleep", jsonArgs("1s"))
			stop()
			k.outcome(target, began, err)
		case 2:
			var got strings.Builder
			_, err := c.CallStream(call, target, "count", jsonArgs("5"), func(p api.Piece) error {
				got.Write(p.Data)
				return nil
			})
			if err == nil && strings.Count(got.String(), `\n`) != 5 {
				k.t.Errorf("count 5 streamed %q", got.String())
			}
			k.outcome(target, began, err)
		case 3:
			_, err := c.CallAll(call, "*", "pid", ipc.Message{})
			k.outcome("*", began, err)
		default:
			r, err := c.Call(call, target, "echo", jsonArgs(text))
			if err == nil && string(r.Message.Payload) != text {
				k.t.Errorf("%s: echo %s answered %q", target, text, r.Message.Payload)
			}
			k.outcome(target, began, err)
		}
		cancel()
	}
}

func jsonArgs(words ...string) ipc.Message {
	return ipc.Message{Codec: ipc.CodecJSON, Payload: fmt.Appendf(nil, `["%s"]`, strings.Join(words, `","`))}
}

// outcome counts how a command ended. Law 3: in one of these ways, in its time.
func (k *soak) outcome(target string, began time.Time, err error) {
	if d := time.Since(began); d > 15*time.Second {
		k.t.Errorf("%s: an outcome took %v: %v", target, d, err)
	}
	switch {
	case err == nil:
		k.tally.ok.Add(1)
	case errors.Is(err, ipc.ErrLost):
		k.tally.lost.Add(1)
	case errors.Is(err, ipc.ErrTimeout), errors.Is(err, ipc.ErrCanceled):
		k.tally.timeout.Add(1)
	case errors.Is(err, ipc.ErrOverloaded):
		k.tally.busy.Add(1)
	case errors.Is(err, ipc.ErrUnavailable), errors.Is(err, client.ErrNotFound), isStale(err):
		k.tally.down.Add(1)
	default:
		var e *client.Error
		if !errors.As(err, &e) || e.Code != api.CodeError {
			k.t.Errorf("%s: no outcome there is: %v", target, err)
		}
		k.tally.no.Add(1)
	}
}

func isStale(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Code == api.CodeStale
}

// speaks the line protocol, several commands at a time; sometimes it hangs up in
// the middle.
func (k *soak) speaks(ctx context.Context, who int) {
	for i := 0; ctx.Err() == nil; i++ {
		c, err := net.DialTimeout("unix", k.s.socket, 20*time.Second)
		if err != nil {
			k.t.Errorf("connect: %v", err)
			return
		}
		fmt.Fprintf(c, "@web echo %d.%d; show workers; @web/2 sleep 5ms; health\n", who, i)
		if i%5 != 0 {
			c.(interface{ CloseWrite() error }).CloseWrite()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			b, err := io.ReadAll(c)
			if err != nil {
				k.t.Errorf("the line protocol: %v after %q", err, b)
			} else if n := strings.Count(string(b), "\n\n"); n < 3 {
				k.t.Errorf("4 commands, %d answers: %q", n+1, b)
			}
		}
		c.Close()
	}
}

// kills workers, and stops some as hung ones are.
func (k *soak) kills(ctx context.Context) {
	c := k.client()
	defer c.Close()
	for i := 1; sleepFor(ctx, 60*time.Millisecond); i++ {
		st, err := c.Status(ctx)
		if err != nil {
			continue
		}
		var all []api.Worker
		for _, p := range st.Pools {
			all = append(all, p.Slots...)
		}
		w := all[rand.IntN(len(all))]
		if w.PID == 0 {
			continue
		}
		if i%10 == 0 && strings.HasPrefix(w.Target, "web/") {
			syscall.Kill(w.PID, syscall.SIGSTOP)
			k.tally.hangs.Add(1)
			continue
		}
		syscall.Kill(w.PID, syscall.SIGKILL)
		k.tally.kills.Add(1)
	}
}

// orders restarts, stops, starts and scales, with and without waiting.
func (k *soak) orders(ctx context.Context) {
	c := k.client()
	defer c.Close()
	for sleepFor(ctx, 30*time.Millisecond) {
		wait, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(1500))*time.Millisecond)
		slot := fmt.Sprintf("web/%d", 1+rand.IntN(3))
		switch rand.IntN(7) {
		case 0:
			c.Order(wait, "restart", "web")
		case 1:
			c.Order(wait, "restart", slot)
		case 2:
			c.Order(wait, "stop", slot)
		case 3:
			c.Order(wait, "start", "web")
		case 4:
			c.Scale(wait, "web", 3+rand.IntN(4))
		case 5:
			c.Order(wait, "restart", "jobs")
		case 6:
			if _, err := c.Upgrade(wait); err == nil {
				k.tally.upgrades.Add(1)
			}
		}
		cancel()
		k.tally.orders.Add(1)
	}
}

// reloads changes the file: one pool's environment, a pool more, a fault.
func (k *soak) reloads(ctx context.Context) {
	c := k.client()
	defer c.Close()
	for i := 0; sleepFor(ctx, 150*time.Millisecond); i++ {
		extra := ""
		switch i % 3 {
		case 1:
			extra = "  more: {command: [echo-worker], ready: {when: hello}, stop: {timeout: 2s}}\n"
		case 2:
			extra = "  bad: {comand: [echo-worker]}\n"
		}
		k.config(3+rand.IntN(3), extra)
		wait, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, err := c.Reload(wait, i%7 == 0)
		k.tally.reloads.Add(1)
		if i%3 == 2 && wait.Err() == nil {
			if err == nil {
				k.t.Error("a faulty configuration was taken")
			}
			k.tally.refused.Add(1)
		}
		cancel()
	}
}

// looks at what must always be there, and for what must never be.
func (k *soak) looks(ctx context.Context) {
	c := k.client()
	defer c.Close()
	for sleepFor(ctx, 20*time.Millisecond) {
		began := time.Now()
		_, err := c.Health(k.t.Context(), "", 0)
		if err != nil {
			k.t.Errorf("health: %v", err)
		}
		if d := time.Since(began); d > 5*time.Second {
			k.t.Errorf("health took %v", d)
		}
		// Law 1: a slot has one worker, or in a rollout two.
		for name, pids := range k.liveWorkers() {
			if len(pids) <= 2 {
				continue
			}
			// Looking takes time, in which some end and others begin: those that are
			// there when all have been looked at were there together.
			if pids = slices.DeleteFunc(pids, isGone); len(pids) > 2 {
				k.t.Errorf("%s has %d live workers: %v", name, len(pids), pids)
			}
		}
	}
}

// liveWorkers are processes by the BROOD_WORKER in their environment; those that
// lead no group are not workers but what they have started, and so is what setsid(1)
// makes of itself.
func (k *soak) liveWorkers() map[string][]int {
	pids := map[string][]int{}
	for _, p := range childrenOf(k.s.cmd.Process.Pid) {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		i := strings.Index(string(env), "BROOD_WORKER=")
		if pgid, _ := syscall.Getpgid(p.pid); i < 0 || p.state == "Z" || pgid != p.pid {
			continue
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid)) // now that it leads a group it has become what it is
		if name := strings.TrimSpace(string(comm)); name == "setsid" || name == "sleep" {
			continue
		}
		name, _, _ := strings.Cut(string(env[i+len("BROOD_WORKER="):]), "\x00")
		pids[name] = append(pids[name], p.pid)
	}
	return pids
}

// follows the events, which come without gaps, and the output; again after each
// upgrade, which ends that.
func (k *soak) follows(ctx context.Context) {
	c := k.client()
	defer c.Close()
	again := func(follow func()) {
		for follow(); sleepFor(ctx, 5*time.Millisecond); follow() {
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		again(func() {
			c.Logs(ctx, "", 0, true, func(api.LogLine) error {
				k.tally.lines.Add(1)
				return nil
			})
		})
	})
	e, err := c.Events(k.t.Context(), 0, 0, "")
	if err != nil {
		k.t.Errorf("events: %v", err)
		return
	}
	last := e.Next - 1
	if len(e.Events) > 0 {
		last = e.Events[len(e.Events)-1].Seq
	}
	again(func() {
		c.FollowEvents(ctx, last, "", func(e api.Events) error {
			if e.Missed > 0 || e.Next != last+1 {
				k.t.Errorf("event %d comes after %d, and %d are missed", e.Next, last, e.Missed)
			}
			last = max(last, e.Next)
			k.tally.events.Add(int64(len(e.Events)))
			return nil
		})
	})
	wg.Wait()
}

func sleepFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// calm puts everything back and waits until it is well.
func (k *soak) calm() {
	k.t.Helper()
	c := k.client()
	defer c.Close()
	k.config(4, "")
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	for {
		_, err := c.Reload(ctx, false)
		if err == nil {
			break
		}
		if !sleepFor(ctx, 50*time.Millisecond) { // one may be under way
			k.t.Fatalf("reload: %v", err)
		}
	}
	c.Order(ctx, "start", "*")
	if _, err := c.Scale(ctx, "web", 4); err != nil {
		k.t.Fatalf("scale: %v", err)
	}
	k.s.awaitHealthy()
	if _, err := c.Upgrade(ctx); err != nil {
		k.t.Fatalf("upgrade: %v", err)
	}
	k.s.awaitHealthy()
}

// vitals are what must not grow.
type vitals struct{ Processes, FDs, Threads, RSSKiB int }

func (k *soak) vitals() vitals {
	k.t.Helper()
	pid := k.s.cmd.Process.Pid
	read := func() (v vitals) {
		for _, pids := range k.liveWorkers() {
			v.Processes += len(pids)
		}
		if zombies := slices.ContainsFunc(childrenOf(pid), func(p child) bool { return p.state == "Z" }); zombies {
			v.Processes = -1
		}
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		v.FDs = len(fds)
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			switch f[0] {
			case "Threads:":
				v.Threads, _ = strconv.Atoi(f[1])
			case "VmRSS:":
				v.RSSKiB, _ = strconv.Atoi(f[1])
			}
		}
		return v
	}
	// A plain worker ends every few seconds, so it is looked at until it is as it
	// should be, and stays as it is for a moment.
	var v vitals
	until(k.t, fmt.Sprintf("%d workers, no zombies, as many descriptors twice in a row", soakWorkers), func() bool {
		v = read()
		time.Sleep(50 * time.Millisecond) // the moment for which it must stay so
		again := read()
		return v.Processes == soakWorkers && again.FDs == v.FDs && again.Processes == v.Processes
	})
	return v
}

// hold compares with the first time. Descriptors: a plain worker may be just about
// to be replaced. Memory: Go gives it back late.
func (k *soak) hold(first, now vitals) {
	k.t.Helper()
	if now.FDs > first.FDs+8 {
		k.t.Errorf("descriptors: %d, and at first %d", now.FDs, first.FDs)
	}
	if now.Threads > first.Threads+16 {
		k.t.Errorf("threads: %d, and at first %d", now.Threads, first.Threads)
	}
	if now.RSSKiB > first.RSSKiB*3/2+16<<10 {
		k.t.Errorf("memory: %d KiB, and at first %d", now.RSSKiB, first.RSSKiB)
	}
}

// finish stops it; nothing is left.
func (k *soak) finish() {
	k.t.Helper()
	if code := k.s.stop(syscall.SIGTERM); code != 0 {
		k.t.Errorf("it ends with %d: %v", code, k.s.log)
	}
	if k.tally.ok.Load() == 0 || k.tally.kills.Load() == 0 || k.tally.events.Load() == 0 || k.tally.lines.Load() == 0 || k.tally.refused.Load() == 0 {
		k.t.Errorf("little has happened: %v", &k.tally)
	}
}
