package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"example.com/brood/supervisor/internal/listen"
)

// kind is what a key takes: how its value is read, and what the JSON Schema
// says of it. Where read returns false it has reported why. schema makes a new
// object each time, for those few who ask.
type kind[V any] struct {
	read   func(node) (V, bool)
	schema func() object
	// mayBeNull: a key with nothing after it is the same as an empty mapping.
	mayBeNull bool
}

// key is a row of the table: one key of the mapping that becomes a T.
type key[T any] struct {
	name     string
	required bool // for the schema; supervisor.Config.Validate misses it
	schema   func() object
	read     func(node, *T)
}

// row makes a key. put stores what was read; it is not called if that failed.
func row[T, V any](name, def string, k kind[V], put func(*T, V), help string) key[T] {
	return key[T]{name: name, schema: func() object { return describe(k.schema(), help, def) }, read: func(n node, to *T) {
		n.def = def
		if n.isNull() && !k.mayBeNull {
			n.bad("has no value; write one, or leave the key out%s", n.otherwise())
			return
		}
		if v, ok := k.read(n); ok {
			put(to, v)
		}
	}}
}

func (k key[T]) needed() key[T] {
	k.required = true
	return k
}

// otherwise says what leaving a key out means.
func (n node) otherwise() string {
	if n.def == "" {
		return ""
	}
	return " for the default, " + n.def
}

// section is a mapping with known keys.
func section[T any](keys []key[T]) kind[T] {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	read := func(n node) (t T, ok bool) {
		entries, ok := n.entries()
		for _, e := range entries {
			if i := slices.Index(names, e.name); i >= 0 {
				keys[i].read(e.node, &t)
			} else {
				e.unknown(names)
			}
		}
		return t, ok
	}
	return kind[T]{read, func() object { return sectionSchema(keys) }, true}
}

// byName is a mapping from names to sections.
func byName[T any](keys []key[T], pattern string, setName func(*T, string)) kind[[]T] {
	one := section(keys)
	read := func(n node) ([]T, bool) {
		var all []T
		entries, ok := n.entries()
		for _, e := range entries {
			if t, ok := one.read(e.node); ok {
				setName(&t, e.name)
				all = append(all, t)
			}
		}
		return all, ok
	}
	return kind[[]T]{read, func() object {
		return object{
			"type": "object", "minProperties": 1,
			"propertyNames": object{"pattern": pattern}, "additionalProperties": one.schema(),
		}
	}, true}
}

// mapOf is a mapping from names to values of one kind. wrong says what is wrong
// with a name, or "".
func mapOf[T any](one kind[T], pattern string, wrong func(name string) string) kind[map[string]T] {
	read := func(n node) (map[string]T, bool) {
		all := map[string]T{}
		entries, ok := n.entries()
		for _, e := range entries {
			if problem := wrong(e.name); problem != "" {
				e.src.report(placeOfToken(e.key), e.path, "%s", problem)
			} else if t, ok := one.read(e.node); ok {
				all[e.name] = t
			}
		}
		return all, ok
	}
	return kind[map[string]T]{read, func() object {
		return object{
			"type": []string{"object", "null"}, "propertyNames": object{"pattern": pattern}, "additionalProperties": one.schema(),
		}
	}, true}
}

// checked is a kind whose value must also pass a check, which may complete it
// and reports what it finds.
func checked[V any](k kind[V], check func(node, *V) bool) kind[V] {
	read := k.read
	k.read = func(n node) (V, bool) {
		v, ok := read(n)
		return v, ok && check(n, &v)
	}
	return k
}

// listOf is a list; what names it.
func listOf[V any](what string, item kind[V]) kind[[]V] {
	read := func(n node) ([]V, bool) {
		items, ok := n.items("a list of " + what)
		all := []V{}
		for _, i := range items {
			v, good := item.read(i)
			all = append(all, v)
			ok = ok && good
		}
		return all, ok
	}
	return kind[[]V]{read: read, schema: func() object { return object{"type": "array", "items": item.schema()} }}
}

// oneOrMore is one of a kind, or a list of such, which what names and which is not
// empty: that is refused for the reason why.
func oneOrMore[V any](what, why string, item kind[V], isOne func(node) bool) kind[[]V] {
	many := listOf(what, item)
	read := func(n node) ([]V, bool) {
		if isOne(n) {
			one, ok := item.read(n)
			return []V{one}, ok
		}
		all, ok := many.read(n)
		if ok && len(all) == 0 {
			n.bad("is empty%s; leave the key out instead", why)
			ok = false
		}
		return all, ok
	}
	return kind[[]V]{read, oneOrList(item.schema), item.mayBeNull}
}

// texts is a text, or a list of texts.
var texts = oneOrMore("texts, or one text", "", text, isScalar)

func isScalar(n node) bool {
	_, ok := scalar(n.value)
	return ok
}

// truth is true or false.
var truth = kind[bool]{read: func(n node) (bool, bool) {
	text, ok := n.text("true or false")
	lower := strings.ToLower(text)
	isTrue := lower == "true"
	switch {
	case !ok:
	case !isTrue && lower != "false":
		if meant, known := map[string]string{"yes": "true", "on": "true", "no": "false", "off": "false"}[lower]; known {
			lower = meant
		}
		n.bad("must be true or false, got %s%s", n.kind(), didYouMean(lower, []string{"true", "false"}))
		ok = false
	case n.isQuoted():
		n.bad("must be true or false, got the text %q; leave the quotes out", text)
		ok = false
	}
	return isTrue, ok
}, schema: func() object { return object{"type": "boolean"} }}

// orNone is what a 0 that is written in a file is in a Config, where 0 means the
// default.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// whole is a whole number of at least lo and, unless hi is 0, at most hi.
func whole(lo, hi int) kind[int] {
	bounds, most := fmt.Sprintf("at least %d", lo), math.MaxInt
	if hi > 0 {
		bounds, most = fmt.Sprintf("%d to %d", lo, hi), hi
	}
	read := func(n node) (int, bool) {
		text, ok := n.text("a whole number")
		if !ok {
			return 0, false
		}
		v, err := strconv.Atoi(text)
		switch {
		case n.isQuoted() && err == nil:
			n.bad("must be a number, got the text %q; leave the quotes out", text)
		case err != nil || len(text) > 1 && text[0] == '0':
			n.bad("must be a whole number of %s, got %s", bounds, n.kind())
		case v < lo || v > most:
			n.bad("must be %s, got %d%s", bounds, v, n.hintAtDefault(v))
		default:
			return v, true
		}
		return 0, false
	}
	return kind[int]{read: read, schema: func() object {
		schema := object{"type": "integer", "minimum": lo}
		if hi > 0 {
			schema["maximum"] = hi
		}
		return schema
	}}
}

// hintAtDefault is for who writes 0 and means "as it comes".
func (n node) hintAtDefault(v int) string {
	if v != 0 || n.def == "" {
		return ""
	}
	return "; leave the key out" + n.otherwise()
}

// word is one of a few.
func word[S ~string](allowed ...S) kind[S] {
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	want := enumerate(words, "or")
	read := func(n node) (S, bool) {
		text, ok := n.text(want)
		if ok && !slices.Contains(words, text) {
			n.bad("must be %s, got %s%s", want, n.kind(), didYouMean(text, words))
			ok = false
		}
		return S(text), ok
	}
	return kind[S]{read: read, schema: func() object { return object{"enum": words} }}
}

// text is any text but the empty one.
var text = kind[string]{read: func(n node) (string, bool) {
	text, ok := n.text("text")
	if ok && text == "" {
		n.bad("must not be empty; leave the key out instead")
		ok = false
	}
	return text, ok
}, schema: func() object { return object{"type": []string{"string", "integer"}, "minLength": 1} }}

// socketPath is a path short enough for a control socket.
var socketPath = kind[string]{read: func(n node) (string, bool) {
	const most = listen.MaxControlPath
	path, ok := text.read(n)
	switch {
	case !ok:
	case len(path) > most:
		n.bad("is %d bytes long, a socket's path may have %d; choose a shorter one", len(path), most)
		ok = false
	case strings.HasSuffix(path, "/"):
		n.bad("names a directory; add the name of a file such as control.sock")
		ok = false
	}
	return path, ok
}, schema: func() object { return object{"type": "string", "minLength": 1} }}

var environment = kind[map[string]string]{mayBeNull: true, read: func(n node) (map[string]string, bool) {
	env := map[string]string{}
	entries, ok := n.entries()
	for _, e := range entries {
		switch {
		case e.name == "" || strings.ContainsAny(e.name, "=\x00"):
			e.src.report(placeOfToken(e.key), e.path, "%q is no name of an environment variable", e.name)
		case e.isNull():
			e.bad(`has no value; write "" for an empty one, or quote the word`)
		default:
			env[e.name], _ = e.text("text")
		}
	}
	return env, ok
}, schema: func() object {
	return object{"type": "object", "additionalProperties": object{"type": []string{"string", "number", "boolean"}}}
}}
