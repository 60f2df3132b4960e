package supervisor

import (
	"errors"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]Target{
		"web":        {Pool: "web"},
		"@web":       {Pool: "web"},
		"web/2":      {Pool: "web", Slot: 2},
		"@web/2":     {Pool: "web", Slot: 2},
		"web/2#7":    {Pool: "web", Slot: 2, Generation: 7},
		"web/*":      {Pool: "web", All: true},
		"*":          {Pool: "*", All: true},
		"@*":         {Pool: "*", All: true},
		"@1":         {Slot: 1},
		"a.b-c_d/10": {Pool: "a.b-c_d", Slot: 10},
	} {
		got, err := ParseTarget(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := ParseTarget(got.String()); err != nil || again != got {
			t.Errorf("%s: its text %q is %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{
		"", "@", "1", "@0", "@-1", "web/", "web/0", "web/-1", "web/two", "web/1#", "web/1#0", "web/1#x", "web/*#1", "web#1",
		"/1", "web/1/2", "two words", "**", "web/99999999999999999999", "web/1#99999999999999999999",
	} {
		if got, err := ParseTarget(text); !errors.Is(err, ErrBadTarget) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}
