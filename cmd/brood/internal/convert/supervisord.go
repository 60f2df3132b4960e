package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// supervisord converts the programs of a supervisord.conf and of the files that
// it includes.
func supervisord(path, text string) (*file, error) {
	f := &file{from: path}
	sections, err := parseINI(filepath.Base(path), text)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(sections); i++ { // grows with what is included
		s := sections[i]
		kind, name, _ := strings.Cut(s.name, ":")
		switch kind {
		case "program":
			if err := program(f, s, strings.TrimSpace(name), filepath.Dir(path)); err != nil {
				return nil, err
			}
		case "include":
			more, err := included(f, s, filepath.Dir(path))
			if err != nil {
				return nil, err
			}
			sections = slices.Insert(sections, i+1, more...)
		case "supervisord", "supervisorctl", "rpcinterface", "unix_http_server", "inet_http_server":
			f.note("%s:%d: [%s]: %s", s.file, s.line, s.name, elsewhere[kind])
		case "group":
			programs, _ := s.get("programs")
			f.note("%s:%d: [%s] of %s: there are no groups of pools; a target such as web or web/* is a pool", s.file, s.line, s.name, programs.text)
		default:
			f.note("%s:%d: [%s] has no counterpart and is left out", s.file, s.line, s.name)
		}
	}
	return f, nil
}

// elsewhere says where brood has what these sections are about.
var elsewhere = map[string]string{
	"supervisord":      "brood run stays in the foreground and logs to standard error; systemd or the shell keep that",
	"supervisorctl":    "the command line is brood itself; --socket or $BROOD_SOCKET name the socket",
	"rpcinterface":     "brood speaks HTTP and a line protocol on its socket",
	"unix_http_server": "the socket's mode, group and rights are under `control:`; it is 0600 until you say otherwise",
	"inet_http_server": "brood listens on no network; --host ssh://user@box reaches it from elsewhere",
}

// included reads the files of [include], whose patterns are from the file's
// directory.
func included(f *file, s *section, dir string) ([]*section, error) {
	var all []*section
	patterns, ok := s.get("files")
	if !ok {
		return nil, nil
	}
	for _, pattern := range strings.Fields(patterns.text) {
		pattern = strings.ReplaceAll(pattern, "%(here)s", dir)
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dir, pattern)
		}
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", patterns.at(), err)
		}
		if len(paths) == 0 {
			f.note("%s: no such file", patterns.at())
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			more, err := parseINI(filepath.Base(path), string(text))
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
	}
	return all, nil
}

// program converts one [program:NAME].
func program(f *file, s *section, name, here string) error {
	command, ok := s.get("command")
	if !ok {
		return fmt.Errorf("%s:%d: [%s] has no command", s.file, s.line, s.name)
	}
	p := f.add(name, fmt.Sprintf("[%s], %s:%d", s.name, s.file, s.line))
	words, err := split(command.text)
	if err != nil {
		return fmt.Errorf("%s: %w", command.at(), err)
	}
	x := expander{program: name, here: here}
	if n, ok := s.get("numprocs_start"); ok {
		x.start, _ = strconv.Atoi(n.text)
	}
	p.set("command", x.command(words))
	restart := "on-failure" // autorestart=unexpected is supervisord's default
	for _, v := range s.values {
		if last, _ := s.get(v.key); last.line != v.line || v.key == "command" {
			continue
		}
		if v.key == "autorestart" {
			switch strings.ToLower(v.text) {
			case "true", "1", "yes", "on":
				restart = ""
			case "false", "0", "no", "off":
				restart = "never"
			}
			continue
		}
		p.programKey(v, x)
	}
	if restart != "" {
		p.inner("restart", "when", restart)
	}
	return nil
}

// programKey converts one value of a program.
func (p *pool) programKey(v value, x expander) {
	number, notNumber := strconv.Atoi(v.text)
	switch v.key {
	case "numprocs":
		if notNumber == nil && number > 1 {
			p.set("workers", strconv.Itoa(number))
		}
	case "numprocs_start", "process_name":
		p.note("%s: workers are called %s/1, %s/2 and so on; $BROOD_SLOT is the number", v.at(), p.name, p.name)
	case "directory":
		p.set("dir", quote(x.plain(v.text)))
	case "user":
		p.set("user", quote(v.text))
	case "umask":
		p.set("umask", quote("0"+strings.TrimLeft(v.text, "0")))
	case "environment":
		vars, err := variables(x.plain(v.text))
		if err != nil {
			p.note("%s: %v", v.at(), err)
			return
		}
		p.set("env", mapping(vars))
	case "stopsignal":
		name := strings.TrimPrefix(strings.ToUpper(v.text), "SIG")
		if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
			p.note("%s: that is no signal's name", v.at())
			return
		}
		p.inner("stop", "signal", name)
	case "stopwaitsecs":
		if notNumber == nil && number > 0 {
			p.inner("stop", "timeout", strconv.Itoa(number)+"s")
		}
	case "startretries":
		if notNumber == nil && number > 0 {
			p.inner("restart", "budget", strconv.Itoa(number)+"/1m")
			p.note("%s: brood counts restarts in a time", v.at())
		}
	case "startsecs":
		p.note("%s: a worker that says nothing counts as ready after 1s; `ready:` can ask it instead, and `restart: {stable: %ss}` says when its past is forgotten", v.at(), v.text)
	case "autostart":
		if strings.EqualFold(v.text, "false") {
			p.note("%s: all pools are started; take the pool out, or `brood stop %s` it", v.at(), p.name)
		}
	case "exitcodes":
		if v.text != "0" {
			p.note("%s: with `when: on-failure` only code 0 counts as expected", v.at())
		}
	case "priority":
		p.note("%s: the order is said by name: after: [OTHER]", v.at())
	case "stopasgroup", "killasgroup", "redirect_stderr":
		p.note("%s: it is always so", v.at())
	default:
		if strings.HasPrefix(v.key, "stdout_") || strings.HasPrefix(v.key, "stderr_") {
			p.note("%s: output goes to brood's own, behind the worker's name; `brood logs %s` shows it", v.at(), p.name)
			return
		}
		p.note("%s: no counterpart", v.at())
	}
}

// variables reads A="b",C=d.
func variables(text string) (vars []entry, err error) {
	for rest := strings.TrimSpace(text); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, fmt.Errorf("%q is no NAME=value", rest)
		}
		after = strings.TrimSpace(after)
		var val string
		if after != "" && (after[0] == '"' || after[0] == '\'') {
			end := strings.IndexByte(after[1:], after[0])
			if end < 0 {
				return nil, fmt.Errorf("the value of %s has no end", name)
			}
			val, after = after[1:1+end], strings.TrimSpace(after[end+2:])
			after = strings.TrimPrefix(after, ",")
		} else {
			val, after, _ = strings.Cut(after, ",")
			val = strings.TrimSpace(val)
		}
		vars = append(vars, entry{strings.TrimSpace(name), val})
		rest = strings.TrimSpace(after)
	}
	return vars, nil
}

// expander replaces %(NAME)s and its kin.
type expander struct {
	program, here string
	start         int // numprocs_start: the number of the first
}

var expansion = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`%(?:%|\(([A-Za-z0-9_]+)\)([0-9]*)([sd]))`)
})

// plain expands what is known now. What only a running worker knows becomes the
// name of its variable.
func (x expander) plain(text string) string {
	return expansion().ReplaceAllStringFunc(text, func(m string) string {
		parts := expansion().FindStringSubmatch(m)
		switch name := parts[1]; {
		case m == "%%":
			return "%"
		case name == "program_name" || name == "group_name":
			return x.program
		case name == "here":
			return x.here
		case name == "host_node_name":
			host, _ := os.Hostname()
			return host
		case strings.HasPrefix(name, "ENV_"):
			return os.Getenv(name[4:])
		default:
			return m
		}
	})
}

// command is the list; through a shell where a word differs from worker to
// worker or comes from the environment.
func (x expander) command(words []string) string {
	late := false
	shell := make([]string, len(words))
	plain := make([]string, len(words))
	for i, w := range words {
		plain[i] = x.plain(w)
		at := 0
		var b strings.Builder
		for _, m := range expansion().FindAllStringSubmatchIndex(w, -1) {
			b.WriteString(quoteShell(w[at:m[0]]))
			at = m[1]
			if m[2] < 0 {
				b.WriteString("%")
				continue
			}
			name, width := w[m[2]:m[3]], w[m[4]:m[5]]
			switch {
			case name == "process_num":
				late = true
				number := "$BROOD_SLOT"
				if x.start != 1 {
					number = fmt.Sprintf("$((BROOD_SLOT%+d))", x.start-1)
				}
				if width != "" {
					number = fmt.Sprintf("$(printf %%%sd %s)", width, number)
				}
				b.WriteString(`"` + number + `"`)
			case strings.HasPrefix(name, "ENV_"):
				late = true
				b.WriteString(`"$` + name[4:] + `"`)
			default:
				b.WriteString(quoteShell(x.plain(w[m[0]:m[1]])))
			}
		}
		b.WriteString(quoteShell(w[at:]))
		shell[i] = b.String()
	}
	if late {
		return list([]string{"sh", "-c", "exec " + strings.Join(shell, " ")})
	}
	return list(plain)
}

// quoteShell is text that sh(1) takes as it is.
func quoteShell(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-=:,@%+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
