//go:build race

package main

// raced: the race detector is at work, so what processor time shows says little.
const raced = true
