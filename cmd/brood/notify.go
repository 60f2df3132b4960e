package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control"
)

// What `brood run` says to the service manager that has started it, sd_notify(3).
//
// READY=1 comes when the control socket is served and each pool is up, or has a
// slot that was given up, at the latest after readyAtLast: a supervisor with a pool
// that does not come up is of use to the others, and STATUS= says what is wrong.

// readyAtLast is less than systemd's DefaultTimeoutStartSec= of 90 s.
const readyAtLast = 60 * time.Second

// Each of these may be late by as much without anybody taking notice.
const (
	statusEvery = time.Second      // at most so often is STATUS= said
	extendEvery = 10 * time.Second // so often is time asked for while stopping
	extendBy    = 30 * time.Second
	notifyTime  = time.Second // for a message to be taken
)

// notifier knows the manager's socket. A nil one says nothing.
type notifier struct {
	addr     *net.UnixAddr
	watchdog time.Duration // WATCHDOG=1 must come this often; 0: need not
	log      hclog.Logger

	promised    atomic.Bool            // READY=1 was said
	interrupted bool                   // by RELOADING=1, for an upgrade; belongs to who upgrades
	reloads     chan (<-chan struct{}) // each is closed when a reload is over, of which RELOADING=1 was said
}

// newNotifier reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Workers do not
// get them: they have a supervisor to speak to.
func newNotifier(log hclog.Logger) *notifier {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" || path[0] != '/' && path[0] != '@' {
		return nil
	}
	n := &notifier{addr: &net.UnixAddr{Name: path, Net: "unixgram"}, log: log, reloads: make(chan (<-chan struct{}))}
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
			n.watchdog = time.Duration(us) * time.Microsecond
		}
	}
	return n
}

// say sends assignments, one message. Nobody is there to be told of a failure but
// the log.
func (n *notifier) say(assignments ...string) {
	if n == nil {
		return
	}
	c, err := net.DialUnix("unixgram", nil, n.addr)
	if err == nil {
		defer c.Close()
		c.SetWriteDeadline(time.Now().Add(notifyTime))
		_, err = c.Write([]byte(strings.Join(assignments, "\n")))
	}
	if err != nil {
		n.log.Debug("sd_notify", "error", err)
	}
}

// around says that a reload goes on, and that it is over, which may be later than
// that who asked for it waits. Before READY=1 was said once there is nothing to say.
func (n *notifier) around(sup *supervisor.Supervisor, reload reloadFunc) reloadFunc {
	if n == nil || reload == nil {
		return reload
	}
	return func(ctx context.Context, dryRun bool) ([]supervisor.Change, error) {
		if dryRun || !n.promised.Load() {
			return reload(ctx, dryRun)
		}
		n.sayReloading()
		changes, err := reload(ctx, dryRun)
		select {
		case n.reloads <- sup.Reloaded():
		case <-sup.Done():
		}
		return changes, err
	}
}

// sayReloading says that READY=1 will come again.
func (n *notifier) sayReloading() {
	n.say("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
}

// monotonic is CLOCK_MONOTONIC, clock_gettime(2).
func monotonic() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// actor is what speaks while the supervisor runs, for a run.Group.
func (n *notifier) actor(sup *supervisor.Supervisor) (execute func() error, interrupt func(error)) {
	ctx, stop := context.WithCancel(context.Background())
	return func() error {
			<-sup.Begun()
			n.attend(ctx, sup)
			return nil
		}, func(error) {
			<-sup.Done() // a stop wants the watchdog fed, and always ends
			stop()
		}
}

// attend says how the supervisor is, until ctx ends.
func (n *notifier) attend(ctx context.Context, sup *supervisor.Supervisor) {
	if n == nil {
		<-ctx.Done()
		return
	}
	atLast := time.NewTimer(readyAtLast)
	defer atLast.Stop()
	feed, stopFeed := every(n.watchdog / 2)
	defer stopFeed()
	extend, stopExtend := every(extendEvery)
	defer stopExtend()

	words := words{n: n, sup: sup}
	stopping := sup.Stopping()
	news := words.look()
	var again <-chan time.Time   // set while news waits for its turn
	var reloaded <-chan struct{} // set while a reload goes on
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
			news, again = nil, time.After(words.patience())
		case <-again:
			news, again = words.look(), nil
		case <-atLast.C:
			words.ready()
		case reloaded = <-n.reloads:
		case <-reloaded:
			reloaded = nil
			words.reloaded()
		case <-feed:
			n.feed(ctx, sup)
		case <-stopping:
			stopping = nil
			words.stop()
		case <-extend:
			if words.stopping {
				n.say(extendWord)
			}
		}
	}
}

// every is a ticker, or a channel on which nothing comes where d is 0.
func every(d time.Duration) (<-chan time.Time, func()) {
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// feed the watchdog, if the supervisor's loop comes round before the next time.
func (n *notifier) feed(ctx context.Context, sup *supervisor.Supervisor) {
	ctx, cancel := context.WithTimeout(ctx, n.watchdog/2)
	defer cancel()
	if err := sup.Beat(ctx); err != nil {
		n.log.Warn("the watchdog is not fed", "error", err)
		return
	}
	n.say("WATCHDOG=1")
}

var extendWord = fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds())

// words are what was said, so that nothing is said twice.
type words struct {
	n        *notifier
	sup      *supervisor.Supervisor
	isReady  bool
	stopping bool
	status   string
}

// patience is how long to wait with what has just happened: much happens at once.
func (w *words) patience() time.Duration {
	if w.isReady {
		return statusEvery
	}
	return 20 * time.Millisecond
}

// look says what is new. The channel is closed when there is more to see.
func (w *words) look() <-chan struct{} {
	const noEvents = math.MaxUint64 - 1 // the bell alone
	_, news := w.sup.Events(noEvents)
	st := w.sup.Status()
	if text := statusText(st); text != w.status && !w.stopping {
		w.status = text
		w.n.say("STATUS=" + text)
	}
	if isUp(st) {
		w.ready()
	}
	return news
}

func (w *words) ready() {
	if !w.isReady && !w.stopping {
		w.isReady = true
		w.n.promised.Store(true)
		w.n.say("READY=1")
	}
}

func (w *words) reloaded() {
	if !w.stopping {
		w.n.say("READY=1")
	}
}

func (w *words) stop() {
	w.stopping = true
	w.n.say("STOPPING=1", "STATUS=stopping", extendWord)
}

// statusText is one line: what `brood health` says.
func statusText(st supervisor.Status) string {
	h := control.Health(st)
	text := h.Text
	if h.Health != "ok" {
		text = h.Health + ": " + text
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// isUp: each pool is up, or has a slot that was given up.
func isUp(st supervisor.Status) bool {
	return !slices.ContainsFunc(st.Pools, func(p supervisor.PoolStatus) bool {
		up := 0
		for _, w := range p.Slots {
			switch w.State {
			case supervisor.HasFailed:
				return false
			case supervisor.IsReady, supervisor.IsDone:
				up++
			}
		}
		return up < p.MinReady
	})
}
