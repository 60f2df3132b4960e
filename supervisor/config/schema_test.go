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
	AnyOf                []described // one, or a list of such
	Items                *described
	AdditionalProperties json.RawMessage // a schema for the pools and for env, else false
}

// allKeys are the keys of the table by the name docs/config.md calls them. Below
// a mapping of names that name is NAME.
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
			if len(d.AnyOf) > 0 {
				walk(prefix+name+".", d.AnyOf[0])
			}
			if d.Items != nil {
				walk(prefix+name+".", *d.Items)
			}
			if one := byNameOf(t, d); one.Properties != nil && name != "pools" {
				walk(prefix+name+".NAME.", one)
			}
		}
	}
	walk("", root)
	walk("", byNameOf(t, root.Properties["pools"]))
	if len(all) < 80 {
		t.Fatalf("the schema has only %d keys", len(all))
	}
	return all
}

// byNameOf is what a mapping of names has for each.
func byNameOf(t *testing.T, d described) (one described) {
	t.Helper()
	if len(d.AdditionalProperties) == 0 || d.AdditionalProperties[0] != '{' {
		return described{}
	}
	if err := json.Unmarshal(d.AdditionalProperties, &one); err != nil {
		t.Fatal(err)
	}
	return one
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
		{"umask", []string{"0027", "027", "077", "0o27", "0777", "000", "00022", "22", "0", "0o", "1777", "01777", "0800", "rw"}},
		{"limits.nofile", []string{"65536", "0", "unlimited", "1024/65536", "1024/unlimited", "1/2/3", "/2", "1/", "1k", "1KiB", "none", ""}},
		{"limits.core", []string{"0", "0B", "1GiB", "1GiB/unlimited", "0/1TiB", "10", "1GB", "1 GiB", "1.5GiB"}},
		{"limits.cpu", []string{"60s", "1m/1h", "unlimited", "60", "60/120", "0/1m"}},
		{"cgroup.memory", []string{"512MiB", "1B", "512", "512M", "512mib", "-1MiB"}},
		{"health.beat", []string{"off", "0s", "2s", "no", "2"}},
		{"health.dump", []string{"QUIT", "sigabrt", "3", ""}},
		{"restart.rate", []string{"10/1s", "off", "0/1s", "10"}},
		{"rollout.soak", []string{"off", "0s", "2s", "0"}},
		{"recycle.age", []string{"off", "0s", "24h", "24"}},
		{"recycle.memory", []string{"0", "512MiB", "0MiB", "512", "off"}},
		{"recycle.jitter", []string{"10%", "0%", "100%", "2.5%", "10", "0.1", "%", "-1%", ".5%", "1e1%"}},
		{"dispatch.timeout", []string{"off", "0s", "2s", "none"}},
		{"commands.NAME.signal", []string{"USR1", "sigstop", "10"}},
		{"control.listen.mode", []string{"0660", "0o660", "0777", "660", "1777", "01777", "rw-", "0668"}},
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
