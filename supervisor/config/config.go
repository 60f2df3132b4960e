// Package config reads brood.yaml into a [supervisor.Config], and reports
// everything that is wrong with it at once, each with its line:
//
//	f, err := config.Load("brood.yaml")
//	if err != nil { … } // brood.yaml:4:5: pools.web.wrokers: unknown key; did you mean "workers"?
//	s, err := supervisor.New(supervisor.Config{Pools: f.Pools})
//
// Promises:
//
//   - Nothing is guessed: an unknown key, a number without its unit, a key
//     written twice or a zero where it makes no sense is an error.
//   - Every error is an [*Error]; several are joined, in the order of the file.
//   - What a hostile file costs is bounded: its size, its depth, how much is in
//     it. Anchors, aliases, merge keys and tags are refused.
//   - No value is expanded: neither $NAME nor ~.
//
// The keys are one table (keys.go). It makes the reader and the JSON Schema,
// and docs/config.md is tested against it.
package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"example.com/brood/supervisor"
)

// File is a configuration as read.
type File struct {
	Pools   []supervisor.Pool // in the order of the file; a zero field means its default
	Control Control           // defaults filled in
}

// Control is the control socket.
type Control struct {
	Listen []Listener // at least one
	Access []Rule     // nil: there are none
	Audit  string     // the file that changes are written down in. Empty: the log
	// AuditRequired: changes are refused while they can't be written down.
	AuditRequired bool
	// MaxConnections is how many there may be at once, MaxPerUser how many of one
	// user. Unset: 1024 and 256.
	MaxConnections, MaxPerUser int
}

// Listener is one socket file.
type Listener struct {
	Path  string      // Empty: the command line decides; at most one is so
	Mode  os.FileMode // of the socket file. Unset: 0600
	Group string      // the socket file's group, a name or a number. Empty: the supervisor's own
	// Role is that of whom Mode lets in and no rule names: none, viewer, operator
	// or admin. Unset: viewer.
	Role string
	// MaxRole is the highest role that anybody has through this socket: viewer,
	// operator or admin. Unset: admin.
	MaxRole string
}

// Rule gives a role to whom it names.
type Rule struct {
	Role          string
	Users, Groups []string // names or numbers
	Pools         []string // in these alone. Empty: everywhere
	Commands      []string // of what changes something, these alone. Empty: whatever the role covers
}

// Error is one thing wrong with a file.
type Error struct {
	File         string // as it was named to Load or Parse
	Line, Column int    // from 1, in characters. 0: the file as a whole
	Path         string // the key: "pools.web.stop.timeout". Empty: the file itself
	Problem      string // what, and what to do
	Err          error  // what the system said, such as fs.ErrNotExist. nil: nothing
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(printable(e.Path) + ": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// printable quotes s if a terminal would take part of it for an order.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// Load reads a file, and checks it against this system too: the directories of
// the pools, their programs and files of variables, users and groups, and
// whether the supervisor may become these. The error is one *[Error] or several
// joined.
func Load(path string) (*File, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	src := newSource(path)
	f := src.parse(text)
	src.checkSystem(f)
	return src.result(f)
}

// Parse reads the text of a file, which errors call name. It does not look at
// the file system. The error is one *[Error] or several joined.
func Parse(name string, text []byte) (*File, error) {
	src := newSource(name)
	return src.result(src.parse(text))
}

// parse reads and checks what the text alone can tell. It returns what could
// be read even where there are errors.
func (src *source) parse(text []byte) *File {
	var f File
	if root, ok := src.tree(text); ok {
		f, _ = wholeFile().read(root)
		src.checkPools(f.Pools)
	}
	f.Control = f.Control.WithDefaults()
	src.checkControl(f)
	return &f
}

// checkPools lets the supervisor judge, and gives each of its errors a place.
// What is the consequence of an error already reported is left out.
func (src *source) checkPools(pools []supervisor.Pool) {
	src.checkListen(pools)
	c := supervisor.Config{Pools: make([]supervisor.Pool, len(pools))}
	for i, p := range pools {
		if src.isBlamed("pools." + p.Name + ".workers") {
			p.MinReady = 0 // there is nothing to hold it against
		}
		p.After = src.known(p, pools)
		c.Pools[i] = p
	}
	for _, err := range unjoin(c.Validate()) {
		var field *supervisor.FieldError
		if !errors.As(err, &field) {
			src.report(place{}, "", "%v", err)
		} else if !src.isBlamed(field.Field) {
			src.report(src.placeOf(field.Field), field.Field, "%s", field.Problem)
		}
	}
}

// known are the pools there are of those that p comes after. The others are
// reported, unless something is wrong with them, which says it all.
func (src *source) known(p pool, pools []pool) (after []string) {
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.Name
	}
	for i, name := range p.After {
		path := fmt.Sprintf("pools.%s.after[%d]", p.Name, i)
		switch {
		case slices.Contains(names, name):
			after = append(after, name)
		case !src.blamed["pools."+name]:
			src.report(src.placeOf(path), path, "there is no pool %q%s", name, didYouMean(name, names))
		}
	}
	return after
}

// unjoin is the inverse of errors.Join.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
