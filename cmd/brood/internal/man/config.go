package man

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// schema is what is read of a JSON Schema.
type schema struct {
	Description string
	Default     json.RawMessage
	Enum        []json.RawMessage
	Properties  map[string]schema
	Additional  json.RawMessage `json:"additionalProperties"`
	Required    []string
	Items       *schema  // of a list
	AnyOf       []schema // one of these
}

// Config is the page of a configuration file: intro, every key of its schema,
// and an example.
func (b Book) Config(name, short, intro string, schemaText []byte, example string) (string, error) {
	var root schema
	if err := json.Unmarshal(schemaText, &root); err != nil {
		return "", fmt.Errorf("the schema: %w", err)
	}
	p := b.begin(name, 5)
	p.head("NAME")
	p.line(`%s \- %s`, Escape(name), Escape(short))
	p.head("DESCRIPTION")
	p.text(intro)
	p.keys(root, "")
	p.head("EXAMPLE")
	p.text("  " + strings.ReplaceAll(strings.TrimSpace(example), "\n", "\n  "))
	p.head("SEE ALSO")
	p.line(`\fBbrood\fR(1), \fBbrood\-check\fR(1), \fBbrood\-init\fR(1)`)
	return p.String(), nil
}

// mapping is the mapping with keys that s is, is a list of, or may be.
func (s schema) mapping() (schema, bool) {
	if s.Properties != nil {
		return s, true
	}
	if s.Items != nil {
		return s.Items.mapping()
	}
	for _, one := range s.AnyOf {
		if m, ok := one.mapping(); ok {
			return m, true
		}
	}
	return schema{}, false
}

// keys lists the keys of a mapping, those that must be there first, then those
// of the mappings in it, each under a title of its own.
func (p *page) keys(s schema, path string) {
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if x, y := slices.Contains(s.Required, a), slices.Contains(s.Required, b); x != y {
			return map[bool]int{true: -1, false: 1}[x]
		}
		return strings.Compare(a, b)
	})
	title := "THE FILE"
	if path != "" {
		title = "KEYS OF " + path
	}
	p.head(title)
	for _, name := range names {
		k := s.Properties[name]
		meaning := sentence(k.Description)
		switch {
		case slices.Contains(s.Required, name):
			meaning += " It must be there."
		case len(k.Default) > 0:
			meaning += " Default: " + strings.Trim(string(k.Default), `"`) + "."
		}
		p.item(`\fB`+Escape(name)+`\fR`, meaning)
	}
	for _, name := range names {
		k := s.Properties[name]
		if m, ok := k.mapping(); ok {
			p.keys(m, strings.TrimPrefix(path+"."+name, "."))
		}
		var each schema // of a mapping whose keys are names
		if json.Unmarshal(k.Additional, &each) == nil && each.Properties != nil {
			p.keys(each, strings.TrimPrefix(path+"."+name, ".")+".NAME")
		}
	}
}
