package checks

import (
	"bytes"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestMetricsAreRead by Prometheus' parser, and say what has happened.
func TestMetricsAreRead(t *testing.T) {
	b := run(t)
	for range 3 {
		b.ask("POST", "/v1/pools/web/commands/echo", `["x"]`)
	}
	b.ask("POST", "/v1/workers/web/1/commands/fail", "")
	b.ask("POST", `/v1/workers/web/1/commands/odd%22name%5C`, "")
	b.ask("POST", "/v1/pools/web/commands/nosuch", "")
	b.ask("POST", "/v1/pools/crash/start?wait=10s", "")
	resp, text := b.await("/metrics", "brood_worker_ping_seconds{") // the first ping takes a moment
	if got := resp.Header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	value := func(name string, labels ...string) float64 {
		t.Helper()
		f := families[name]
		if f == nil {
			t.Errorf("no %s", name)
			return -1
		}
		for _, m := range f.Metric {
			if matches(m, labels) {
				switch f.GetType() {
				case dto.MetricType_COUNTER:
					return m.GetCounter().GetValue()
				case dto.MetricType_HISTOGRAM:
					return float64(m.GetHistogram().GetSampleCount())
				}
				return m.GetGauge().GetValue()
			}
		}
		return -1
	}
	for _, tt := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"brood_pool_workers", []string{"pool", "web"}, 2},
		{"brood_pool_ready_workers", []string{"pool", "web"}, 2},
		{"brood_pool_worker_states", []string{"pool", "web", "state", "ready"}, 2},
		{"brood_pool_worker_states", []string{"pool", "crash", "state", "failed"}, 1},
		{"brood_pool_health", []string{"pool", "web", "health", "ok"}, 1},
		{"brood_pool_health", []string{"pool", "crash", "health", "critical"}, 1},
		{"brood_pool_queued_commands", []string{"pool", "web"}, 0},
		{"brood_worker_exits_total", []string{"pool", "crash", "cause", "exit", "code", "3"}, 2},
		{"brood_worker_exits_total", []string{"pool", "gone", "cause", "signal", "code", "SIGKILL"}, 1},
		{"brood_commands_total", []string{"pool", "web", "command", "echo", "outcome", "ok"}, 3},
		{"brood_commands_total", []string{"pool", "web", "command", "fail", "outcome", "error"}, 1},
		{"brood_commands_total", []string{"pool", "web", "command", `odd"name\`, "outcome", "ok"}, 1},
		{"brood_commands_total", []string{"pool", "web", "command", "_other", "outcome", "error"}, 1},
		{"brood_command_duration_seconds", []string{"pool", "web", "command", "echo"}, 3},
		{"brood_worker_ready", []string{"worker", "web/1"}, 1},
		{"brood_worker_restarts_total", []string{"worker", "web/1"}, 0},
		{"brood_worker_log_lines_dropped_total", []string{"worker", "web/1"}, 0},
		{"brood_audit_failures_total", nil, 0},
	} {
		if got := value(tt.name, tt.labels...); got != tt.want {
			t.Errorf("%s %v is %v, want %v", tt.name, tt.labels, got, tt.want)
		}
	}
	for _, name := range []string{"brood_worker_resident_memory_bytes", "brood_worker_open_fds", "process_open_fds", "process_resident_memory_bytes", "go_goroutines",
		"process_max_fds", "process_start_time_seconds", "brood_control_connections", "brood_events_total", "brood_worker_start_time_seconds"} {
		if value(name) <= 0 {
			t.Errorf("%s is %v", name, value(name))
		}
	}
	for name, f := range families {
		if f.GetHelp() == "" || (f.GetType() == dto.MetricType_COUNTER) != strings.HasSuffix(name, "_total") {
			t.Errorf("%s: a %v, %q", name, f.GetType(), f.GetHelp())
		}
		for _, m := range f.Metric {
			if h := m.GetHistogram(); h != nil {
				bounds := h.GetBucket()
				for i := 1; i < len(bounds); i++ {
					if bounds[i].GetCumulativeCount() < bounds[i-1].GetCumulativeCount() {
						t.Errorf("%s: a bucket is less than the one before", name)
					}
				}
				if last := bounds[len(bounds)-1]; last.GetCumulativeCount() != h.GetSampleCount() {
					t.Errorf("%s: +Inf is %d of %d", name, last.GetCumulativeCount(), h.GetSampleCount())
				}
			}
		}
	}
}

func matches(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}
