package docs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"example.com/brood/supervisor/config"
)

// checkYAML reads brood.yaml, whole or in part: keys of a pool or of the file
// alone get the rest around them. Anything else must say in which file it stands.
func checkYAML(t *testing.T, s *session, b block) {
	var keys yaml.MapSlice
	if err := yaml.Unmarshal([]byte(b.text), &keys); err != nil {
		t.Errorf("%s:%d: %v", s.path, b.line, err)
		return
	}
	has := func(name string) bool {
		return slices.ContainsFunc(keys, func(k yaml.MapItem) bool { return k.Key == name })
	}
	text := b.text
	switch {
	case has("pools"):
	case has("control"):
		text += "pools: {web: {command: [./server]}}\n"
	default:
		if !has("command") {
			text = "command: [./server]\n" + text
		}
		text = "pools:\n  web:\n    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
	}
	if _, err := config.Parse(fmt.Sprintf("%s, block at %d", s.path, b.line), []byte(text)); err != nil {
		t.Error(err)
	}
}

// checkJSON reads one value or several. "…" may only stand within a text.
func checkJSON(t *testing.T, s *session, b block) {
	d := json.NewDecoder(strings.NewReader(b.text))
	for {
		var v any
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			t.Errorf("%s:%d: %v", s.path, b.line, err)
			return
		}
	}
}

// checkFrames: docs/protocol.md's frames are held by the tests of ipc.
func checkFrames(t *testing.T, s *session, b block) {
	if s.path != "docs/protocol.md" {
		t.Errorf("%s:%d: frames are read in docs/protocol.md only", s.path, b.line)
	}
}

func checkPython(t *testing.T, s *session, b block) {
	s.compile(t, b, "python3", "-c", "import sys; compile(sys.stdin.read(), sys.argv[1], 'exec')", s.path)
}

func checkJS(t *testing.T, s *session, b block) {
	name := "block.cjs"
	if strings.Contains(b.before+b.text, "import ") {
		name = "block.mjs"
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(b.before+b.text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.compile(t, b, "node", "--check", path)
}

func checkC(t *testing.T, s *session, b block) {
	s.compile(t, b, "gcc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I", filepath.Join(root, "worker/c"), "-xc", "-")
}

func checkPHP(t *testing.T, s *session, b block) { s.compile(t, b, "php", "-l") }

// compile has a compiler read the block from its standard input.
func (s *session) compile(t *testing.T, b block, program string, args ...string) {
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(b.before + b.text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s:%d: %v\n%s", s.path, b.line, err, out)
	}
}

// checkGo compiles the block in a module of its own. A fragment gets the imports
// that it uses, and a function around it if it has statements; "…" is left out.
func checkGo(t *testing.T, s *session, b block) {
	text, err := goFile(b.before + strings.ReplaceAll(b.text, "…", ""))
	if err != nil {
		t.Errorf("%s:%d: %v", s.path, b.line, err)
		return
	}
	dir := t.TempDir()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	mod = bytes.Replace(mod, []byte("module example.com/brood\n"), []byte("module example.com/document\n"), 1)
	mod = fmt.Appendf(mod, "\nrequire example.com/brood v0.0.0\nreplace example.com/brood => %s\n", root)
	for name, content := range map[string][]byte{"go.mod": mod, "go.sum": sum, "block.go": []byte(text)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-mod=mod", "-o", os.DevNull, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s:%d: %v\n%s\n%s", s.path, b.line, err, out, text)
	}
}

// packages are those that fragments may use without an import.
var packages = map[string]string{
	"ipc": "example.com/brood/ipc", "worker": "example.com/brood/worker", "web": "example.com/brood/worker/web",
	"supervisor": "example.com/brood/supervisor", "config": "example.com/brood/supervisor/config",
	"control": "example.com/brood/supervisor/control", "client": "example.com/brood/supervisor/control/client",
	"api": "example.com/brood/supervisor/control/api", "http": "net/http", "json": "encoding/json",
	"context": "", "errors": "", "fmt": "", "io": "", "log": "", "net": "", "os": "", "strings": "", "strconv": "", "sync": "", "time": "",
}

// goFile makes a file of a fragment.
func goFile(text string) (string, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "package ") {
		return text, nil
	}
	whole := "package document\n" + text
	file, err := parser.ParseFile(token.NewFileSet(), "", whole, 0)
	if err != nil {
		whole = "package document\nfunc _() {\n" + text + "\n}\n"
		if file, err = parser.ParseFile(token.NewFileSet(), "", whole, 0); err != nil {
			return "", err
		}
		body := file.Decls[0].(*ast.FuncDecl).Body
		whole = "package document\nfunc _() {\n" + text + "\n" + useAll(body) + "\n}\n"
	}
	if len(file.Imports) > 0 {
		return whole, nil
	}
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil {
				used[id.Name] = true
			}
		}
		return true
	})
	var imports strings.Builder
	for name := range used {
		if path, ok := packages[name]; ok {
			if path == "" {
				path = name
			}
			fmt.Fprintf(&imports, "import %q\n", path)
		}
	}
	return strings.Replace(whole, "package document\n", "package document\n"+imports.String(), 1), nil
}

// useAll is a use of every variable that the statements declare: a fragment need
// not use them.
func useAll(body *ast.BlockStmt) string {
	var uses []string
	for _, st := range body.List {
		if a, ok := st.(*ast.AssignStmt); ok && a.Tok == token.DEFINE {
			for _, e := range a.Lhs {
				if id := e.(*ast.Ident); id.Name != "_" {
					uses = append(uses, "_ = "+id.Name)
				}
			}
		}
	}
	return strings.Join(uses, "\n")
}
