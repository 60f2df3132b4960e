package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/brood/supervisor"
)

// The defaults in the table of keys are those that package supervisor fills in:
// a pool with every default written out is a pool with every def(&p.…, …) of
// its source carried out.
func TestDefaultsAreTheSupervisors(t *testing.T) {
	lines := map[string]string{} // by section; "": the pool's own
	for name, d := range allKeys(t) {
		section, key, nested := strings.Cut(name, ".")
		if !nested {
			section, key = "", name
		}
		if d.Default != nil && section != "control" {
			lines[section] += fmt.Sprintf("      %s: %v\n", key, d.Default)
		}
	}
	text := "pools:\n  web:\n      command: [x]\n" + lines[""]
	delete(lines, "")
	for section, keys := range lines {
		text += "      " + section + ":\n" + strings.ReplaceAll(keys, "      ", "        ")
	}
	f, err := Parse("defaults", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := supervisor.Pool{Name: "web", Command: []string{"x"}, Restart: supervisor.Restart{GiveUpCodes: []int{}}}
	// Its explicit 1 stands for the rule that the two are not both 0.
	want.Rollout.Surge = 1
	if n := fillIn(t, &want, "../config.go"); n < 20 {
		t.Fatalf("only %d defaults found in supervisor/config.go; where are they now?", n)
	}
	if !reflect.DeepEqual(f.Pools[0], want) {
		t.Errorf("the table of keys:\n%+v\npackage supervisor:\n%+v", f.Pools[0], want)
	}
}

// fillIn carries out every def(&p.Field.Field, value) in a source.
func fillIn(t *testing.T, p *supervisor.Pool, source string) (n int) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 || fmt.Sprint(call.Fun) != "def" {
			return true
		}
		field := reflect.ValueOf(p).Elem()
		for _, name := range fieldPath(call.Args[0].(*ast.UnaryExpr).X) {
			field = field.FieldByName(name)
		}
		switch v := evaluate(t, call.Args[1]).(type) {
		case string:
			field.SetString(v)
		case int64:
			field.SetInt(v)
		case float64:
			field.SetFloat(v)
		}
		n++
		return false
	})
	return n
}

// fieldPath is [Stop Timeout] for p.Stop.Timeout.
func fieldPath(e ast.Expr) []string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		return append(fieldPath(s.X), s.Sel.Name)
	}
	return nil
}

// evaluate knows the constants that defaults are made of.
func evaluate(t *testing.T, e ast.Expr) any {
	named := map[string]any{
		"Second": int64(time.Second), "Minute": int64(time.Minute), "Millisecond": int64(time.Millisecond),
		"SIGTERM": int64(syscall.SIGTERM), "ReadyAuto": string(supervisor.ReadyAuto),
		"ActionRestart": string(supervisor.ActionRestart), "RestartAlways": string(supervisor.RestartAlways),
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.FLOAT {
			f, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		n, err := strconv.ParseInt(e.Value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	case *ast.BinaryExpr:
		return evaluate(t, e.X).(int64) * evaluate(t, e.Y).(int64)
	case *ast.CallExpr: // max(default, something set by hand)
		return evaluate(t, e.Args[0])
	case *ast.SelectorExpr:
		if v, ok := named[e.Sel.Name]; ok {
			return v
		}
	case *ast.Ident:
		if v, ok := named[e.Name]; ok {
			return v
		}
	}
	t.Fatalf("a default in a form that this test does not know: %#v", e)
	return nil
}

func TestControlDefaults(t *testing.T) {
	f, err := Parse("b.yaml", []byte(smallest))
	if err != nil {
		t.Fatal(err)
	}
	keys := allKeys(t)
	l := f.Control.Listen[0]
	if got := fmt.Sprintf("%04o", l.Mode); got != keys["control.listen.mode"].Default {
		t.Errorf("mode %s, described as %v", got, keys["control.listen.mode"].Default)
	}
	if l.Role != keys["control.listen.role"].Default || l.MaxRole != keys["control.listen.max_role"].Default {
		t.Errorf("roles %s and %s, described as %v and %v", l.Role, l.MaxRole, keys["control.listen.role"].Default, keys["control.listen.max_role"].Default)
	}
}
