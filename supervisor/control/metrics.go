package control

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/internal/lifecycle"
)

// GET /metrics, in the text format of Prometheus (version 0.0.4). The figures are
// those of the status and of the supervisor's counts, so there is nothing to
// register and nothing to keep in step: a page is written from a look.
//
// What there can be of labels is bounded: pools and workers are as configured,
// names of commands are 64 for a pool and then one for the rest, outcomes, states,
// verbs and causes are known.

const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// metricsAge is how old what /proc says of the workers may be.
const metricsAge = time.Second

// metricsText writes families one after the other.
type metricsText struct{ b []byte }

// family begins one.
func (m *metricsText) family(name, kind, help string) {
	m.b = fmt.Appendf(m.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// labels are names and values, in turn.
type labels []string

// sample writes one line.
func (m *metricsText) sample(name string, l labels, v float64) {
	m.b = append(m.b, name...)
	for i := 0; i < len(l); i += 2 {
		m.b = append(m.b, "{,"[min(i, 1)])
		m.b = append(append(m.b, l[i]...), `="`...)
		m.b = append(append(m.b, labelEscape.Replace(l[i+1])...), '"')
	}
	if len(l) > 0 {
		m.b = append(m.b, '}')
	}
	m.b = append(strconv.AppendFloat(append(m.b, ' '), v, 'g', -1, 64), '\n')
}

var labelEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// one writes a family of one line.
func (m *metricsText) one(name, kind, help string, v float64) {
	m.family(name, kind, help)
	m.sample(name, nil, v)
}

func truthValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *Server) doMetrics(c *caller) (text []byte, err error) {
	err = s.do(c, ask{verb: verbMetrics, scope: scopeSeen}, func() error {
		s.cfg.Supervisor.Sample(metricsAge)
		st, sees := s.seen(c, verbMetrics), s.sees(c, verbMetrics)
		m := &metricsText{b: make([]byte, 0, 16<<10)}
		m.family("brood_info", "gauge", "Which brood this is.")
		m.sample("brood_info", labels{"version", s.cfg.Version, "go", runtime.Version()}, 1)
		m.pools(st)
		m.workers(st)
		m.counts(s.cfg.Supervisor.Counts(), sees)
		s.selfMetrics(m, st)
		text = m.b
		return nil
	})
	return text, err
}

var allStates = []lifecycle.State{
	lifecycle.Stopped, lifecycle.Starting, lifecycle.Ready, lifecycle.Stopping, lifecycle.Backoff, lifecycle.Failed, lifecycle.Done,
}

func (m *metricsText) pools(st supervisor.Status) {
	each := func(name, kind, help string, value func(supervisor.PoolStatus) float64) {
		m.family(name, kind, help)
		for _, p := range st.Pools {
			m.sample(name, labels{"pool", p.Name}, value(p))
		}
	}
	each("brood_pool_workers", "gauge", "Slots that the pool has.", func(p supervisor.PoolStatus) float64 { return float64(p.Workers) })
	each("brood_pool_ready_workers", "gauge", "Workers that are ready.", func(p supervisor.PoolStatus) float64 { return float64(p.Ready) })
	each("brood_pool_min_ready_workers", "gauge", "Ready workers below which the pool is critical.", func(p supervisor.PoolStatus) float64 { return float64(p.MinReady) })
	each("brood_pool_queued_commands", "gauge", "Commands that wait for a worker with room.", func(p supervisor.PoolStatus) float64 { return float64(p.Queued) })
	m.family("brood_pool_health", "gauge", "1 for what the pool is, 0 for what it is not.")
	for _, p := range st.Pools {
		is := poolHealth(p, 0).Health
		for _, h := range []string{healthy, degraded, critical} {
			m.sample("brood_pool_health", labels{"pool", p.Name, "health", h}, truthValue(h == is))
		}
	}
	m.family("brood_pool_worker_states", "gauge", "Slots of the pool in each state.")
	for _, p := range st.Pools {
		count := map[lifecycle.State]int{}
		for _, w := range p.Slots {
			count[w.State]++
		}
		for _, state := range allStates {
			m.sample("brood_pool_worker_states", labels{"pool", p.Name, "state", string(state)}, float64(count[state]))
		}
	}
}

func (m *metricsText) workers(st supervisor.Status) {
	each := func(name, kind, help string, value func(w supervisor.SlotStatus) (float64, bool)) {
		m.family(name, kind, help)
		for _, p := range st.Pools {
			for _, w := range p.Slots {
				if v, ok := value(w); ok {
					m.sample(name, labels{"pool", p.Name, "worker", w.Target().String()}, v)
				}
			}
		}
	}
	type slot = supervisor.SlotStatus
	each("brood_worker_ready", "gauge", "Whether the worker is ready.", func(w slot) (float64, bool) { return truthValue(w.Ready), true })
	each("brood_worker_responsive", "gauge", "Whether the worker answers pings; absent where it is not pinged.",
		func(w slot) (float64, bool) {
			return truthValue(w.Responsive != nil && *w.Responsive), w.Responsive != nil
		})
	each("brood_worker_restarts_total", "counter", "Restarts of the slot that nobody asked for.", func(w slot) (float64, bool) { return float64(w.Restarts), true })
	each("brood_worker_generation", "gauge", "How many processes the slot has had.", func(w slot) (float64, bool) { return float64(w.Generation), true })
	each("brood_worker_commands_total", "counter", "Commands that have ended in the slot.", func(w slot) (float64, bool) { return float64(w.Served), true })
	each("brood_worker_inflight_commands", "gauge", "Commands that the worker is at work on.", func(w slot) (float64, bool) { return float64(w.Inflight), w.SDK != "" })
	each("brood_worker_ping_seconds", "gauge", "The last round trip to the worker.", func(w slot) (float64, bool) { return w.PingRTT.Seconds(), w.PingRTT > 0 })
	each("brood_worker_log_lines_dropped_total", "counter", "Lines of output that were dropped, as nobody took them fast enough.", func(w slot) (float64, bool) { return float64(w.LogDrops), true })
	each("brood_worker_start_time_seconds", "gauge", "When the process was started, Unix time.",
		func(w slot) (float64, bool) {
			return float64(w.Spawned.UnixMilli()) / 1000, w.Alive && !w.Spawned.IsZero()
		})
	each("brood_worker_resident_memory_bytes", "gauge", "Resident memory of the process.", func(w slot) (float64, bool) { return float64(w.RSS), w.RSS > 0 })
	each("brood_worker_cpu_seconds_total", "counter", "Processor time of the process.", func(w slot) (float64, bool) { return w.CPU.Seconds(), w.RSS > 0 })
	each("brood_worker_open_fds", "gauge", "Open descriptors of the process.", func(w slot) (float64, bool) { return float64(w.FDs), w.FDs > 0 })
}

func (m *metricsText) counts(all []supervisor.PoolCounts, sees func(string) bool) {
	m.family("brood_worker_exits_total", "counter", "Ends of processes by their cause: exit with its code, signal with its name, or spawn for what could not be started.")
	for _, p := range all {
		for _, e := range p.Exits {
			if sees(p.Pool) {
				m.sample("brood_worker_exits_total", labels{"pool", p.Pool, "cause", e.Cause, "code", e.Code}, float64(e.N))
			}
		}
	}
	m.family("brood_worker_oom_kills_total", "counter", "Of these, those that the kernel has killed for want of memory, as far as can be told.")
	for _, p := range all {
		if sees(p.Pool) {
			m.sample("brood_worker_oom_kills_total", labels{"pool", p.Pool}, float64(p.OOMKills))
		}
	}
	m.family("brood_commands_total", "counter", "Commands by their outcome.")
	for _, p := range all {
		for _, c := range p.Commands {
			for i, n := range c.Outcomes {
				if n > 0 && sees(p.Pool) {
					m.sample("brood_commands_total", labels{"pool", p.Pool, "command", c.Command, "outcome", supervisor.Outcomes[i]}, float64(n))
				}
			}
		}
	}
	const name = "brood_command_duration_seconds"
	m.family(name, "histogram", "From when a command came until its outcome, waiting included.")
	for _, p := range all {
		for _, c := range p.Commands {
			if sees(p.Pool) {
				m.histogram(name, p.Pool, c)
			}
		}
	}
}

func (m *metricsText) histogram(name, pool string, c supervisor.CommandStats) {
	var below uint64
	for i, n := range c.Buckets {
		below += n
		le := strconv.FormatFloat(supervisor.LatencyBounds[i].Seconds(), 'g', -1, 64)
		m.sample(name+"_bucket", labels{"pool", pool, "command", c.Command, "le", le}, float64(below))
	}
	count := max(c.Count, below)
	m.sample(name+"_bucket", labels{"pool", pool, "command", c.Command, "le", "+Inf"}, float64(count))
	m.sample(name+"_sum", labels{"pool", pool, "command", c.Command}, c.Sum.Seconds())
	m.sample(name+"_count", labels{"pool", pool, "command", c.Command}, float64(count))
}

// selfMetrics is what the supervisor itself takes and does.
func (s *Server) selfMetrics(m *metricsText, st supervisor.Status) {
	m.one("brood_events_total", "counter", "Events since the supervisor began.", float64(s.cfg.Supervisor.LastEvent()))
	m.family("brood_control_requests_total", "counter", "What was asked for through the control socket, by how it ended.")
	for v := range minRole {
		for i, outcome := range askOutcomes {
			if n := s.asked[v][i].Load(); n > 0 {
				m.sample("brood_control_requests_total", labels{"verb", string(v), "outcome", outcome}, float64(n))
			}
		}
	}
	connections, limit := s.house.count()
	m.one("brood_control_connections", "gauge", "Connections to the control socket.", float64(connections))
	m.one("brood_control_connections_limit", "gauge", "How many there may be.", float64(limit))
	m.one("brood_audit_failures_total", "counter", "Tries to write audit lines that failed.", float64(s.audit.failed.Load()))
	m.one("brood_audit_lost_lines_total", "counter", "Audit lines that are nowhere.", float64(s.audit.lost.Load()))
	m.one("brood_audit_ok", "gauge", "Whether audit lines can be written.", truthValue(s.audit.trouble() == ""))

	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.one("go_goroutines", "gauge", "Goroutines of the supervisor.", float64(runtime.NumGoroutine()))
	m.one("go_memstats_heap_alloc_bytes", "gauge", "Memory that the supervisor's heap holds.", float64(mem.HeapAlloc))
	m.one("go_memstats_gc_cpu_fraction", "gauge", "Part of the processor time that the garbage collector has taken.", mem.GCCPUFraction)
	if !st.Started.IsZero() {
		m.one("process_start_time_seconds", "gauge", "When the supervisor began, Unix time.", float64(st.Started.UnixMilli())/1000)
	}
	m.one("process_max_fds", "gauge", "Descriptors that the supervisor may have open.", float64(openFiles()))
	if u, ok := supervisor.UsageOf(os.Getpid()); ok {
		m.one("process_cpu_seconds_total", "counter", "Processor time of the supervisor.", u.CPU.Seconds())
		m.one("process_resident_memory_bytes", "gauge", "Resident memory of the supervisor.", float64(u.RSS))
		m.one("process_open_fds", "gauge", "Open descriptors of the supervisor.", float64(u.FDs))
	}
}

// askOutcomes are how a request can end, for the count.
var askOutcomes = [...]string{"ok", "failed", "denied"}

// asks counts requests.
type asks map[verb]*[len(askOutcomes)]atomic.Uint64

func newAsks() asks {
	a := asks{}
	for v := range minRole {
		a[v] = &[len(askOutcomes)]atomic.Uint64{}
	}
	return a
}

func (a asks) note(v verb, outcome int) {
	if n := a[v]; n != nil {
		n[outcome].Add(1)
	}
}

func (s *Server) metrics(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	text, err := s.doMetrics(r.caller)
	if err != nil {
		return err
	}
	return r.send(http.StatusOK, metricsType, text)
}
