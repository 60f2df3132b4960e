package term

import (
	"fmt"
	"time"
)

// Size is bytes as people read them, in at most 5 columns: 812K, 12.3M, 4.0G.
func Size(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "K", "M", "G", "T"} {
		switch {
		case f < 1000 && (unit == "B" || unit == "K" || f >= 100):
			return fmt.Sprintf("%.0f%s", f, unit)
		case f < 100:
			return fmt.Sprintf("%.1f%s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.0fP", f)
}

// Ago is a duration the short way people read it: 4s, 12m3s, 3h5m, 2d4h.
func Ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
