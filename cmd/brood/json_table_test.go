package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"example.com/brood/supervisor/control/api"
)

// TestJSONTable holds the table of docs/cli.md against what -o json prints: every
// command that has it is there, with every field of its types.
func TestJSONTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## JSON\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := map[string]string{} // what stands behind a command's name
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, " | "); len(cells) == 3 {
			for _, name := range strings.Split(strings.TrimPrefix(cells[0], "| "), ", ") {
				rows[strings.Trim(name, "`")] = cells[2]
			}
		}
	}
	for _, c := range newRoot(&globals{}).Commands() {
		if c.Flags().Lookup("output") != nil && rows[c.Name()] == "" {
			t.Errorf("%s has no row", c.Name())
		}
	}
	printed := map[string]any{
		"status": api.Status{}, "status POOL": api.Pool{}, "status WORKER": api.Worker{}, "health": api.Health{}, "ping": api.Ping{},
		"send": api.Piece{}, "restart": api.Result{}, "reload": api.Reload{}, "shutdown": struct{}{}, "logs": api.LogLine{}, "events": api.Event{},
		"check": checked{}, "whoami": api.Whoami{}, "version": api.Version{}, "upgrade": api.Upgrade{}, "conformance": conformed{},
	}
	elsewhere := map[reflect.Type]bool{ // in a row of their own, or in api.md
		reflect.TypeFor[api.Pool](): true, reflect.TypeFor[api.Worker](): true, reflect.TypeFor[api.Result](): true, reflect.TypeFor[api.Problem](): true,
	}
	for name, v := range printed {
		var hold func(reflect.Type)
		hold = func(typ reflect.Type) {
			for i := range typ.NumField() {
				field := typ.Field(i)
				key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				if !strings.Contains(rows[name], "`"+key+"`") {
					t.Errorf("%s: %q is not there", name, key)
				}
				of := field.Type
				for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
					of = of.Elem()
				}
				if of.Kind() == reflect.Struct && !elsewhere[of] {
					hold(of)
				}
			}
		}
		hold(reflect.TypeOf(v))
	}
	for name := range rows {
		if _, ok := printed[name]; !ok && rows["restart"] != rows[name] && name != "command" {
			t.Errorf("%s is in the table, and nothing prints it", name)
		}
	}
}
