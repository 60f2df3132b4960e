package ipc

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The benchmarks are of two processes: this binary starts itself as the child.
// Pin both with `taskset -c 1 go test -bench . ./ipc`.

// asChild makes this process the child of a benchmark, if it was started as one.
func asChild() {
	switch os.Getenv("IPC_BENCH_CHILD") {
	case "conn":
		connChild()
	case "bare":
		size, _ := strconv.Atoi(os.Getenv("IPC_BENCH_SIZE"))
		bareChild(size)
	default:
		return
	}
	os.Exit(0)
}

// startChild starts the child and returns this end of its socketpair.
func startChild(tb testing.TB, kind string, env ...string) *os.File {
	tb.Helper()
	own, other, err := Pair()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "IPC_BENCH_CHILD="+kind), env...)
	cmd.ExtraFiles = []*os.File{other}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	other.Close()
	tb.Cleanup(func() {
		own.Close()
		cmd.Wait()
	})
	return own
}

// connChild echoes, by the reader itself as "echo" and by a goroutine as "go",
// and tells how often it has allocated.
func connChild() {
	if err := unix.SetNonblock(3, true); err != nil {
		log.Fatal(err)
	}
	c, err := NewConn(os.NewFile(3, "child"), Config{
		Role: Worker, Hello: Hello{MaxInflight: 1024, PID: os.Getpid()}, Inline: func(command string) bool { return command == "echo" },
		Handler: func(_ context.Context, c *Call) (Message, error) {
			if c.Command == "mallocs" {
				return Bytes(binary.BigEndian.AppendUint64(nil, mallocs())), nil
			}
			return c.Message, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	<-c.Done()
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

func startConn(tb testing.TB) *Conn {
	tb.Helper()
	c, err := NewConn(startChild(tb, "conn"), Config{Role: Supervisor, Hello: Hello{MaxInflight: 1024}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// allocations is how often both processes have allocated.
func allocations(tb testing.TB, c *Conn) uint64 {
	tb.Helper()
	m, err := c.Call(context.Background(), "mallocs", Message{})
	if err != nil {
		tb.Fatal(err)
	}
	return binary.BigEndian.Uint64(m.Payload) + mallocs()
}

// echoes has n callers make calls until count of them are answered.
func echoes(tb testing.TB, c *Conn, command string, n, size int, count int64) {
	payload := make([]byte, size)
	var left atomic.Int64
	left.Store(count)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			buf := make([]byte, size)
			for left.Add(-1) >= 0 {
				m, err := c.CallInto(context.Background(), command, Bytes(payload), buf)
				if err != nil || len(m.Payload) != size {
					tb.Errorf("%d bytes, %v", len(m.Payload), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkCall(b *testing.B) {
	for _, command := range []string{"echo", "go"} {
		for _, n := range []int{1, 64, 256} {
			for _, size := range []int{16, 1 << 10, 64 << 10, 1 << 20, 16 << 20} {
				if size > 1<<10 && n > 1 {
					continue
				}
				b.Run(fmt.Sprintf("%s/callers=%d/size=%d", command, n, size), func(b *testing.B) {
					c := startConn(b)
					echoes(b, c, command, n, size, int64(2*n))
					before := allocations(b, c)
					b.SetBytes(int64(size))
					b.ResetTimer()
					echoes(b, c, command, n, size, int64(b.N))
					b.StopTimer()
					b.ReportMetric(float64(allocations(b, c)-before)/float64(b.N), "allocs/call")
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
				})
			}
		}
	}
}

// BenchmarkBare is what net.UnixConn does without any protocol: a message of
// known size there and back.
func BenchmarkBare(b *testing.B) {
	for _, size := range []int{16, 1 << 10, 64 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			f := startChild(b, "bare", "IPC_BENCH_SIZE="+strconv.Itoa(size))
			c, err := net.FileConn(f)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			buf := make([]byte, size)
			turn := func() {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
			turn()
			b.SetBytes(int64(size))
			b.ResetTimer()
			for range b.N {
				turn()
			}
		})
	}
}

func bareChild(size int) {
	c, err := net.FileConn(os.NewFile(3, "child"))
	if err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, size)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

// BenchmarkPing is a ping's round trip, idle and while 16 MiB flow both ways.
func BenchmarkPing(b *testing.B) {
	for _, load := range []string{"idle", "loaded"} {
		b.Run(load, func(b *testing.B) {
			c := startConn(b)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			if load == "loaded" {
				for range 2 {
					wg.Go(func() {
						payload := make([]byte, DefaultMaxMessage)
						var buf []byte
						for {
							select {
							case <-stop:
								return
							default:
							}
							m, err := c.CallInto(context.Background(), "go", Bytes(payload), buf)
							if err != nil {
								b.Error(err)
								return
							}
							buf = m.Payload
						}
					})
				}
			}
			var rtts []time.Duration
			for range b.N {
				rtt, _, err := c.Ping(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				rtts = append(rtts, rtt)
				time.Sleep(100 * time.Microsecond) // pings come now and then, not one upon the other
			}
			close(stop)
			wg.Wait()
			sortDurations(rtts)
			b.ReportMetric(float64(rtts[len(rtts)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(rtts[len(rtts)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

func sortDurations(d []time.Duration) { slices.Sort(d) }

// What it takes to pause an idle connection, and to go on.
func BenchmarkPause(b *testing.B) {
	c := startConn(b)
	if _, err := c.Call(context.Background(), "echo", Message{}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := c.Pause(context.Background()); err != nil {
			b.Fatal(err)
		}
		if _, err := c.State(); err != nil {
			b.Fatal(err)
		}
		c.Resume()
	}
}
