package config

import (
	"bytes"
	"encoding/json"
	"strconv"
)

//go:generate go test . -run TestSchemaFile -update

// object is a JSON object.
type object map[string]any

// Schema is the JSON Schema (draft 7) of a file, for editors. It cannot say all
// that Parse checks. docs/brood.schema.json is a copy.
func Schema() []byte {
	root := wholeFile().schema()
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "brood.yaml"
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		panic(err) // the table holds nothing that JSON does not know
	}
	return text.Bytes()
}

func sectionSchema[T any](keys []key[T]) object {
	properties := object{}
	var required []string
	for _, k := range keys {
		properties[k.name] = k.schema()
		if k.required {
			required = append(required, k.name)
		}
	}
	s := object{"type": "object", "additionalProperties": false, "properties": properties}
	if required != nil {
		s["required"] = required
	} else {
		s["type"] = []string{"object", "null"} // nothing after the key
	}
	return s
}

// describe adds to a kind's schema what its row says.
func describe(s object, help, def string) object {
	s["description"] = help
	if def != "" {
		s["default"] = literal(def)
	}
	return s
}

// oneOrList is an item, or a list of such.
func oneOrList(item func() object) func() object {
	return func() object {
		return object{"anyOf": []object{item(), {"type": "array", "minItems": 1, "items": item()}}}
	}
}

// literal is the JSON value of a default as it is written in a file.
func literal(def string) any {
	switch def {
	case "[]":
		return []any{}
	case "false":
		return false
	}
	if n, err := strconv.Atoi(def); err == nil {
		return n
	}
	if unquoted, err := strconv.Unquote(def); err == nil {
		return unquoted
	}
	return def
}
