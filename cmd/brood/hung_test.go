package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor/control/client"
)

// hungPool is a supervisor whose every worker is stopped, and 64 clients who keep
// sending commands to them.
func hungPool(t testing.TB) *server {
	t.Helper()
	s := serve(t, "-n", "4", "--name", "web", "--log-level", "off", "--", "echo-worker")
	c := client.New(s.socket)
	defer c.Close()
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range st.Pools[0].Slots {
		syscall.Kill(w.PID, syscall.SIGSTOP)
		t.Cleanup(func() { syscall.Kill(w.PID, syscall.SIGCONT) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	const clients = 64
	for i := range clients {
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				sendOne(ctx, s.socket, i)
			}
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range clients {
			<-done
		}
	})
	return s
}

// sendOne sends one command, in either tongue, and waits for its timeout.
func sendOne(ctx context.Context, socket string, i int) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	target := []string{"web", fmt.Sprintf("web/%d", i%4+1), "web/*"}[i%3]
	if i%2 == 0 {
		fmt.Fprintf(c, "timeout 2s @%s echo x; quit\n", target)
	} else {
		fmt.Fprintf(c, "POST /v1/pools/web/commands/echo?timeout=2s HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}
	io.Copy(io.Discard, c)
}

// looks asks n times for health and status, each in both tongues, over a new
// connection, and returns how long each took.
func looks(t testing.TB, s *server, n int) []time.Duration {
	all := make([]time.Duration, 0, 4*n)
	for range n {
		for _, text := range []string{
			"health\n", "status\n",
			"GET /v1/health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", "GET /v1/status HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
		} {
			start := time.Now()
			if got := say(t, s.socket, text); len(got) < 10 {
				t.Fatalf("%q: %q", text, got)
			}
			all = append(all, time.Since(start))
		}
	}
	slices.Sort(all)
	return all
}

// TestLooksBesideHungWorkers: health and status do not wait for workers that hang.
// A command there takes 2 s to end; one look in a hundred may be unlucky with the
// machine.
func TestLooksBesideHungWorkers(t *testing.T) {
	s := hungPool(t)
	all := looks(t, s, 250)
	p99 := all[len(all)*99/100]
	t.Logf("health and status beside hung workers: median %v, p99 %v, worst %v", all[len(all)/2], p99, all[len(all)-1])
	if p99 > 500*time.Millisecond {
		t.Errorf("p99 %v", p99)
	}
}

// BenchmarkLooksBesideHungWorkers prints the same as figures.
func BenchmarkLooksBesideHungWorkers(b *testing.B) {
	s := hungPool(b)
	for b.Loop() {
		all := looks(b, s, 2000)
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "median-µs")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
		b.ReportMetric(float64(all[len(all)-1].Microseconds()), "worst-µs")
	}
}
