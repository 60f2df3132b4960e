package report

import (
	"fmt"
	"math"
	"strings"
)

// Peer names what a key of WireCell.Peers stands for.
type Peer struct {
	Key, Name string
	Floor     bool // not a peer, but what is below all of them
	colour    string
}

// Peers in the order of the tables.
var Peers = []Peer{
	{"c", "C floor", true, "c1"},
	{"bare", "bare Go", true, "c2"},
	{"brood", "brood", false, "c0"},
	{"broodgo", "brood, a goroutine a call", false, "c9"},
	{"broodother", "brood, the ping of an idle worker beside it", false, "c7"},
	{"netrpc", "net/rpc", false, "c3"},
	{"ttrpc", "ttrpc", false, "c4"},
	{"grpc", "gRPC", false, "c5"},
	{"plugin", "go-plugin", false, "c6"},
	{"node", "Node process.send, JSON", false, "c7"},
	{"nodeadv", "Node process.send, advanced", false, "c8"},
	{"python", "Python Pipe", false, "c9"},
}

// ours says that a key is brood's.
func ours(key string) bool { return strings.HasPrefix(key, "brood") }

// count is a rate in few letters: 1.86M, 145k, 930.
func count(v float64) string {
	switch {
	case v >= 999_500:
		return digits(v/1e6) + "M"
	case v >= 9_995:
		return digits(v/1e3) + "k"
	case v >= 999.5:
		return fmt.Sprintf("%.2fk", v/1e3)
	}
	return digits(v)
}

// digits is v with three of them.
func digits(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// times is a ratio.
func times(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return digits(v) + " ×"
}

func mib(v float64) string {
	if v >= 1024 {
		return digits(v/1024) + " GiB/s"
	}
	return digits(v) + " MiB/s"
}

func micro(v float64) string {
	if v >= 9_995 {
		return digits(v/1e3) + " ms"
	}
	return digits(v) + " µs"
}
