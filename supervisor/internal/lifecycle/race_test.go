//go:build race

package lifecycle

// raced: the race detector makes everything slower.
const raced = true
