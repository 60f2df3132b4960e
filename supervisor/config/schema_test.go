package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"testing"
)

var update = flag.Bool("update", false, "write docs/brood.schema.json anew")

const schemaFile = "../../docs/brood.schema.json"

func TestSchemaFile(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, Schema()) {
		t.Errorf("%s is not what the table of keys makes; run go generate", schemaFile)
	}
}

// described is a key as the schema has it.
type described struct {
	Description          string
	Default              any
	Pattern              string
	Properties           map[string]described
	AdditionalProperties json.RawMessage // a schema for the pools and for env, else false
}

// allKeys are the keys of the table by the name docs/config.md calls them.
func allKeys(t *testing.T) map[string]described {
	t.Helper()
	var root described
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	all := map[string]described{}
	var walk func(prefix string, of described)
	walk = func(prefix string, of described) {
		for name, d := range of.Properties {
			all[prefix+name] = d
			walk(prefix+name+".", d)
		}
	}
	walk("", root)
	var onePool described
	if err := json.Unmarshal(root.Properties["pools"].AdditionalProperties, &onePool); err != nil {
		t.Fatal(err)
	}
	walk("", onePool)
	if len(all) < 25 {
		t.Fatalf("the schema has only %d keys", len(all))
	}
	return all
}

func TestSchemaPatternsMatchDefaults(t *testing.T) {
	for name, d := range allKeys(t) {
		if text, ok := d.Default.(string); ok && !regexp.MustCompile(d.Pattern).MatchString(text) {
			t.Errorf("%s: the default %q does not match %s", name, text, d.Pattern)
		}
		if d.Description == "" {
			t.Errorf("%s has no description", name)
		}
	}
}

// What the patterns let through is read, what they stop is not: an editor must
// not draw a red line under a right file.
func TestSchemaPatternsAgree(t *testing.T) {
	keys := allKeys(t)
	for _, c := range []struct {
		key    string
		values []string
	}{
		{"ready.timeout", []string{"1s", "1.5h", "1m30s", "250ms", "3us", "3µs", "1d", "s", "", "10", "1 s", "-1s"}},
		{"health.ping", []string{"off", "0s", "2s", "no", "2"}},
		{"restart.backoff", []string{"1s..2s", "1s", "1s-2s", "1s..", "..2s", "1s..2s..3s", "1s..2"}},
		{"restart.budget", []string{"10/1m", "off", "0/1m", "10", "10/1", "/1m", "-1/1m"}},
		{"stop.signal", []string{"TERM", "sigterm", "SigInt", "USR1", "15", ""}},
		{"control.mode", []string{"0660", "0o660", "0777", "660", "1777", "01777", "rw-", "0668"}},
	} {
		pattern := regexp.MustCompile(keys[c.key].Pattern)
		for _, v := range c.values {
			quoted, _ := json.Marshal(v)
			_, err := Parse("brood.yaml", fileWith(c.key, string(quoted)))
			if schema := pattern.MatchString(v); schema != (err == nil) {
				t.Errorf("%s: %q: the schema says %v, Parse says %v", c.key, v, schema, err)
			}
		}
	}
}
