package brood_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "example.com/brood/"

// rules is what each package may import of this module and, where deps is
// set, of others. Arrows run one way.
var rules = []struct {
	pkg  string   // a path below the module
	not  []string // of this module
	deps []string // the only foreign modules allowed; nil: no rule
}{
	{"ipc", []string{"worker", "supervisor", "cmd"}, []string{"golang.org/x/sys/"}},
	{"worker", []string{"supervisor", "cmd"}, []string{"golang.org/x/sys/"}},
	{"supervisor", []string{"supervisor/control", "supervisor/config", "worker", "cmd"}, nil},
	{"supervisor/config", []string{"supervisor/control", "cmd"}, nil},
	{"supervisor/control", []string{"supervisor/config", "supervisor/control/client", "cmd"}, nil},
	{"supervisor/control/api", []string{""}, []string{}},
	{"supervisor/control/client", []string{"supervisor/internal", "supervisor/config", "cmd"}, []string{"golang.org/x/sys/"}},
	{"supervisor/internal/lifecycle", []string{"ipc", "worker", "supervisor/internal/process", "supervisor/internal/capture", "cmd"}, []string{"golang.org/x/sys/"}},
}

// pure are the packages that do no I/O, with what they must not import.
var pure = map[string][]string{
	"supervisor/internal/lifecycle": {"os", "os/exec", "net", "io", "bufio", "math/rand", "math/rand/v2", "context", "sync"},
}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range list(t) {
		name, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok {
			continue
		}
		for _, r := range rules {
			if r.pkg != name {
				continue
			}
			for _, imp := range p.Imports {
				own, isOwn := strings.CutPrefix(imp, module)
				if isOwn && below(own, r.not) {
					t.Errorf("%s imports %s", name, own)
				}
				if !isOwn && r.deps != nil && strings.Contains(strings.Split(imp, "/")[0], ".") && !slices.ContainsFunc(r.deps, func(d string) bool { return strings.HasPrefix(imp, d) }) {
					t.Errorf("%s imports %s", name, imp)
				}
			}
		}
		for _, imp := range p.Imports {
			if slices.Contains(pure[name], imp) {
				t.Errorf("%s, which does no I/O, imports %s", name, imp)
			}
		}
	}
}

func below(pkg string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return root == "" || pkg == root || strings.HasPrefix(pkg, root+"/")
	})
}

type listed struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		switch err := d.Decode(&p); err {
		case nil:
			all = append(all, p)
		case io.EOF:
			if len(all) < len(rules) {
				t.Fatalf("go list found %d packages", len(all))
			}
			return all
		default:
			t.Fatal(err)
		}
	}
}
