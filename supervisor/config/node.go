package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// node is a value in a file, and what an error about it needs.
type node struct {
	src   *source
	path  string       // "pools.web.stop.timeout"; empty: the root
	key   *token.Token // the key it belongs to; nil: the root or a list's item
	value ast.Node
	def   string // what leaving the key out means, as it is written in a file; empty: nothing
}

// bad reports that the value will not do.
func (n node) bad(format string, args ...any) {
	n.src.report(n.place(), n.path, format, args...)
}

// place is where the value begins. A value that is not there is where its key
// is, and so is a mapping in block style.
func (n node) place() place {
	switch v := n.value.(type) {
	case *ast.NullNode:
		if n.key != nil {
			return placeOfToken(n.key)
		}
	case *ast.MappingNode:
		if v.IsFlowStyle {
			return placeOfToken(v.Start)
		}
		if n.key != nil {
			return placeOfToken(n.key)
		}
		if len(v.Values) > 0 {
			return placeOfToken(v.Values[0].Key.GetToken())
		}
	case *ast.LiteralNode:
		return placeOfToken(v.Start)
	}
	return placeOfToken(n.value.GetToken())
}

// kind names what the value is, for "must be …, got …".
func (n node) kind() string {
	switch v := n.value.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode, *ast.LiteralNode:
		text, _ := scalar(v)
		return fmt.Sprintf("%q", shorten(text))
	}
	return shorten(n.value.GetToken().Value)
}

// shorten keeps a long value from drowning the message about it.
func shorten(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

func (n node) isNull() bool {
	_, null := n.value.(*ast.NullNode)
	return null
}

// isQuoted tells whether the value is text for certain.
func (n node) isQuoted() bool {
	switch v := n.value.(type) {
	case *ast.LiteralNode:
		return true
	case *ast.StringNode:
		return v.Token.Type == token.SingleQuoteType || v.Token.Type == token.DoubleQuoteType
	}
	return false
}

// text is a scalar as it is written: 0x1F stays "0x1F". want says what it
// should be.
func (n node) text(want string) (string, bool) {
	text, ok := scalar(n.value)
	switch {
	case !ok:
		n.bad("must be %s, got %s", want, n.kind())
	case strings.ContainsRune(text, 0):
		n.bad("has a NUL character in it, which no program can be given")
		ok = false
	}
	return text, ok
}

func scalar(v ast.Node) (text string, ok bool) {
	switch v := v.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		if v.Value == nil {
			return "", true
		}
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return v.GetToken().Value, true
	}
	return "", false
}

// name is the last part of the path.
func (n node) name() string { return n.path[strings.LastIndexByte(n.path, '.')+1:] }

// items are the values of a list.
func (n node) items(want string) ([]node, bool) {
	list, ok := n.value.(*ast.SequenceNode)
	if !ok {
		n.bad("must be %s, got %s", want, n.kind())
		return nil, false
	}
	items := make([]node, len(list.Values))
	for i, v := range list.Values {
		items[i] = node{src: n.src, path: fmt.Sprintf("%s[%d]", n.path, i), value: v}
		n.src.places[items[i].path] = items[i].place()
	}
	return items, true
}

// entry is a key of a mapping and its value.
type entry struct {
	name string
	node
}

// entries are those of a mapping in their order, each name once: the first one
// counts, the others are reported. Nothing at all is an empty mapping.
func (n node) entries() ([]entry, bool) {
	if n.isNull() {
		return nil, true
	}
	m, ok := n.value.(*ast.MappingNode)
	if !ok {
		n.bad("must be a mapping (key: value), got %s", n.kind())
		return nil, false
	}
	lines := map[string]int{}
	var entries []entry
	for _, kv := range m.Values {
		name, at := keyText(kv.Key), placeOfToken(kv.Key.GetToken())
		path := name
		if n.path != "" {
			path = n.path + "." + name
		}
		if first, twice := lines[name]; twice {
			n.src.report(at, path, "is written twice, first in line %d; keep one", first)
			continue
		}
		lines[name] = at.line
		e := entry{name, node{src: n.src, path: path, key: kv.Key.GetToken(), value: kv.Value}}
		n.src.places[path] = e.place()
		if _, mapping := kv.Value.(*ast.MappingNode); mapping {
			n.src.places[path] = at
		}
		entries = append(entries, e)
	}
	return entries, true
}

// keyText is a key as it is written, without its quotes.
func keyText(key ast.MapKeyNode) string {
	if text, ok := scalar(key); ok {
		return text
	}
	return key.GetToken().Value
}

// unknown reports a key that is none of the allowed ones. What it was meant to
// be is not reported as missing.
func (e entry) unknown(allowed []string) {
	at := placeOfToken(e.key)
	if near := nearest(e.name, allowed); near != "" {
		e.src.report(at, e.path, "unknown key; did you mean %q?", near)
		e.src.blamed[strings.TrimSuffix(e.path, e.name)+near] = true
		return
	}
	e.src.report(at, e.path, "unknown key; the keys here are %s", enumerate(allowed, "and"))
}
