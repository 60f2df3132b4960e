package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// procfileLine is what foreman and its kin take.
var procfileLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(.+)$`) })

// firstPort and portStep are foreman's.
const firstPort, portStep = 5000, 100

// procfile converts NAME: COMMAND lines. A shell read them.
func procfile(path, text string) (*file, error) {
	f := &file{from: path}
	base := filepath.Base(path)
	env := filepath.Join(filepath.Dir(path), ".env")
	_, noEnv := os.Stat(env)
	port := firstPort
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := procfileLine().FindStringSubmatch(line)
		if m == nil {
			f.note("%s:%d: no NAME: COMMAND, left out: %s", base, i+1, line)
			continue
		}
		p := f.add(m[1], fmt.Sprintf("%s:%d", base, i+1))
		p.set("command", list(shellCommand(m[2])))
		if noEnv == nil {
			p.set("env_file", quote(env))
		}
		if strings.Contains(m[2], "PORT") {
			p.set("env", fmt.Sprintf("{PORT: \"%d\"}", port))
			p.note("%s:%d: with more than one worker let brood open the port: listen: {http: \"tcp://:%d\"}, sd_listen_fds(3)", base, i+1, port)
		}
		port += portStep
		if m[1] == "release" {
			p.set("restart", "{when: never}")
			p.note("%s:%d: it runs once; write `after: [release]` in the pools that must wait for it", base, i+1)
		}
	}
	if noEnv == nil {
		f.note("%s: quotes around a value are part of it here, and `export` has no meaning", env)
	}
	f.note("foreman starts one of each unless told otherwise (-m web=4): write `workers: 4`")
	return f, nil
}
