// Package show is how a worker's figures are said to people, the same in every
// view.
package show

import (
	"fmt"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor/control/api"
)

// State is the state, or what is worse.
func State(w api.Worker) string {
	if w.Responsive != nil && !*w.Responsive {
		return "hung"
	}
	return w.State
}

// StateStyle is how a state looks.
func StateStyle(state string) term.Style {
	switch state {
	case "ready":
		return term.Green
	case "starting", "stopping", "backoff":
		return term.Yellow
	case "failed", "hung":
		return term.Alarm
	}
	return term.Dim
}

// HealthStyle is how a verdict on health looks.
func HealthStyle(health string) term.Style {
	switch health {
	case "ok":
		return term.Green
	case "degraded":
		return term.Yellow
	}
	return term.Alarm
}

// OrDash is v, or "-" where there is no such thing.
func OrDash(ok bool, v any) string {
	if !ok {
		return "-"
	}
	return fmt.Sprint(v)
}
