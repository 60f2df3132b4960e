package config

import (
	"slices"
	"strings"
)

// otherWords are what other supervisors call a key that brood has too.
var otherWords = map[string]string{
	"cmd": "command", "exec": "command", "program": "command", "run": "command",
	"processes": "workers", "numprocs": "workers", "instances": "workers", "replicas": "workers", "count": "workers",
	"environment": "env", "cwd": "dir", "directory": "dir", "workdir": "dir",
	"environment_file": "env_file", "envfile": "env_file", "uid": "user", "gid": "group", "ulimits": "limits", "rlimits": "limits",
	"sockets": "listen", "depends_on": "after", "requires": "after", "needs": "after", "priority": "nice",
	"readiness": "ready", "healthcheck": "health", "watchdog": "beat", "max_surge": "surge", "max_unavailable": "unavailable",
	"max_requests": "commands", "max_jobs": "commands", "max_age": "age", "max_lifetime": "age", "ttl": "age", "max_memory": "memory",
	"path": "socket", "listen": "socket", "chmod": "mode", "interval": "ping",
}

// nearest is the allowed word that word was most likely meant to be; empty: none
// is near. One edit in four letters is near.
func nearest(word string, allowed []string) string {
	lower := strings.ToLower(word)
	if other := otherWords[lower]; slices.Contains(allowed, other) {
		return other
	}
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

// didYouMean is the question after a wrong word, or nothing.
func didYouMean(word string, allowed []string) string {
	if near := nearest(word, allowed); near != "" {
		return `; did you mean "` + near + `"?`
	}
	return ""
}

// enumerate makes "a, b and c" of words.
func enumerate(words []string, and string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " " + and + " " + words[last]
}
