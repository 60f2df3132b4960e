package config

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The kinds with a notation of their own.

const (
	poolNamePattern = `^[A-Za-z][A-Za-z0-9_.-]{0,62}$` // supervisor's
	oneDuration     = `([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+`
	durationPattern = `^` + oneDuration + `$`
	modePattern     = `^0o?[0-7]{3}$`
)

// parseDuration returns what is wrong with text as a duration, or "". want is
// an example of a right one.
func parseDuration(text, want string) (d time.Duration, problem string) {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Sprintf("%s what? write %ss or %sms", text, text, text)
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil && durationShape().MatchString(text):
		return 0, fmt.Sprintf("%s is too long; brood counts to 2562047h", shorten(text))
	case err != nil:
		return 0, fmt.Sprintf("must be a duration, a number and its unit (ms, s, m or h) such as %s, got %q", want, shorten(text))
	case d < 0:
		return 0, fmt.Sprintf("must not be negative, got %s", text)
	}
	return d, ""
}

// shape is a regular expression that is compiled when first asked for: most
// commands read no file.
func shape(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

var durationShape = shape(durationPattern)

// duration reads a scalar as a duration that is not negative.
func (n node) duration(want string) (time.Duration, bool) {
	text, ok := n.text("a duration such as " + want)
	if !ok {
		return 0, false
	}
	d, problem := parseDuration(text, want)
	if problem != "" {
		n.bad("%s", problem)
	}
	return d, problem == ""
}

// positive is a duration longer than nothing.
var positive = kind[duration]{read: func(n node) (duration, bool) {
	d, ok := n.duration(n.def)
	if ok && d == 0 {
		n.bad("must be longer than 0s; leave the key out%s", n.otherwise())
		ok = false
	}
	return d, ok
}, schema: func() object { return object{"type": "string", "pattern": durationPattern} }}

// orOff is a duration, or off and 0s for none, which becomes the value of that
// name. want is an example.
func orOff(none duration, want string) kind[duration] {
	read := func(n node) (duration, bool) {
		if text, _ := scalar(n.value); text == "off" {
			return none, true
		}
		d, ok := n.duration(want + " (or off)")
		if d == 0 {
			d = none
		}
		return d, ok
	}
	return kind[duration]{read: read, schema: func() object { return object{"type": "string", "pattern": `^(` + oneDuration + `|off)$`} }}
}

// span is the shortest and the longest of something.
type span struct{ min, max time.Duration }

var waits = kind[span]{read: func(n node) (span, bool) {
	text, ok := n.text("the shortest and the longest wait such as " + n.def)
	if !ok {
		return span{}, false
	}
	first, last, isSpan := strings.Cut(text, "..")
	if !isSpan {
		last = first
	}
	var s span
	var problem string
	if s.min, problem = parseDuration(first, n.def); problem == "" {
		s.max, problem = parseDuration(last, n.def)
	}
	switch {
	case problem != "":
		n.bad("%s", problem)
	case s.min == 0:
		n.bad("the shortest wait must be longer than 0s; leave the key out%s", n.otherwise())
	default:
		return s, true
	}
	return span{}, false
}, schema: func() object {
	return object{"type": "string", "pattern": `^` + oneDuration + `(\.\.` + oneDuration + `)?$`}
}}

// allowance is n of something in a time; n is negative for no limit.
type allowance struct {
	n   int
	per time.Duration
}

var perTime = kind[allowance]{read: func(n node) (allowance, bool) {
	want := "a number and a time such as " + n.def + ", or off"
	text, ok := n.text(want)
	if !ok || text == "off" {
		return allowance{n: -1}, ok
	}
	number, per, cut := strings.Cut(text, "/")
	count, err := strconv.Atoi(number)
	if !cut || err != nil {
		n.bad("must be %s, got %s", want, n.kind())
		return allowance{}, false
	}
	d, problem := parseDuration(per, "1m")
	switch {
	case count < 1:
		n.bad("must allow at least 1 restart, got %d; for none write when: never, for no limit write %s: off", count, n.name())
	case problem != "":
		n.bad("%s", problem)
	case d == 0:
		n.bad("the time must be longer than 0s; for no limit write off")
	default:
		return allowance{count, d}, true
	}
	return allowance{}, false
}, schema: func() object { return object{"type": "string", "pattern": `^([1-9][0-9]*/` + oneDuration + `|off)$`} }}

// workerCount is a number, or as many as there are processors.
var workerCount = kind[int]{read: func(n node) (int, bool) {
	text, ok := scalar(n.value)
	if text == "cpus" {
		return runtime.NumCPU(), true
	}
	if _, err := strconv.ParseFloat(text, 64); ok && err != nil {
		n.bad("must be a number or \"cpus\", got %s%s", n.kind(), didYouMean(text, []string{"cpus"}))
		return 0, false
	}
	return whole(1, 0).read(n)
}, schema: func() object { return object{"anyOf": []object{whole(1, 0).schema(), {"const": "cpus"}}} }}

// commandLine is a list of words: what a shell would make of a text is not
// guessed.
var commandLine = kind[[]string]{read: func(n node) ([]string, bool) {
	if text, ok := scalar(n.value); ok {
		n.bad("must be a list; write %s", asList(text))
		return nil, false
	}
	items, ok := n.items("a list: the program and its arguments")
	if ok && len(items) == 0 {
		n.bad("is empty; write the program and its arguments")
		return nil, false
	}
	words := make([]string, len(items))
	for i, item := range items {
		var good bool
		words[i], good = item.text("text")
		ok = ok && good
	}
	if ok && words[0] == "" {
		items[0].bad("is empty; write the program")
		ok = false
	}
	return words, ok
}, schema: func() object {
	return object{"type": "array", "minItems": 1, "items": object{"type": []string{"string", "number", "boolean"}}}
}}

// asList is how a command that was written as one text can be written.
func asList(text string) string {
	shell := fmt.Sprintf(`["sh", "-c", %q]`, shorten(text))
	fields := strings.Fields(shorten(text))
	if len(fields) == 0 || strings.ContainsAny(text, "|&;<>()$`\\\"'*?[]#~=%!{}\n") {
		return shell + ", or the program and its arguments each by itself"
	}
	for i, f := range fields {
		fields[i] = strconv.Quote(f)
	}
	return "[" + strings.Join(fields, ", ") + "], or " + shell + " if a shell must read it"
}

// fileMode is octal, and says so by its leading 0.
var fileMode = kind[os.FileMode]{read: func(n node) (os.FileMode, bool) {
	text, ok := n.text(`an octal mode such as "0660"`)
	if !ok {
		return 0, false
	}
	mode, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	switch {
	case err != nil || len(text) < 2 || text[0] != '0':
		n.bad(`must be an octal mode with a leading 0 such as "0660", got %s`, n.kind())
	case mode > 0o777:
		n.bad("must be at most 0777, got %s; set-user-ID, set-group-ID and sticky mean nothing on a socket", text)
	case mode&0o600 != 0o600:
		n.bad("must let the owner read and write (0600), got %s", text)
	default:
		return os.FileMode(mode), true
	}
	return 0, false
}, schema: func() object { return object{"type": []string{"string", "integer"}, "pattern": modePattern} }}

// umask is octal, and says so by its leading 0.
var umask = kind[uint32]{read: func(n node) (uint32, bool) {
	text, ok := n.text(`an octal mask such as "0027"`)
	if !ok {
		return 0, false
	}
	mask, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	switch {
	case err != nil || len(text) < 2 || text[0] != '0':
		n.bad(`must be an octal mask with a leading 0 such as "0027", got %s`, n.kind())
	case mask > 0o777:
		n.bad("must be at most 0777, got %s", shorten(text))
	default:
		return uint32(mask), true
	}
	return 0, false
}, schema: func() object { return object{"type": []string{"string", "integer"}, "pattern": `^0o?0*[0-7]{1,3}$`} }}

// account is a user or a group.
var account = kind[string]{read: func(n node) (string, bool) {
	name, ok := text.read(n)
	if !ok || !isNumber(name) {
		return name, ok
	}
	// The last number means "unchanged" to the calls that set ids: setresuid(2).
	if id, err := strconv.ParseUint(name, 10, 32); err != nil || id == 1<<32-1 {
		n.bad("must be a name or a number from 0 to 4294967294, got %s", shorten(name))
		return "", false
	}
	return name, true
}, schema: text.schema}

// isNumber: it is decimal digits and nothing else.
func isNumber(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }
