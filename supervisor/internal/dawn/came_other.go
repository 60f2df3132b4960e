//go:build !linux

package dawn

// came: nothing is handed over here.
func came(string) bool { return false }
