package main

import (
	"math"
	"testing"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
)

// TestBarHugeNumbers: how far a command is is the worker's to say, and must not
// end the client.
func TestBarHugeNumbers(t *testing.T) {
	b := newBar(term.Out{Terminal: true, Width: 80})
	for _, p := range []api.Progress{
		{Done: 4e17, Total: 4e17}, {Done: math.MaxInt64, Total: math.MaxInt64}, {Done: math.MaxInt64 / 2, Total: math.MaxInt64},
		{Done: math.MinInt64, Total: 1}, {Done: 1, Total: math.MinInt64}, {Done: math.MaxInt64, Total: 1},
	} {
		if text := b.text(p, 79); term.Width(text) > 79 {
			t.Errorf("%+v: %d columns: %q", p, term.Width(text), text)
		}
	}
	if text := b.text(api.Progress{Done: 29, Total: 100}, 79); text != "████████░░░░░░░░░░░░░░░░░░░░░░  29% 29/100" {
		t.Errorf("%q", text)
	}
}
