// Package words helps people who have mistyped one.
package words

import "strings"

// Nearest is the allowed word that word was most likely meant to be; empty: none
// is near. One edit in four letters is near.
func Nearest(word string, allowed []string) string {
	lower := strings.ToLower(word)
	best, least := "", (len(word)+3)/4+1
	for _, a := range allowed {
		if d := distance([]rune(lower), []rune(strings.ToLower(a)), least); d < least {
			best, least = a, d
		}
	}
	return best
}

// distance is how many letters have to be changed, added, left out or swapped
// with their neighbour to make b of a (the optimal string alignment distance).
// From limit on it is just limit.
func distance(a, b []rune, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before, last []int // the two rows above the one being filled
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return min(row[len(b)], limit)
}
