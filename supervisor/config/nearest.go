package config

import (
	"slices"
	"strings"

	"example.com/brood/supervisor/internal/words"
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
	"socket": "listen", "mode": "listen", "role": "listen", "group": "listen", "chmod": "mode", "interval": "ping",
	"rules": "access", "permissions": "access", "acl": "access", "user_names": "users",
}

// nearest is the allowed word that word was most likely meant to be; empty: none
// is near.
func nearest(word string, allowed []string) string {
	if other := otherWords[strings.ToLower(word)]; slices.Contains(allowed, other) {
		return other
	}
	return words.Nearest(word, allowed)
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
