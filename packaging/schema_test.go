package packaging_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// schema is docs/brood.schema.json, as an editor has it.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../docs/brood.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	b, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// TestSchemaTakesEveryExample: no editor draws a red line under a file that the
// project shows. That the schema has the keys that brood reads, and no others, is a
// test of supervisor/config.
func TestSchemaTakesEveryExample(t *testing.T) {
	s := schema(t)
	seen := 0
	take := func(name, text string) {
		seen++
		if err := validate(t, s, text); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == ".git" || e.Name() == "node_modules" || e.Name() == "dist") {
			return filepath.SkipDir
		}
		switch ext := filepath.Ext(path); {
		case ext == ".md":
			for i, b := range yamlBlocks(t, path) {
				if strings.HasPrefix(b, "pools:") || strings.Contains(b, "\npools:") {
					take(path+" block "+string(rune('1'+i)), b)
				}
			}
		case ext == ".yaml" && (strings.HasPrefix(e.Name(), "brood") || e.Name() == "demo.yaml"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			take(path, string(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 8 {
		t.Errorf("only %d examples found", seen)
	}
}

// yamlBlocks are the yaml blocks of a Markdown file.
func yamlBlocks(t *testing.T, path string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(b), "```") {
		if text, ok := strings.CutPrefix(part, "yaml\n"); ok && i%2 == 1 {
			all = append(all, text)
		}
	}
	return all
}

// TestSchemaRefuses: what brood refuses by its form alone, an editor marks.
func TestSchemaRefuses(t *testing.T) {
	s := schema(t)
	for _, wrong := range []string{
		"{}",
		"pools: {}",
		"pools: {web: {}}",
		"pools: {web: {command: ./server}}",
		"pools: {web: {command: [./server], wrokers: 4}}",
		"pools: {web: {command: [./server], workers: four}}",
		"pools: {web: {command: [./server], stop: {timeout: 10}}}",
		"pools: {web: {command: [./server], stop: {signal: NOSUCH!}}}",
		"pools: {web: {command: [./server], cgroup: {memory: 512MB}}}",
		"pools: {web: {command: [./server], ready: {when: soon}}}",
		"pools: {1web: {command: [./server]}}",
		"pools: {web: {command: [./server]}}\nextra: 1",
	} {
		if validate(t, s, wrong) == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}
