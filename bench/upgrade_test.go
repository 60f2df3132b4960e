package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor/control/client"
)

// BenchmarkUpgrade has brood's place taken by another brood, with 1 and with 1,000
// workers, while a client pings one of them without a pause. It tells how long an
// upgrade takes in all, the question to the new program included, and how long the
// client waited at the most for an answer.
func BenchmarkUpgrade(b *testing.B) {
	child, _ := built(b)
	dir := b.TempDir()
	brood := filepath.Join(dir, "brood")
	build := exec.Command("go", "build", "-o", brood, "./cmd/brood")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("Workers%d", n), func(b *testing.B) {
			for b.Loop() {
				whole, pause := upgradeTimes(b, brood, child, n)
				b.ReportMetric(median(whole), "upgrade-ms")
				b.ReportMetric(median(pause), "pause-ms")
			}
		})
	}
}

// upgradeTimes are those of so many rounds of upgrades, in ms.
func upgradeTimes(b *testing.B, brood, child string, n int) (whole, pause []float64) {
	b.Helper()
	dir, err := os.MkdirTemp("", "bu")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(brood, "run", "--socket", socket, "--log-level", "error", "-n", fmt.Sprint(n), "--name", "web", "--", child)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	if out, err := exec.Command(brood, "--socket", socket, "health", "--wait", "60s").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	c := client.New(socket)
	defer c.Close()
	for range rounds {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		done := make(chan time.Duration, 1)
		go func() {
			begin := time.Now()
			if _, err := c.Upgrade(ctx); err != nil {
				b.Errorf("upgrade: %v", err)
			}
			done <- time.Since(begin)
		}()
		longest := time.Duration(0)
		for took := time.Duration(0); took == 0; {
			begin := time.Now()
			if _, err := c.Ping(ctx, "web/1"); err != nil {
				b.Errorf("ping: %v", err)
			}
			longest = max(longest, time.Since(begin))
			select {
			case took = <-done:
				whole = append(whole, took.Seconds()*1e3)
			default:
			}
		}
		cancel()
		pause = append(pause, longest.Seconds()*1e3)
	}
	return whole, pause
}
