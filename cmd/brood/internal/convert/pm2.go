package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// item is one key of an object with its line.
type item struct {
	key   string
	value any // as json.Decoder has it; objects are []item
	line  int
}

// pm2 converts the apps of PM2's ecosystem file.
func pm2(path string, text []byte) (*file, error) {
	base := filepath.Base(path)
	d := &lineDecoder{text: text, dec: json.NewDecoder(bytes.NewReader(text))}
	d.dec.UseNumber()
	root, err := d.value()
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, d.line(), err)
	}
	f := &file{from: path}
	apps := []any{root}
	if object, ok := root.([]item); ok {
		for _, it := range object {
			if it.key == "apps" {
				apps, ok = it.value.([]any)
				if !ok {
					apps = []any{it.value}
				}
			}
		}
		for _, it := range object {
			if it.key == "deploy" {
				f.note("%s:%d: deploy: brood deploys nothing; `brood reload` and `brood restart` are what a deployment calls", base, it.line)
			}
		}
	} else if all, ok := root.([]any); ok {
		apps = all
	}
	for i, a := range apps {
		app, ok := a.([]item)
		if !ok {
			return nil, fmt.Errorf("%s: app %d is no object", path, i+1)
		}
		if err := pm2App(f, base, app, i); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return f, nil
}

// pm2App converts one app.
func pm2App(f *file, base string, app []item, n int) error {
	name, script, line := "", "", 0
	for _, it := range app {
		switch it.key {
		case "name":
			name, line = fmt.Sprint(it.value), it.line
		case "script":
			script = fmt.Sprint(it.value)
			line = max(line, it.line)
		}
	}
	if script == "" {
		return fmt.Errorf("app %d has no script", n+1)
	}
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(script), filepath.Ext(script))
	}
	p := f.add(name, fmt.Sprintf("%s:%d", base, line))
	p.set("command", list(pm2Command(app, script)))
	for _, it := range app {
		p.pm2Key(it, base)
	}
	return nil
}

// interpreters are PM2's for scripts without one.
var interpreters = map[string]string{
	".js": "node", ".mjs": "node", ".cjs": "node", ".ts": "ts-node", ".py": "python3", ".sh": "bash", ".rb": "ruby", ".php": "php", ".pl": "perl",
}

func pm2Command(app []item, script string) []string {
	interpreter := interpreters[filepath.Ext(script)]
	var before, after []string
	for _, it := range app {
		switch it.key {
		case "interpreter", "exec_interpreter":
			interpreter = fmt.Sprint(it.value)
		case "interpreter_args", "node_args":
			before = append(before, wordsOf(it.value)...)
		case "args":
			after = wordsOf(it.value)
		}
	}
	if interpreter == "" || interpreter == "none" {
		return append(wordsOf(script), after...)
	}
	return append(append(append([]string{interpreter}, before...), script), after...)
}

// wordsOf is a list, or a line's words.
func wordsOf(v any) []string {
	if all, ok := v.([]any); ok {
		out := make([]string, len(all))
		for i, x := range all {
			out[i] = fmt.Sprint(x)
		}
		return out
	}
	words, err := split(fmt.Sprint(v))
	if err != nil {
		return []string{fmt.Sprint(v)}
	}
	return words
}

// pm2Key converts one key of an app.
func (p *pool) pm2Key(it item, base string) {
	text := valueText(it.value)
	at := fmt.Sprintf("%s:%d: %s: %s", base, it.line, it.key, text)
	number, notNumber := strconv.Atoi(text)
	switch it.key {
	case "name", "script", "args", "interpreter", "exec_interpreter", "interpreter_args", "node_args":
	case "instances":
		switch {
		case text == "max" || text == "0" || text == "-1":
			p.set("workers", "cpus")
		case notNumber == nil && number > 1:
			p.set("workers", strconv.Itoa(number))
		case notNumber == nil && number < 0:
			p.set("workers", "cpus")
			p.note("%s: it was so many less than there are processors", at)
		}
	case "exec_mode":
		if strings.HasPrefix(text, "cluster") {
			p.note("%s: node's cluster shares a port by itself; here brood opens it: listen: {http: \"tcp://:PORT\"}, "+
				"and server.listen({fd: 3}) in the worker", at)
		}
	case "cwd":
		p.set("dir", quote(text))
	case "env":
		if vars, ok := it.value.([]item); ok {
			var all []entry
			for _, v := range vars {
				all = append(all, entry{v.key, valueText(v.value)})
			}
			p.set("env", mapping(all))
		}
	case "uid", "user":
		p.set("user", quote(text))
	case "gid":
		p.set("group", quote(text))
	case "autorestart":
		if text == "false" {
			p.inner("restart", "when", "never")
		}
	case "max_restarts":
		if notNumber == nil && number > 0 {
			p.inner("restart", "budget", strconv.Itoa(number)+"/1m")
			p.note("%s: brood counts restarts in a time", at)
		}
	case "min_uptime":
		if d, ok := pm2Time(text); ok {
			p.inner("restart", "stable", d)
		}
	case "restart_delay", "exp_backoff_restart_delay":
		if notNumber == nil && number > 0 {
			to := "..15s"
			if it.key == "restart_delay" {
				to = ""
			}
			p.inner("restart", "backoff", strconv.Itoa(number)+"ms"+to)
		}
	case "stop_exit_codes":
		p.stopCodes(wordsOf(it.value), at)
	case "max_memory_restart":
		if size, ok := pm2Size(text); ok {
			p.inner("recycle", "memory", size)
		}
	case "kill_timeout":
		if notNumber == nil && number > 0 {
			p.inner("stop", "timeout", strconv.Itoa(number)+"ms")
		}
	case "listen_timeout":
		if notNumber == nil && number > 0 {
			p.inner("ready", "timeout", strconv.Itoa(number)+"ms")
		}
	case "wait_ready":
		p.note("%s: process.send('ready') is not heard here; brood's library for node says so, or ready: {log: PATTERN}, {http: URL}", at)
	case "watch", "ignore_watch":
		if text != "false" {
			p.note("%s: files are not watched; `brood restart %s` when they have changed", at, p.name)
		}
	case "cron_restart":
		p.note("%s: recycle: {age: 24h}, or `brood restart %s` from cron", at, p.name)
	case "out_file", "error_file", "log_file", "output", "error", "merge_logs", "combine_logs", "log_date_format", "time", "log_type":
		p.note("%s: output goes to brood's own, behind the worker's name; `brood logs %s` shows it", at, p.name)
	case "instance_var":
		p.note("%s: $BROOD_SLOT is the worker's number, from 1", at)
	case "treekill":
		p.note("%s: the whole process group is always stopped", at)
	default:
		if strings.HasPrefix(it.key, "env_") {
			p.note("%s: there are no variants; give each its own file, brood run -c", at)
			return
		}
		p.note("%s: no counterpart", at)
	}
}

// stopCodes: an exit with one of these is not followed by a restart.
func (p *pool) stopCodes(codes []string, at string) {
	if slices.ContainsFunc(codes, func(c string) bool { n, err := strconv.Atoi(c); return err != nil || n < 0 || n > 255 }) {
		p.note("%s: these are no exit codes", at)
		return
	}
	if slices.Equal(codes, []string{"0"}) {
		p.note("%s: restart: {when: on-failure} is that", at)
		return
	}
	p.inner("restart", "give_up_codes", "["+strings.Join(codes, ", ")+"]")
	p.note("%s: such a worker counts as failed", at)
}

// pm2Time is a duration as brood writes it: PM2's are milliseconds, or 5s, 2m, 1h.
func pm2Time(text string) (string, bool) {
	if _, err := strconv.Atoi(text); err == nil {
		return text + "ms", true
	}
	if n := len(text) - 1; n > 0 && slices.Contains([]byte("smh"), text[n]) {
		if _, err := strconv.Atoi(text[:n]); err == nil {
			return text, true
		}
	}
	return "", false
}

// pm2Size is a size as brood writes it: PM2's are bytes, or 300K, 300M, 2G.
func pm2Size(text string) (string, bool) {
	if _, err := strconv.Atoi(text); err == nil {
		return text + "B", true
	}
	text = strings.TrimSuffix(strings.ToUpper(text), "B")
	if n := len(text) - 1; n > 0 && slices.Contains([]byte("KMG"), text[n]) {
		if _, err := strconv.Atoi(text[:n]); err == nil {
			return text + "iB", true
		}
	}
	return "", false
}

func valueText(v any) string {
	switch v := v.(type) {
	case []item:
		parts := make([]string, len(v))
		for i, it := range v {
			parts[i] = it.key + "=" + valueText(it.value)
		}
		return strings.Join(parts, " ")
	case []any:
		return strings.Join(wordsOf(v), " ")
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

// lineDecoder reads JSON with the lines of its keys.
type lineDecoder struct {
	text  []byte
	dec   *json.Decoder
	depth int
}

const maxDepth = 100

// line is where the decoder is.
func (d *lineDecoder) line() int {
	return 1 + bytes.Count(d.text[:min(int(d.dec.InputOffset()), len(d.text))], []byte("\n"))
}

func (d *lineDecoder) value() (any, error) {
	if d.depth++; d.depth > maxDepth {
		return nil, errors.New("it is nested too deeply")
	}
	defer func() { d.depth-- }()
	token, err := d.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := []item{}
		for d.dec.More() {
			key, err := d.dec.Token()
			if err != nil {
				return nil, err
			}
			line := d.line()
			v, err := d.value()
			if err != nil {
				return nil, err
			}
			object = append(object, item{fmt.Sprint(key), v, line})
		}
		_, err := d.dec.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.dec.More() {
			v, err := d.value()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.dec.Token()
		return list, err
	}
	return token, nil
}
