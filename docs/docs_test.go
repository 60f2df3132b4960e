// Package docs_test runs what the documents say. Every fenced block of every
// Markdown file of the tree is held against the program: what is typed is typed,
// what is configuration, JSON or code is read by what would read it. A block that
// cannot be run says why.
//
// CONTRIBUTING.md has the marks that a document may use.
package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// root is the tree; binDir has brood and the examples, built.
var root, binDir string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if root, err = filepath.Abs(".."); err == nil {
		binDir, err = os.MkdirTemp("", "brood-docs")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binDir)
	build := exec.Command("go", "build", "-o", binDir+"/", "./cmd/brood", "./examples/...")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	for _, name := range []string{"BROOD_SOCKET", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET", "LISTEN_FDS"} {
		os.Unsetenv(name)
	}
	return m.Run()
}

// documents are all Markdown files of the tree, below root. It looks at the
// program's sources too, so that a cached result of this test ends with them.
func documents(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() && path != root && (name[0] == '.' || name == "node_modules" || name == "testdata" || name == "dist") {
			return filepath.SkipDir
		}
		switch filepath.Ext(name) {
		case ".md":
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			all = append(all, rel)
		case ".go", ".py", ".js", ".c", ".h", ".sh":
			_, err := os.Stat(path)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 8 {
		t.Fatalf("only %d documents found: %q", len(all), all)
	}
	return all
}

// TestDocuments holds each document's blocks, in their order, against what they
// are about.
func TestDocuments(t *testing.T) {
	for _, path := range documents(t) {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			blocks, err := readBlocks(filepath.Join(root, path))
			if err != nil {
				t.Fatal(err)
			}
			s := &session{t: t, path: path}
			defer s.end()
			for _, b := range blocks {
				s.hold(b)
			}
		})
	}
}

// TestBlocksNotRun lists the blocks that are left out, with their reasons.
func TestBlocksNotRun(t *testing.T) {
	for _, path := range documents(t) {
		blocks, err := readBlocks(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks {
			switch {
			case b.skip != "":
				t.Logf("%s:%d: %s is not run: %s", path, b.line, b.lang, b.skip)
			case b.lang == "" && strings.Contains("\n"+b.text, "\n$ "):
				t.Errorf("%s:%d: this is typed; make it a block of console", path, b.line)
			}
		}
	}
}

// checkers read a block of a language that is not typed. Blocks without a
// language are pictures and tables.
var checkers = map[string]func(t *testing.T, s *session, b block){
	"":           func(*testing.T, *session, block) {},
	"yaml":       checkYAML,
	"json":       checkJSON,
	"go":         checkGo,
	"python":     checkPython,
	"js":         checkJS,
	"javascript": checkJS,
	"c":          checkC,
	"php":        checkPHP,
	"frames":     checkFrames,
	"html":       checkMarks,
}

// checkMarks: CONTRIBUTING.md shows the marks themselves.
func checkMarks(t *testing.T, s *session, b block) {
	if s.path != "CONTRIBUTING.md" {
		t.Errorf("%s:%d: nobody reads blocks of html", s.path, b.line)
	}
}

// hold holds one block.
func (s *session) hold(b block) {
	if b.setup != "" || b.lang == "console" || b.lang == "sh" || b.file != "" {
		s.open(b)
	}
	switch check := checkers[b.lang]; {
	case b.skip != "":
	case b.in != "":
		s.checkStandsIn(b)
	case b.lang == "console":
		s.console(b)
	case b.lang == "sh":
		s.script(b)
	case check != nil:
		check(s.t, s, b)
	default:
		s.t.Errorf("%s:%d: nobody reads blocks of %q; mark it: <!-- test: in FILE -->, or <!-- test: skip REASON -->", s.path, b.line, b.lang)
	}
	if b.file != "" {
		s.write(b)
	}
}

// checkStandsIn: the block is part of that file, line by line.
func (s *session) checkStandsIn(b block) {
	text, err := os.ReadFile(filepath.Join(root, b.in))
	if err != nil {
		s.t.Errorf("%s:%d: %v", s.path, b.line, err)
		return
	}
	if !strings.Contains("\n"+string(text), "\n"+b.text) {
		s.t.Errorf("%s:%d: this does not stand in %s", s.path, b.line, b.in)
	}
}

// write puts the block's text into a file of the session's directory.
func (s *session) write(b block) {
	path := filepath.Join(s.sh.dir, b.file)
	if err := os.WriteFile(path, []byte(b.text), 0o755); err != nil {
		s.t.Fatalf("%s:%d: %v", s.path, b.line, err)
	}
}
