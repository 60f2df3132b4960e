package control

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/internal/lifecycle"
)

// The pages that only look. They answer from memory. Of the pools they show those
// that the caller may see.

// statusAge is how old what /proc says of the workers may be.
const statusAge = 2 * time.Second

// seen is the status of the pools that the caller may see.
func (s *Server) seen(c *caller, v verb) supervisor.Status {
	if v == verbStatus {
		s.cfg.Supervisor.Sample(statusAge)
	}
	st := s.cfg.Supervisor.Status()
	if s.rights(c).everywhere(v) {
		return st
	}
	sees := s.sees(c, v)
	st.Pools = slices.DeleteFunc(st.Pools, func(p supervisor.PoolStatus) bool { return !sees(p.Name) })
	return st
}

func (s *Server) doStatus(c *caller) (out api.Status, err error) {
	err = s.do(c, ask{verb: verbStatus, scope: scopeSeen}, func() error {
		st := s.seen(c, verbStatus)
		out = api.Status{
			Version: s.cfg.Version, PID: st.PID, Started: stamp(st.Started),
			Health: healthOf(st, 0).Health, Pools: make([]api.Pool, len(st.Pools)), Trouble: s.trouble(),
		}
		for i, p := range st.Pools {
			out.Pools[i] = poolJSON(p, s.sees(c, verbLogs))
		}
		return nil
	})
	return out, err
}

// trouble is what is wrong with the supervisor itself.
func (s *Server) trouble() []string {
	if text := s.audit.trouble(); text != "" {
		return []string{"changes are not audited: " + text}
	}
	return nil
}

func (s *Server) doPools(c *caller) (out api.Pools, err error) {
	err = s.do(c, ask{verb: verbStatus, scope: scopeSeen}, func() error {
		st := s.seen(c, verbStatus)
		out = api.Pools{Pools: make([]api.Pool, len(st.Pools))}
		for i, p := range st.Pools {
			out.Pools[i] = poolJSON(p, s.sees(c, verbLogs))
			out.Pools[i].Slots = nil
		}
		return nil
	})
	return out, err
}

func (s *Server) doPool(c *caller, t supervisor.Target) (out api.Pool, err error) {
	t = s.meant(c, t)
	err = s.do(c, ask{verbStatus, scopePool, t, ""}, func() error {
		s.cfg.Supervisor.Sample(statusAge)
		st, err := s.cfg.Supervisor.Select(t)
		if err != nil {
			return err
		}
		if len(st.Pools) != 1 {
			return failf(api.CodeConflict, "* names all pools; GET /v1/pools lists them")
		}
		out = poolJSON(st.Pools[0], s.sees(c, verbLogs))
		return nil
	})
	return out, err
}

func (s *Server) doWorkers(c *caller) (out api.Workers, err error) {
	err = s.do(c, ask{verb: verbStatus, scope: scopeSeen}, func() error {
		out.Workers = workersJSON(s.seen(c, verbStatus), s.sees(c, verbLogs))
		return nil
	})
	return out, err
}

// doWorkersOf is the slots that t names.
func (s *Server) doWorkersOf(c *caller, t supervisor.Target) (out api.Workers, err error) {
	t = s.meant(c, t)
	err = s.do(c, ask{verbStatus, scopePool, t, ""}, func() error {
		s.cfg.Supervisor.Sample(statusAge)
		st, err := s.cfg.Supervisor.Select(t)
		out.Workers = workersJSON(st, s.sees(c, verbLogs))
		return err
	})
	return out, err
}

// doWorker is one slot, with what ended in it.
func (s *Server) doWorker(c *caller, t supervisor.Target) (out api.Worker, err error) {
	t = s.meant(c, t)
	err = s.do(c, ask{verbStatus, scopePool, t, ""}, func() error {
		s.cfg.Supervisor.Sample(statusAge)
		st, err := s.cfg.Supervisor.Select(t)
		if err != nil {
			return err
		}
		w := st.Pools[0].Slots[0]
		logs := s.sees(c, verbLogs)
		out = workerJSON(w, time.Now(), logs)
		for i := range w.Exits {
			out.Exits = append(out.Exits, *exitJSON(&w.Exits[i], w.Pool, logs))
		}
		return nil
	})
	return out, err
}

// doHealth judges all that the caller may see. minReady 0 is each pool's own.
func (s *Server) doHealth(c *caller, minReady int) (out api.Health, err error) {
	err = s.do(c, ask{verb: verbHealth, scope: scopeSeen}, func() error {
		out = healthOf(s.seen(c, verbHealth), minReady)
		return nil
	})
	return out, err
}

// doHealthOf judges what target names.
func (s *Server) doHealthOf(c *caller, target string, minReady int) (out api.Health, err error) {
	t, err := supervisor.ParseTarget(target)
	if err != nil {
		return out, err
	}
	t = s.meant(c, t)
	err = s.do(c, ask{verbHealth, scopePool, t, ""}, func() error {
		st, err := s.cfg.Supervisor.Select(t)
		out = healthOf(st, minReady)
		return err
	})
	return out, err
}

// doBrief is doStatus without what each worker can be sent, which is half of it.
func (s *Server) doBrief(c *caller) (api.Status, error) {
	out, err := s.doStatus(c)
	for _, p := range out.Pools {
		for i := range p.Slots {
			p.Slots[i].Commands = nil
		}
	}
	return out, err
}

func (s *Server) status(r *request) error {
	q, err := r.query("commands")
	if err != nil {
		return err
	}
	switch full, err := truth(q, "commands", true); {
	case err != nil:
		return err
	case full:
		return listed(s, r, &s.lists.status, s.doStatus, "commands")
	}
	return listed(s, r, &s.lists.brief, s.doBrief, "commands")
}

func (s *Server) listPools(r *request) error   { return listed(s, r, &s.lists.pools, s.doPools) }
func (s *Server) listWorkers(r *request) error { return listed(s, r, &s.lists.workers, s.doWorkers) }
func (s *Server) whoami(r *request) error      { return answerWith(r, s.doWhoami) }
func (s *Server) version(r *request) error     { return answerWith(r, s.doVersion) }
func (s *Server) onePool(r *request) error     { return answerOf(r, s.doPool) }
func (s *Server) oneWorker(r *request) error   { return answerOf(r, s.doWorker) }

// answerWith answers a page whose parameters, if it knows any, were read.
func answerWith[T any](r *request, do func(*caller) (T, error), known ...string) error {
	if _, err := r.query(known...); err != nil {
		return err
	}
	out, err := do(r.caller)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, out)
}

// answerOf answers a page of a target.
func answerOf[T any](r *request, do func(*caller, supervisor.Target) (T, error)) error {
	t, err := r.pathTarget()
	if err != nil {
		return err
	}
	return answerWith(r, func(c *caller) (T, error) { return do(c, t) })
}

func (s *Server) health(r *request) error { return r.health(s.doHealth) }

func (s *Server) targetHealth(r *request) error {
	return r.health(func(c *caller, minReady int) (api.Health, error) {
		return s.doHealthOf(c, r.PathValue("target"), minReady)
	})
}

func (r *request) health(do func(*caller, int) (api.Health, error)) error {
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
	h, err := do(r.caller, minReady)
	if err != nil {
		return err
	}
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

// Health judges all pools by their own min_ready, as GET /v1/health does.
func Health(st supervisor.Status) api.Health { return healthOf(st, 0) }

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

// stamp is t for the API; absent when zero.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// poolJSON is a pool for who may read the output of those that logs reports.
func poolJSON(p supervisor.PoolStatus, logs func(pool string) bool) api.Pool {
	now := time.Now()
	out := api.Pool{
		Name: p.Name, Workers: p.Workers, Ready: p.Ready, MinReady: p.MinReady,
		Queued: p.Queued, Health: poolHealth(p, 0).Health, Slots: make([]api.Worker, len(p.Slots)),
	}
	for i, w := range p.Slots {
		out.Slots[i] = workerJSON(w, now, logs)
	}
	return out
}

// workersJSON is every slot of st.
func workersJSON(st supervisor.Status, logs func(pool string) bool) []api.Worker {
	now := time.Now()
	all := []api.Worker{}
	for _, p := range st.Pools {
		for _, w := range p.Slots {
			all = append(all, workerJSON(w, now, logs))
		}
	}
	return all
}

func workerJSON(w supervisor.SlotStatus, now time.Time, logs func(pool string) bool) api.Worker {
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
		out.LastExit = exitJSON(e, w.Pool, logs)
	}
	return out
}

// exitJSON is an exit in a pool. Its last lines are output, and for who may read that.
func exitJSON(e *supervisor.ExitStatus, pool string, logs func(pool string) bool) *api.Exit {
	out := &api.Exit{
		Generation: e.Generation, PID: e.PID, Core: e.Core, Error: e.Err,
		At: stamp(e.At), UptimeMS: e.Uptime.Milliseconds(), Text: e.String(), OOM: e.OOM,
	}
	if len(e.Stderr) > 0 && logs(pool) {
		out.Stderr = e.Stderr
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
