package config

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/internal/probe"
)

// What makes a worker ready.

// proofs are the values of when that need a key of the same name, each with an
// example of it.
var proofs = []struct {
	when    supervisor.ReadyWhen
	isSet   func(*ready) bool
	example string
}{
	{supervisor.ReadyLog, func(r *ready) bool { return r.Log != "" }, `log: "listening on"`},
	{supervisor.ReadyExec, func(r *ready) bool { return len(r.Exec) > 0 }, `exec: ["./check"]`},
	{supervisor.ReadyHTTP, func(r *ready) bool { return r.HTTP != "" }, `http: "http://127.0.0.1:8080/healthz"`},
	{supervisor.ReadyTCP, func(r *ready) bool { return r.TCP != "" }, `tcp: "127.0.0.1:8080"`},
}

// checkReady: of the keys that each make a worker ready there is one at most,
// and it is the one that when means. It stands for when where that is left out.
func checkReady(n node, r *ready) bool {
	var given []subkey // in the order of the file
	for _, p := range proofs {
		if k := n.at(string(p.when)); p.isSet(r) || k.isBlamed() {
			given = append(given, k)
		}
	}
	slices.SortFunc(given, func(a, b subkey) int {
		return a.src.placeOf(a.path).compare(b.src.placeOf(b.path))
	})
	when := n.at("when")
	switch {
	case len(given) > 1:
		for _, k := range given[1:] {
			k.complain("one thing makes a worker ready, and " + given[0].key + " is there already; keep one of the two")
		}
		return false
	case when.isBlamed():
		return false
	case len(given) == 0:
		return hasProof(when, r.When)
	}
	meant := supervisor.ReadyWhen(given[0].key)
	if r.When != "" && r.When != meant {
		given[0].complain("is for when: " + string(meant) + ", and when is " + string(r.When) + "; leave one of the two out")
		return false
	}
	r.When = meant
	return !given[0].isBlamed()
}

// hasProof: where when needs a key, that one is missing.
func hasProof(key subkey, when supervisor.ReadyWhen) bool {
	for _, p := range proofs {
		if p.when == when {
			key.complain(string(when) + " needs the key " + string(when) + " beside it, such as " + p.example)
			return false
		}
	}
	return true
}

// maxPattern keeps what a regular expression costs within bounds, in bytes.
const maxPattern = 1000

// pattern is a regular expression.
var pattern = kind[string]{read: func(n node) (string, bool) {
	expr, ok := text.read(n)
	if !ok {
		return "", false
	}
	if len(expr) > maxPattern {
		n.bad("is %d bytes long, a regular expression may have %d", len(expr), maxPattern)
		return "", false
	}
	_, err := probe.ParseLine(expr)
	var bad *syntax.Error
	switch {
	case errors.As(err, &bad):
		n.bad("is no regular expression (RE2): %s%s", bad.Code, badPart(expr, bad))
	case err != nil:
		n.bad("%s", printable(err.Error()))
	}
	return expr, err == nil
}, schema: func() object {
	return object{"type": []string{"string", "integer"}, "minLength": 1, "maxLength": maxPattern, "format": "regex"}
}}

// badPart says where in expr the error is, in characters from 1, and what is
// there. An error may be of the whole.
func badPart(expr string, e *syntax.Error) string {
	begin, part := 0, e.Expr
	switch {
	case e.Code == syntax.ErrUnexpectedParen:
		begin, part = unexpected(expr), ")"
	case e.Code == syntax.ErrMissingParen, part == "":
		return ", at its end"
	case part == expr:
		return ""
	default:
		begin = max(0, strings.Index(expr, part))
	}
	return fmt.Sprintf(" at character %d: %s", utf8.RuneCountInString(expr[:begin])+1, printable(shorten(part)))
}

// unexpected is where the first ")" without a "(" is: parsing stops there,
// however much follows.
func unexpected(expr string) int {
	return sort.Search(len(expr)-1, func(i int) bool {
		_, err := syntax.Parse(expr[:i+1], syntax.Perl)
		var bad *syntax.Error
		return errors.As(err, &bad) && bad.Code == syntax.ErrUnexpectedParen
	})
}
