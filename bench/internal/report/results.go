// Package report keeps what the benchmarks have measured and writes
// docs/performance.md and its plots from it.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Results are the figures of any number of runs. What is measured again
// replaces what was there, a cell of a table at a time, so a long measurement
// can be taken in parts.
type Results struct {
	Machine Machine           `json:"machine"`
	Peers   map[string]string `json:"peers,omitempty"` // what it is -> its version, or why it was left out
	Wire    []WireCell        `json:"wire,omitempty"`
	Pings   []PingCell        `json:"pings,omitempty"`
	Control []ControlCell     `json:"control,omitempty"`
	Tools   []ToolCell        `json:"tools,omitempty"`
	Engine  []EngineFigure    `json:"engine,omitempty"`
}

// Machine is all that is said of it.
type Machine struct {
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// Stat is a figure of several rounds.
type Stat struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// NewStat is the Stat of at least one value.
func NewStat(values []float64) Stat {
	s := slices.Sorted(slices.Values(values))
	return Stat{s[len(s)/2], s[0], s[len(s)-1]}
}

// WireCell is one size with so many callers, measured side by side.
type WireCell struct {
	Pinned  bool                 `json:"pinned"` // both processes on one CPU
	Size    int                  `json:"size"`   // bytes of the message, which comes back
	Callers int                  `json:"callers"`
	Rounds  int                  `json:"rounds"`
	Peers   map[string]WirePoint `json:"peers"`
}

func (c WireCell) key() string { return fmt.Sprint(c.Pinned, c.Size, c.Callers) }

// Name is how a cell is selected and shown.
func (c WireCell) Name() string {
	where := "unpinned"
	if c.Pinned {
		where = "pinned"
	}
	return fmt.Sprintf("%s/%s/%d", where, Size(c.Size), c.Callers)
}

// WirePoint is one peer in a cell.
type WirePoint struct {
	Rate   Stat  `json:"rate"`   // calls per second
	CPU    Stat  `json:"cpu"`    // microseconds per call, both processes
	Allocs *Stat `json:"allocs"` // per call, both processes; nil: not known
}

// PingCell is a small request on a connection that is idle or full.
type PingCell struct {
	Pinned bool                 `json:"pinned"`
	Peers  map[string]PingPoint `json:"peers"`
}

// PingPoint is one peer's; in microseconds.
type PingPoint struct {
	IdleP50 Stat `json:"idle_p50"`
	IdleP99 Stat `json:"idle_p99"`
	FullP50 Stat `json:"full_p50"`
	FullP99 Stat `json:"full_p99"`
	Chunks  Stat `json:"chunks"` // what two chunks of 64 KiB take at the rate that was measured meanwhile
	Flow    Stat `json:"flow"`   // MiB per second in each direction meanwhile
}

// ControlCell is one request, with so many clients, of the servers that have it.
type ControlCell struct {
	Request string          `json:"request"`
	Clients int             `json:"clients"`
	Rounds  int             `json:"rounds"`
	Rate    map[string]Stat `json:"rate"` // requests per second
}

// ToolCell is a whole process, from its start to its end.
type ToolCell struct {
	Command string `json:"command"`
	MS      Stat   `json:"ms"`
}

// EngineFigure is one line of the engine's benchmarks.
type EngineFigure struct {
	Benchmark string  `json:"benchmark"`
	Unit      string  `json:"unit"`
	Value     float64 `json:"value"`
}

// Size is n bytes in words.
func Size(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

// ThisMachine describes the machine we are on.
func ThisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Kernel: "unknown", Go: runtime.Version()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + release
	}
	return m
}

// Load reads what was measured before; a file that is not there is no results.
func Load(path string) (Results, error) {
	var r Results
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Save writes r as JSON.
func (r Results) Save(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Merge puts what is newer in the place of what was there.
func (r *Results) Merge(newer Results) {
	r.Machine = newer.Machine
	if r.Peers == nil {
		r.Peers = map[string]string{}
	}
	for k, v := range newer.Peers {
		r.Peers[k] = v
	}
	r.Wire = merge(r.Wire, newer.Wire, WireCell.key)
	slices.SortStableFunc(r.Wire, compareWire)
	r.Pings = merge(r.Pings, newer.Pings, func(c PingCell) string { return fmt.Sprint(c.Pinned) })
	r.Control = merge(r.Control, newer.Control, func(c ControlCell) string { return fmt.Sprint(c.Request, c.Clients) })
	r.Tools = merge(r.Tools, newer.Tools, func(c ToolCell) string { return c.Command })
	r.Engine = merge(r.Engine, newer.Engine, func(f EngineFigure) string { return f.Benchmark + f.Unit })
}

func merge[T any](old, newer []T, key func(T) string) []T {
	for _, n := range newer {
		if i := slices.IndexFunc(old, func(o T) bool { return key(o) == key(n) }); i >= 0 {
			old[i] = n
		} else {
			old = append(old, n)
		}
	}
	return old
}

func compareWire(a, b WireCell) int {
	switch {
	case a.Pinned && !b.Pinned:
		return -1
	case b.Pinned && !a.Pinned:
		return 1
	case a.Size != b.Size:
		return a.Size - b.Size
	}
	return a.Callers - b.Callers
}
