package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// example is one "$ " line of a console block and what is printed below it.
type example struct {
	line    int
	command string
	want    []string
}

// examples are all "$ " lines of a document's console blocks, in order.
func examples(t *testing.T, path string) []example {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	inside := false
	for i, line := range strings.Split(string(b), "\n") {
		switch {
		case line == "```console":
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside && strings.HasPrefix(line, "$ "):
			all = append(all, example{i + 1, line[2:], nil})
		case inside:
			last := &all[len(all)-1]
			last.want = append(last.want, line)
		}
	}
	return all
}

// TestReadmeTour types every line of the README's tour into one shell, in a
// copy of the tree, and compares what it prints.
func TestReadmeTour(t *testing.T) {
	need(t, "bash", "curl", "python3", "go")
	all := examples(t, "../../README.md")
	if len(all) < 20 {
		t.Fatalf("%d examples found in the README; has their form changed?", len(all))
	}
	sh := startTour(t)
	for _, e := range all {
		got := sh.run(t, e.command)
		if diff := compare(e.want, got); diff != "" {
			t.Fatalf("README.md:%d: $ %s\n%s\ngot:\n%s\nlog:\n%s", e.line, e.command, diff, strings.Join(got, "\n"), sh.log())
		}
	}
}

// tour is one bash for all examples.
type tour struct {
	in  *bufio.Writer
	out *bufio.Scanner
	dir string
}

func startTour(t *testing.T) *tour {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := socketDir(t)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "bin" {
			if err := os.Symlink(filepath.Join(root, e.Name()), filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "PWD="+root)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	tr := &tour{bufio.NewWriter(in), bufio.NewScanner(out), dir}
	t.Cleanup(func() {
		fmt.Fprintln(tr.in, "brood shutdown >/dev/null 2>&1; exit")
		tr.in.Flush()
		in.Close()
		cmd.Wait()
		limit.Stop()
	})
	// The paths of the tour are below bin; the tree itself stays clean.
	tr.run(t, "cd "+dir)
	return tr
}

const tourEnd = "--- end of example"

// run types one line and returns what it prints until the shell is back.
func (tr *tour) run(t *testing.T, command string) []string {
	fmt.Fprintf(tr.in, "{ %s\n} 2>&1; echo; echo '%s'\n", command, tourEnd)
	if err := tr.in.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for tr.out.Scan() {
		if tr.out.Text() == tourEnd {
			for len(got) > 0 && got[len(got)-1] == "" {
				got = got[:len(got)-1]
			}
			return got
		}
		got = append(got, tr.out.Text())
	}
	t.Fatalf("the shell ended at %q", command)
	return nil
}

func (tr *tour) log() string {
	b, _ := os.ReadFile(filepath.Join(tr.dir, "bin", "brood.log"))
	return string(b)
}

// compare holds what a document shows against what was printed. "…" stands for
// anything, alone on a line for any lines; process ids and times vary, so any
// number of four digits or more, and what stands in columns, is compared by
// form alone.
func compare(want, got []string) string {
	for len(want) > 0 && want[len(want)-1] == "" {
		want = want[:len(want)-1]
	}
	var re strings.Builder
	re.WriteString(`(?s)^`)
	for i, w := range want {
		if w == "…" {
			re.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		re.WriteString(lineForm(w))
		if i < len(want)-1 {
			re.WriteString(`\n`)
		}
	}
	re.WriteString(`$`)
	if regexp.MustCompile(re.String()).MatchString(strings.Join(got, "\n")) {
		return ""
	}
	return "want:\n" + strings.Join(want, "\n")
}

func lineForm(w string) string {
	w = regexp.QuoteMeta(w)
	w = strings.ReplaceAll(w, "…", "[^\n]*")
	w = regexp.MustCompile(` {2,}`).ReplaceAllString(w, ` +`)
	w = regexp.MustCompile(`\b\d{4,}\b`).ReplaceAllString(w, `\d+`)
	return regexp.MustCompile(`\b\d+s\b`).ReplaceAllString(w, `\d+s`)
}
