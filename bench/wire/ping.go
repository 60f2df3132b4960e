package main

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"example.com/brood/bench/internal/report"
)

// How long a small request takes while the connection is idle, and while big
// messages fill it in both directions. brood's is a ping; the others have none
// that a program can send, so theirs is a call of 16 bytes.

// pinger is a link that can send a ping beside its calls.
type pinger interface {
	ping() error
	echo(payload, last []byte) ([]byte, error)
}

func (c callers) ping() error {
	_, err := c.call(make([]byte, 16), nil)
	return err
}

const (
	bigSize    = 16 << 20
	bigCallers = 4 // so that one is always on its way there and one back
	chunk      = 64 << 10
)

// pingRun is one measurement in the parent: pings one after the other, first
// alone, then beside the big calls.
func pingRun(l link, idle, full time.Duration) (string, error) {
	p, ok := l.(pinger)
	if !ok {
		return "", errors.New("it has no ping")
	}
	alone, err := pingsUntil(p, time.Now().Add(idle))
	if err != nil {
		return "", err
	}
	var returned atomic.Int64
	big := make([]byte, bigSize)
	var stop atomic.Bool
	flow := make(chan error, bigCallers)
	for range bigCallers {
		go func() {
			var back []byte
			for !stop.Load() {
				var err error
				if back, err = p.echo(big, back); err != nil {
					flow <- err
					return
				}
				returned.Add(1)
			}
			flow <- nil
		}()
	}
	for returned.Load() < bigCallers && len(flow) == 0 { // they have grown their buffers
		time.Sleep(time.Millisecond)
	}
	begin, before := time.Now(), returned.Load()
	beside, err := pingsUntil(p, begin.Add(full))
	rate := float64(returned.Load()-before) * bigSize / time.Since(begin).Seconds()
	stop.Store(true)
	for range bigCallers {
		err = errors.Join(err, <-flow)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprint(percentile(alone, 50), percentile(alone, 99), percentile(beside, 50), percentile(beside, 99), rate), nil
}

func pingsUntil(p pinger, until time.Time) (took []float64, err error) {
	for len(took) == 0 || time.Now().Before(until) {
		begin := time.Now()
		if err := p.ping(); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(begin).Nanoseconds())/1e3)
	}
	return took, nil
}

func percentile(values []float64, p int) float64 {
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, len(s)*p/100)]
}

func pingName(pinned bool) string {
	if pinned {
		return "ping/pinned"
	}
	return "ping/unpinned"
}

// ping measures all peers in turn, round by round.
func (b *bench) ping(pinned bool) error {
	if !b.only.MatchString(pingName(pinned)) {
		return nil
	}
	pairs, err := b.start(pinned, func(p peer) bool { return p.pings && (p.max == 0 || p.max >= bigSize) })
	if err != nil {
		return err
	}
	defer func() { endAll(pairs) }()
	const figures = 6
	all := map[string]*[figures][]float64{}
	for range b.rounds {
		for _, p := range pairs {
			v, err := p.ping(b.length, 4*b.length)
			if err != nil {
				return fmt.Errorf("%s: %w", p.peer.name, err)
			}
			if all[p.peer.key] == nil {
				all[p.peer.key] = new([figures][]float64)
			}
			for i := range v {
				all[p.peer.key][i] = append(all[p.peer.key][i], v[i])
			}
		}
	}
	cell := report.PingCell{Pinned: pinned, Peers: map[string]report.PingPoint{}}
	fmt.Fprintf(b.log, "\n%s, %d rounds, µs\n%-28s %10s %10s %10s %10s %12s\n", pingName(pinned), b.rounds, "", "idle p50", "idle p99", "full p50", "full p99", "MiB/s")
	for _, p := range pairs {
		v := all[p.peer.key]
		pt := report.PingPoint{
			IdleP50: report.NewStat(v[0]), IdleP99: report.NewStat(v[1]),
			FullP50: report.NewStat(v[2]), FullP99: report.NewStat(v[3]),
			Flow: report.NewStat(v[4]), Chunks: report.NewStat(v[5]),
		}
		cell.Peers[p.peer.key] = pt
		fmt.Fprintf(b.log, "%-28s %10.0f %10.0f %10.0f %10.0f %12.0f\n", p.peer.name,
			pt.IdleP50.Median, pt.IdleP99.Median, pt.FullP50.Median, pt.FullP99.Median, pt.Flow.Median)
	}
	b.results.Pings = append(b.results.Pings, cell)
	return b.keep(b.results)
}

// ping asks the parent for a pingRun: idle p50 and p99, full p50 and p99 in
// microseconds, the flow in MiB per second, and what two chunks take of it.
func (p *pair) ping(idle, full time.Duration) (v [6]float64, err error) {
	fmt.Fprintln(p.in, "ping", idle.Milliseconds(), full.Milliseconds())
	err = p.line(patience+idle+full, "%g %g %g %g %g", &v[0], &v[1], &v[2], &v[3], &v[4])
	if err != nil {
		return v, err
	}
	if v[4] > 0 {
		v[5] = 2 * chunk / v[4] * 1e6
	}
	v[4] /= 1 << 20
	return v, nil
}
