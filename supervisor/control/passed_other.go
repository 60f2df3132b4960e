//go:build !linux

package control

import (
	"errors"
	"net"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor/handover"
)

// Passed is a socket from systemd, which is on Linux only.
type Passed struct{ net.Listener }

// TakePassed returns none.
func TakePassed(hclog.Logger) ([]*Passed, error) { return nil, nil }

func adoptPassed(*handover.In, SavedListener, hclog.Logger) (net.Listener, error) {
	return nil, errors.New("a socket that was passed is on Linux only")
}
