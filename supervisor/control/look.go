package control

import (
	"fmt"
	"net/http"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/internal/lifecycle"
)

// The pages that only look. They answer from memory.

func (s *Server) status(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	st := s.cfg.Supervisor.Status()
	out := api.Status{
		Version: s.cfg.Version, PID: st.PID, Started: stamp(st.Started),
		Health: healthOf(st, 0).Health, Pools: make([]api.Pool, len(st.Pools)),
	}
	for i, p := range st.Pools {
		out.Pools[i] = poolJSON(p)
	}
	return r.json(http.StatusOK, out)
}

func (s *Server) listPools(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	st := s.cfg.Supervisor.Status()
	out := api.Pools{Pools: make([]api.Pool, len(st.Pools))}
	for i, p := range st.Pools {
		out.Pools[i] = poolJSON(p)
		out.Pools[i].Slots = nil
	}
	return r.json(http.StatusOK, out)
}

func (s *Server) onePool(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	t, err := r.pathTarget()
	if err != nil {
		return err
	}
	st, err := s.cfg.Supervisor.Select(t)
	if err != nil {
		return err
	}
	if len(st.Pools) != 1 {
		return failf(api.CodeConflict, "* names all pools; GET /v1/pools lists them")
	}
	return r.json(http.StatusOK, poolJSON(st.Pools[0]))
}

func (s *Server) listWorkers(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	st := s.cfg.Supervisor.Status()
	now := time.Now()
	out := api.Workers{Workers: []api.Worker{}}
	for _, p := range st.Pools {
		for _, w := range p.Slots {
			out.Workers = append(out.Workers, workerJSON(w, now))
		}
	}
	return r.json(http.StatusOK, out)
}

func (s *Server) oneWorker(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	t, err := r.pathTarget()
	if err != nil {
		return err
	}
	st, err := s.cfg.Supervisor.Select(t)
	if err != nil {
		return err
	}
	w := st.Pools[0].Slots[0]
	out := workerJSON(w, time.Now())
	for i := range w.Exits {
		out.Exits = append(out.Exits, *exitJSON(&w.Exits[i]))
	}
	return r.json(http.StatusOK, out)
}

func (s *Server) health(r *request) error {
	q, err := r.query("min_ready")
	if err != nil {
		return err
	}
	minReady := 0
	if text := q.Get("min_ready"); text != "" {
		if minReady, err = strconv.Atoi(text); err != nil || minReady < 1 {
			return failf(api.CodeBadRequest, "min_ready=%s: write a number of workers, 1 or more", text)
		}
	}
	st := s.cfg.Supervisor.Status()
	if text := r.PathValue("target"); text != "" {
		t, err := supervisor.ParseTarget(text)
		if err != nil {
			return err
		}
		if st, err = s.cfg.Supervisor.Select(t); err != nil {
			return err
		}
	}
	h := healthOf(st, minReady)
	status := http.StatusOK
	if h.Health == critical {
		status = http.StatusServiceUnavailable
	}
	return r.json(status, h)
}

// The levels of health, from good to bad.
const (
	healthy  = "ok"
	degraded = "degraded"
	critical = "critical"
)

// healthOf judges pools: critical below min_ready, or when a slot has given up;
// degraded below the number configured. minReady 0 is each pool's own. Slots
// that are done need no worker.
func healthOf(st supervisor.Status, minReady int) api.Health {
	h := api.Health{Health: healthy}
	var texts []string
	for _, p := range st.Pools {
		ph := poolHealth(p, minReady)
		h.Pools = append(h.Pools, ph)
		h.Ready += ph.Ready
		h.Wanted += ph.Wanted
		h.Health = worse(h.Health, ph.Health)
		texts = append(texts, ph.Text)
	}
	h.Text = strings.Join(texts, "; ")
	return h
}

func worse(a, b string) string {
	if a == critical || b == critical {
		return critical
	}
	if a == degraded || b == degraded {
		return degraded
	}
	return healthy
}

func poolHealth(p supervisor.PoolStatus, minReady int) api.PoolHealth {
	if minReady == 0 {
		minReady = p.MinReady
	}
	done, firstBad := 0, ""
	failed := 0
	for _, w := range p.Slots {
		switch {
		case w.State == lifecycle.Done:
			done++
			continue
		case w.State == lifecycle.Failed:
			failed++
		case w.Ready:
			continue
		}
		if firstBad == "" {
			firstBad = fmt.Sprintf("%v is %s", w.Target(), w.State)
			if w.Reason != "" {
				firstBad += ": " + w.Reason
			}
		}
	}
	needed := max(0, min(minReady, len(p.Slots))-done)
	if minReady > len(p.Slots) {
		needed = minReady - done
	}
	out := api.PoolHealth{Name: p.Name, Health: healthy, Ready: p.Ready, Wanted: p.Workers - done, MinReady: minReady}
	switch {
	case p.Ready < needed || failed > 0:
		out.Health = critical
	case p.Ready < out.Wanted:
		out.Health = degraded
	}
	out.Text = fmt.Sprintf("%s %d/%d ready", p.Name, out.Ready, out.Wanted)
	if needed > out.Wanted {
		out.Text += fmt.Sprintf(", %d are needed", needed)
	}
	if firstBad != "" {
		out.Text += " (" + firstBad + ")"
	}
	return out
}

func (s *Server) whoami(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	if _, err := peerFrom(r.Context()); err != nil {
		return err
	}
	out := api.Whoami{UID: r.peer.UID, GID: r.peer.GID, Groups: r.peer.Groups, PID: r.peer.PID, Role: r.role.String(), Reason: r.why}
	if u, err := user.LookupId(strconv.Itoa(r.peer.UID)); err == nil {
		out.User = u.Username
	}
	return r.json(http.StatusOK, out)
}

func (s *Server) version(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	return r.json(http.StatusOK, api.Version{
		Version: s.cfg.Version, Protocol: [2]int{ipc.Version, ipc.Version},
		Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
	})
}

// stamp is t for the API; absent when zero.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func poolJSON(p supervisor.PoolStatus) api.Pool {
	now := time.Now()
	out := api.Pool{
		Name: p.Name, Workers: p.Workers, Ready: p.Ready, MinReady: p.MinReady,
		Queued: p.Queued, Health: poolHealth(p, 0).Health, Slots: make([]api.Worker, len(p.Slots)),
	}
	for i, w := range p.Slots {
		out.Slots[i] = workerJSON(w, now)
	}
	return out
}

func workerJSON(w supervisor.SlotStatus, now time.Time) api.Worker {
	out := api.Worker{
		Target: w.Target().String(), Pool: w.Pool, Slot: w.Slot, Generation: w.Generation,
		State: string(w.State), Want: "down", PID: w.PID,
		Alive: w.Alive, Ready: w.Ready, Responsive: w.Responsive, Progressing: w.Progressing,
		Reason: w.Reason, Since: stamp(w.Since), Started: stamp(w.Spawned), Restarts: w.Restarts,
		Status: w.Status, Inflight: w.Inflight, PingUS: w.PingRTT.Microseconds(), SDK: w.SDK, LogDrops: w.LogDrops,
		Next: w.Next, Old: w.Old, RSSBytes: w.RSS, CPUMS: w.CPU.Milliseconds(), Served: w.Served,
	}
	if w.WantUp {
		out.Want = "up"
	}
	if !w.Spawned.IsZero() {
		out.UptimeMS = now.Sub(w.Spawned).Milliseconds()
	}
	if !w.RetryAt.IsZero() {
		out.RetryInMS = max(0, w.RetryAt.Sub(now).Milliseconds())
	}
	for _, c := range w.Commands {
		out.Commands = append(out.Commands, api.Command{Name: c.Name, Help: c.Help})
	}
	if e := w.LastExit; e != nil {
		out.LastExit = exitJSON(e)
	}
	return out
}

func exitJSON(e *supervisor.ExitStatus) *api.Exit {
	out := &api.Exit{
		Generation: e.Generation, PID: e.PID, Core: e.Core, Error: e.Err,
		At: stamp(e.At), UptimeMS: e.Uptime.Milliseconds(), Text: e.String(), Stderr: e.Stderr, OOM: e.OOM,
	}
	if e.OOM {
		out.Text += ", probably by the kernel for want of memory"
	}
	if e.Signal != 0 {
		out.Signal = lifecycle.SignalName(e.Signal)
	} else if e.Err == "" {
		out.Code = &e.Code
	}
	return out
}
