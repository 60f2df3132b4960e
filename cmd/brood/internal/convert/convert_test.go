package convert

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/brood/supervisor/config"
)

var update = flag.Bool("update", false, "write what is made to testdata")

// TestSamples: each file comes to what stands beside it, brood reads that and
// finds the programs, and no key of the sample is passed over in silence.
func TestSamples(t *testing.T) {
	t.Setenv("HOME", "/root")
	for _, name := range []string{"supervisord.conf", "Procfile", "ecosystem.config.json"} {
		t.Run(name, func(t *testing.T) {
			got, err := File(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
			path := filepath.Join("testdata", name+".yaml")
			if _, err := config.Load(path); err != nil && os.Geteuid() == 0 {
				t.Errorf("brood check: %v", err)
			}
		})
	}
}

// TestNothingIsLeftOut: every key of a program that has no place in the result
// is in a comment with its line.
func TestNothingIsLeftOut(t *testing.T) {
	text, err := os.ReadFile("testdata/supervisord.conf")
	if err != nil {
		t.Fatal(err)
	}
	got, err := File("testdata/supervisord.conf")
	if err != nil {
		t.Fatal(err)
	}
	placed := regexp.MustCompile(`^(command|numprocs|directory|umask|user|autostart=true|autorestart|startretries|stopsignal|stopwaitsecs|environment|PERCENT|files|file|chmod|logfile|pidfile|childlogdir|serverurl|supervisor\.|programs|events)`)
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.ContainsAny(line[:1], "[;") || placed.MatchString(line) {
			continue
		}
		key := regexp.MustCompile(`[=:].*`).ReplaceAllString(line, "")
		if !strings.Contains(got, "supervisord.conf:"+strconv.Itoa(i+1)+": "+strings.TrimSpace(key)) {
			t.Errorf("line %d is lost: %s", i+1, line)
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct{ text, want string }{
		"empty.conf":            {"[supervisord]\n", "no program"},
		"stray.conf":            {"a=b\n", "before the first"},
		"bad.conf":              {"[program:a]\nnonsense\n", "bad.conf:2"},
		"none.conf":             {"[program:a]\nuser=x\n", "no command"},
		"quote.conf":            {"[program:a]\ncommand=echo 'a\n", "no end"},
		"Procfile":              {"# nothing\n", "no program"},
		"ecosystem.config.json": {"{\n\"apps\": [\n", "ecosystem.config.json:"},
		"deep.json":             {strings.Repeat("[", 10000), "too deeply"},
		"script.json":           {`{"apps":[{"name":"a"}]}`, "no script"},
		"ecosystem.config.js":   {"module.exports = {}", "node -p"},
		"what.txt":              {"", "what is it?"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := File(path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestSplit(t *testing.T) {
	for line, want := range map[string][]string{
		`a b  c`: {"a", "b", "c"}, `a 'b c' "d e"`: {"a", "b c", "d e"}, `a\ b ''`: {"a b", ""}, `"a\"b\n"`: {`a"b\n`}, ``: nil,
	} {
		if got, err := split(line); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
}

// FuzzConvert: whatever the file says, what comes out is YAML that brood can
// judge, and no text of the file gets out of its comment.
func FuzzConvert(f *testing.F) {
	for _, name := range []string{"supervisord.conf", "Procfile", "ecosystem.config.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, string(text))
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		if name != "Procfile" && name != "ecosystem.config.json" {
			name = "supervisord.conf"
		}
		if strings.Contains(text, "include") {
			return // it would read files
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := File(path)
		if err != nil {
			return
		}
		for line := range strings.Lines(got) {
			if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") && !regexp.MustCompile(`^[a-zA-Z][\w.-]*:`).MatchString(trimmed) {
				t.Errorf("a line that is neither a key nor a comment: %q", line)
			}
		}
	})
}
