// Package node_test runs the tests of the Node.js worker library among Go's.
package node_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/brood/worker/internal/foreign"
)

func TestNode(t *testing.T) {
	foreign.Need(t, "node")
	foreign.Reads(t, "*.js", "*.cjs", "*.ts", "*.cts", "*.json", "lib/*", "test/*", "../../docs/vectors/*.json")
	foreign.Run(t, "session ping", "node", "--test", "test/")
}

// TestPack: what npm makes of it works where it is installed, both ways, without
// a network.
func TestPack(t *testing.T) {
	foreign.Need(t, "node", "npm")
	dir := t.TempDir()
	run := func(program string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Env = append(os.Environ(), "npm_config_offline=true", "npm_config_update_notifier=false", "npm_config_cache="+filepath.Join(dir, "cache"))
		if program == "node" || args[0] == "install" {
			cmd.Dir = dir
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, out)
		}
		return string(out)
	}
	run("npm", "pack", "--pack-destination", dir)
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	run("npm", "install", "--no-audit", "--no-fund", filepath.Join(dir, "brood-worker-1.0.0.tgz"))
	for kind, script := range map[string]string{
		"commonjs": `console.log(require('brood-worker').Worker.name)`,
		"module":   `import {Worker} from 'brood-worker'; console.log(Worker.name)`,
	} {
		if out := run("node", "--input-type="+kind, "-e", script); out != "Worker\n" {
			t.Errorf("%s: %q", kind, out)
		}
	}
	// The types are one file, which the other passes on, and name what there is.
	types := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, "node_modules/brood-worker", name))
		if err != nil {
			t.Fatalf("the types are not there: %v", err)
		}
		return string(b)
	}
	if text := types("index.d.ts"); !strings.HasSuffix(text, "\nexport * from './index.cjs';\n") || strings.Count(text, "\n") != 2 {
		t.Errorf("index.d.ts has types of its own:\n%s", text)
	}
	var typed []string
	for _, m := range regexp.MustCompile(`(?m)^export (?:class|function|const) (\w+)`).FindAllStringSubmatch(types("index.d.cts"), -1) {
		typed = append(typed, m[1])
	}
	slices.Sort(typed)
	for kind, script := range map[string]string{
		"commonjs": `console.log(Object.keys(require('brood-worker')).sort().join(' '))`,
		"module":   `import * as all from 'brood-worker'; console.log(Object.keys(all).sort().join(' '))`,
	} {
		if out := run("node", "--input-type="+kind, "-e", script); out != strings.Join(typed, " ")+"\n" {
			t.Errorf("%s has %s, and types of %v", kind, out, typed)
		}
	}
}
