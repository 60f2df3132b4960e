package probe

import (
	"errors"
	"fmt"
	"regexp"
)

// maxLine is how much of a line is looked at, in bytes.
const maxLine = 4096

// Line finds the line of a worker's output that says it is ready. The zero value
// finds none. It may be used by several goroutines at once.
type Line struct{ re *regexp.Regexp }

// ParseLine takes a regular expression (RE2), which may match anywhere in a
// line.
func ParseLine(pattern string) (Line, error) {
	if pattern == "" {
		return Line{}, errors.New("an empty pattern is in every line; write what the line says when the worker is ready")
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return Line{}, fmt.Errorf("%q is no regular expression: %w", words([]byte(pattern)), err)
	}
	return Line{re}, nil
}

// Match reports whether line, without its end, is the one. Only the first 4 KiB
// count; the time it takes grows with them and no faster.
func (l Line) Match(line []byte) bool {
	return l.re != nil && l.re.Match(line[:min(len(line), maxLine)])
}
