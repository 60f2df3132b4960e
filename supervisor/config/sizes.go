package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes and percents.

const oneSize = `[0-9]+(B|KiB|MiB|GiB|TiB)`

var (
	sizeShape = shape(`^([0-9]+)(B|KiB|MiB|GiB|TiB)$`)
	// looseSize is what others write: 512, 512M, 512mb.
	looseSize = shape(`^(?i)([0-9]+) ?([kmgt]?)(i?b?)$`)
	shifts    = map[string]uint{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
)

// parseSize returns what is wrong with text as a number of bytes, or "". want is
// an example of a right one.
func parseSize(text, want string) (n int64, problem string) {
	if text == "0" {
		return 0, ""
	}
	m := sizeShape().FindStringSubmatch(text)
	if m == nil {
		return 0, unsized(text, want)
	}
	count, err := strconv.ParseInt(m[1], 10, 64)
	shift := shifts[m[2]]
	if err != nil || count > math.MaxInt64>>shift {
		return 0, fmt.Sprintf("%s is too large; brood counts to 8388607TiB", shorten(text))
	}
	return count << shift, ""
}

func unsized(text, want string) string {
	m := looseSize().FindStringSubmatch(text)
	switch {
	case m == nil:
		return fmt.Sprintf("must be a size, a whole number and its unit (B, KiB, MiB, GiB or TiB) such as %s, got %q", want, shorten(text))
	case m[2] == "" && m[3] == "":
		return fmt.Sprintf("%s what? write %sMiB or %sKiB", shorten(text), shorten(text), shorten(text))
	case m[2] == "":
		return fmt.Sprintf("%q is no size; did you mean \"%sB\"?", shorten(text), shorten(m[1]))
	}
	return fmt.Sprintf("%q is no size, units are written in full; did you mean \"%s%siB\"?", shorten(text), shorten(m[1]), strings.ToUpper(m[2]))
}

// size reads a scalar as a number of bytes.
func (n node) size(want string) (int64, bool) {
	text, ok := n.text("a size such as " + want)
	if !ok {
		return 0, false
	}
	v, problem := parseSize(text, want)
	if problem != "" {
		n.bad("%s", problem)
	}
	return v, problem == ""
}

// bytesOrZero may be 0, without a unit. A larger number needs one.
var bytesOrZero = kind[int64]{read: func(n node) (int64, bool) {
	return n.size("512MiB")
}, schema: func() object {
	return object{"type": []string{"string", "integer"}, "pattern": `^(0|` + oneSize + `)$`, "minimum": 0, "maximum": 0}
}}

// someBytes is more than nothing.
var someBytes = kind[int64]{read: func(n node) (int64, bool) {
	v, ok := n.size("512MiB")
	if ok && v == 0 {
		n.bad("must be more than 0; leave the key out for no limit")
		ok = false
	}
	return v, ok
}, schema: func() object { return object{"type": "string", "pattern": `^` + oneSize + `$`} }}

const percentPattern = `^[0-9]+(\.[0-9]+)?%$`

var percentShape = shape(percentPattern)

// percent is a share, 0 to 1, written as 0% to 100%.
var percent = kind[float64]{read: func(n node) (float64, bool) {
	text, ok := n.text("a percentage such as " + n.def)
	if !ok {
		return 0, false
	}
	number, hasSign := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	switch {
	case err == nil && !hasSign:
		n.bad("%s what? write a percentage such as %s", shorten(text), n.def)
	case !percentShape().MatchString(text):
		n.bad("must be a percentage such as %s, got %q", n.def, shorten(text))
	case v > 100:
		n.bad("must be 0%% to 100%%, got %s", shorten(text))
	default:
		return v / 100, true
	}
	return 0, false
}, schema: func() object { return object{"type": "string", "pattern": percentPattern} }}

// jitter is a share as Recycle has it, where 0 means the default and a negative
// one none.
func jitter(share float64) float64 {
	if share == 0 {
		return -1
	}
	return share
}
