package supervisor

import (
	"fmt"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/capture"
	"example.com/brood/supervisor/internal/cgroup"
	"example.com/brood/supervisor/internal/lifecycle"
	"example.com/brood/supervisor/internal/notify"
	"example.com/brood/supervisor/internal/orphans"
)

// handed names what a supervisor hands over.
const handed = "supervisor"

// carried is a supervisor as it is handed over. Times are counted back from then.
type carried struct {
	Started  time.Time // when Run began
	Machine  lifecycle.Kept
	Signs    []sign // that it has not heard of
	Versions []keptVersion
	Declared []Pool // what was last asked for

	LastOp, LastVersion uint64

	Events    []Event
	NextEvent uint64
	LastLine  uint64 // of the output, by number

	Places  []keptPlace
	Lives   []keptLive
	Sockets []carriedSocket
	Stdout  capture.SavedSink
	Stderr  capture.SavedSink
	Notify  *notify.SavedDir // nil: there is none
	Cgroups *cgroup.SavedTree
	Orphans *orphans.Saved
}

// keptVersion is a configuration of a pool.
type keptVersion struct {
	Pool   string
	Number uint64
	Config Pool
}

// keptPlace is what is known of a slot beside its process.
type keptPlace struct {
	Slot   lifecycle.Slot
	Exits  []ExitStatus
	Served uint64
	Lines  []keptLine
	Line   uint64 // number of the first of them
}

// keptLine is a line of output. It need not be UTF-8.
type keptLine struct {
	At         int64
	Seq        uint64
	Generation uint64
	Stderr     bool
	Text       []byte
}

// keptLive is a process.
type keptLive struct {
	ID      lifecycle.ID
	PID     int
	Version uint64 // what it was started from
	Up      time.Duration
	Served  int64

	Killed, StopAsked, SaidReady, OtherMain bool
	Awaited                                 bool // it has not become ready yet
	Status                                  *string
	Pong                                    *keptPong

	Conn   ipc.State
	ConnFD int // -1: it has ended
	Out    capture.SavedStream
	Err    capture.SavedStream
	Notify *notify.SavedSocket
	Cgroup *cgroup.SavedGroup
}

type keptPong struct {
	ipc.Pong
	RTT, Age time.Duration
}

// keptText bounds the output that is handed over, in bytes: of many slots each
// has its share.
const keptText = 16 << 20

// hand puts all that the next program needs into out.
func (k *standstill) hand(out *handover.Out) error {
	now := time.Now()
	machine, err := k.machine.Keep(now)
	if err != nil {
		return err
	}
	v := carried{
		Started: *k.started.Load(), Machine: machine, Signs: k.signs, Declared: k.declared(),
		LastOp: k.lastOp.Load(), LastVersion: k.lastVersion.Load(), LastLine: k.logs.seq.Load(),
		Stdout: k.stdout.Export(), Stderr: k.stderr.Export(), Orphans: k.orphans.Export(),
	}
	if v.Sockets, err = k.sockets.export(out); err != nil {
		return err
	}
	v.Events, v.NextEvent = k.events.all()
	for name, from := range k.versions {
		v.Versions = append(v.Versions, keptVersion{name.pool, name.number, *from.pool})
	}
	share := keptText / (len(k.places) + 1)
	for _, pl := range k.places {
		v.Places = append(v.Places, pl.keep(share))
	}
	if k.notifyDir != nil {
		saved := k.notifyDir.Export(out)
		v.Notify = &saved
	}
	if k.cgroups != nil {
		saved := k.cgroups.Export(out)
		v.Cgroups = &saved
	}
	for _, l := range k.lives {
		saved, err := k.keep(l, out)
		if err != nil {
			return err
		}
		v.Lives = append(v.Lives, saved)
	}
	return out.Put(handed, v)
}

// keep puts a process down.
func (k *standstill) keep(l *live, out *handover.Out) (keptLive, error) {
	v := keptLive{
		ID: l.id, PID: l.pid, Up: time.Since(l.started), Served: l.served.Load(),
		Awaited: k.starting(l),
		Killed:  l.killed, StopAsked: l.stopAsked.Load(), SaidReady: l.saidReady, OtherMain: l.otherMain, Status: l.status.Load(),
	}
	var err error
	if v.Out, err = l.out.Export(out); err != nil {
		return v, err
	}
	if v.Err, err = l.err.Export(out); err != nil {
		return v, err
	}
	for name, from := range k.versions {
		if from == l.launch {
			v.Version = name.number
		}
	}
	if p := l.pong.Load(); p != nil {
		v.Pong = &keptPong{p.Pong, p.rtt, time.Since(p.at)}
	}
	if err := v.keepConn(l.conn, out); err != nil {
		return v, fmt.Errorf("%v: %w", l.id, err)
	}
	if l.notify != nil {
		saved, err := l.notify.Export(out)
		if err != nil {
			return v, err
		}
		v.Notify = &saved
	}
	if l.cgroup != nil {
		saved := l.cgroup.Export()
		v.Cgroup = &saved
	}
	return v, nil
}

func (v *keptLive) keepConn(conn link, out *handover.Out) (err error) {
	v.ConnFD = -1
	c, ok := conn.(*ipc.Conn)
	if !ok { // it did not survive the upgrade before
		v.Conn = conn.(brokenLink).state()
		return nil
	}
	if v.Conn, err = c.State(); err != nil {
		return err
	}
	if v.Conn.Ended != "" {
		return nil
	}
	fd, err := c.FD()
	if err == nil {
		v.ConnFD = out.FD(fd)
	}
	return err
}

// starting: it has not become ready yet.
func (k *standstill) starting(l *live) bool {
	v, current := l.place.current()
	return current == l && v.State == lifecycle.Starting
}

// keep puts down what is known of the slot, with at most so many bytes of output.
func (pl *place) keep(most int) keptPlace {
	v := keptPlace{Slot: pl.id, Exits: *pl.exits.Load(), Served: pl.served.Load()}
	v.Lines, v.Line = pl.logs.keep(most)
	return v
}

// keep is the last lines, at most so many bytes of them, and the number of the
// first.
func (r *logRing) keep(most int) (lines []keptLine, first uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = r.newer.first + uint64(len(r.newer.lines))
	for _, h := range []*logHalf{&r.newer, &r.older} {
		for i := len(h.lines) - 1; i >= 0; i-- {
			rec, begin := h.lines[i], 0
			if i > 0 {
				begin = h.lines[i-1].end
			}
			if most -= rec.end - begin; most < 0 {
				return lines, first
			}
			lines = append(lines, keptLine{rec.at, rec.seq, rec.generation, rec.stderr, h.text[begin:rec.end]})
			first--
		}
	}
	return lines, first
}

// all is every event that is kept, and the number of the next.
func (l *eventLog) all() ([]Event, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ring, l.next
}
