package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is one way for a parent and its child to talk.
type peer struct {
	name string // in tables
	key  string // in flags and files
	max  int    // bytes of a message; 0: any
	// pings: small requests beside big ones are measured, too. It multiplexes.
	pings    bool
	pingOnly bool // and nothing else

	// A peer in Go is this program again, as parent and as child.
	open  func() (link, error)
	serve func(args []string) error

	// One in another language is a program that it has to be able to run.
	needs   string   // in the PATH
	program string   // in programs/
	args    []string // of the program
}

// foreign says that it is not in Go, so that its allocations are not known.
func (p peer) foreign() bool { return p.open == nil }

// peers in the order of the tables: floors, brood, the others.
var peers = []peer{
	{name: "C floor", key: "c", needs: "gcc", program: "floor.c"},
	{name: "bare Go", key: "bare", open: openBare, serve: bareChild},
	{name: "brood", key: "brood", pings: true, open: openBrood, serve: broodChild},
	{name: "brood, a goroutine a call", key: "broodgo", open: openBroodGoroutine, serve: broodChild},
	{name: "brood, the ping of an idle worker beside it", key: "broodother", pings: true, pingOnly: true, open: openBroodOther, serve: broodChild},
	{name: "net/rpc", key: "netrpc", pings: true, open: openNetRPC, serve: netRPCChild},
	{name: "ttrpc", key: "ttrpc", open: openTTRPC, serve: ttrpcChild, max: 1 << 20}, // its limit is 4 MiB
	{name: "gRPC", key: "grpc", pings: true, open: openGRPC, serve: grpcChild},
	{name: "go-plugin", key: "plugin", pings: true, open: openPlugin, serve: pluginChild},
	{name: "Node process.send, JSON", key: "node", needs: "node", program: "send.js", args: []string{"json"}},
	{name: "Node process.send, advanced", key: "nodeadv", needs: "node", program: "send.js", args: []string{"advanced"}},
	{name: "Python Pipe", key: "python", needs: "python3", program: "pipe.py"},
}

//go:embed programs
var programFiles embed.FS

// programs is the directory in which the peers of other languages are laid out
// and compiled.
type programs struct{ dir string }

func newPrograms(dir string) (*programs, error) {
	entries, err := programFiles.ReadDir("programs")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := programFiles.ReadFile("programs/" + e.Name())
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), text, 0o644); err != nil {
			return nil, err
		}
	}
	return &programs{dir}, nil
}

// errMissing: the machine has not what the peer needs.
var errMissing = errors.New("not installed")

// command is what runs a peer's parent.
func (ps *programs) command(p peer) ([]string, error) {
	if !p.foreign() {
		self, err := os.Executable()
		return []string{self, "parent", p.key}, err
	}
	tool, err := exec.LookPath(p.needs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.needs, errMissing)
	}
	file := filepath.Join(ps.dir, p.program)
	if p.needs != "gcc" {
		return append([]string{tool, file}, p.args...), nil
	}
	binary := strings.TrimSuffix(file, ".c")
	if text, err := exec.Command(tool, "-O2", "-Wall", "-o", binary, file).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", p.program, err, text)
	}
	return append([]string{binary}, p.args...), nil
}
