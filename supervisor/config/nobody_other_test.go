//go:build !linux

package config

import (
	"os"
	"testing"
)

// asNobody calls f if the tests are not root's: elsewhere than on Linux a thread
// can't give up alone what the process has.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
	}
}
