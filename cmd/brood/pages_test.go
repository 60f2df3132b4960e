package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/brood/supervisor/config"
)

// TestManPages: there is one for every command, and mandoc has nothing to say
// against them.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	r := shell(t, "", "SOURCE_DATE_EPOCH=1700000000 brood man "+dir)
	if r.code != 0 {
		t.Fatal(r)
	}
	pages := strings.Fields(r.stdout)
	for _, c := range newRoot(&globals{}).Commands() {
		if !c.Hidden && !strings.Contains(r.stdout, "/brood-"+c.Name()+".1\n") {
			t.Errorf("%s has no page", c.Name())
		}
	}
	need(t, "mandoc")
	out, err := exec.Command("mandoc", append([]string{"-T", "lint", "-W", "warning"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	for page, wants := range map[string][]string{
		"brood.1":      {"EXIT STATUS", "no supervisor on that socket", "BROOD_HOST", "brood-send(1)"},
		"brood-send.1": {"--timeout DURATION", "Ctrl-C cancels it", "--host"},
		"brood.yaml.5": {"KEYS OF pools.NAME.stop", "KEYS OF control.access", "max_role", "Default: 10s.", "give_up_codes"},
	} {
		text, err := exec.Command("mandoc", "-T", "ascii", "-O", "width=200", filepath.Join(dir, page)).Output()
		if err != nil {
			t.Fatal(err)
		}
		plain := strings.ReplaceAll(string(text), "\b", "\x00")
		for i := strings.IndexByte(plain, 0); i > 0; i = strings.IndexByte(plain, 0) {
			plain = plain[:i-1] + plain[i+1:] // bold is x, backspace, x
		}
		for _, want := range wants {
			wantIn(t, page, plain, want)
		}
	}
}

// TestInitTextIsTrue: each line that is commented out in the file that init
// writes is one that brood takes.
func TestInitTextIsTrue(t *testing.T) {
	commented := regexp.MustCompile(`^( *)# ((?:[a-z_]+): .*)$`)
	lines := strings.Split(initText, "\n")
	found := 0
	for i, line := range lines {
		m := commented.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(m[2], "after:") {
			continue // it names a pool that is not there
		}
		found++
		with := slices.Clone(lines)
		with[i] = m[1] + m[2]
		if _, err := config.Parse("init.yaml", []byte(strings.Join(with, "\n"))); err != nil {
			t.Errorf("%v", err)
		}
	}
	if found < 12 {
		t.Errorf("only %d keys were found", found)
	}
}

// TestInit: what it writes, brood runs; it writes over nothing unasked.
func TestInit(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"brood init", exitDone, "brood.yaml is written"},
		{"brood check", exitDone, `pool main, 2 × ["sleep" "infinity"]`},
		{"brood init", exitUsage, "--force writes over it"},
		{"brood init --force --name web -- sleep 'two words'", exitDone, "is written"},
		{"brood check", exitDone, `pool web, 2 × ["sleep" "two words"]`},
		{"brood init --name 2x -c x.yaml", exitUsage, "2x"},
		{"test ! -e x.yaml", exitDone, ""},
		{"brood init -c y.yaml -- /no/such/program", exitUsage, "/no/such/program"},
		{"brood init --from nothing.conf", exitUsage, "nothing.conf"},
		{"brood init --from x -- y", exitUsage, "two beginnings"},
	} {
		if r := shell(t, "", "cd "+dir+" && "+tt.line); r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
			t.Errorf("%s: want exit %d and %q, got %v", tt.line, tt.code, tt.want, r)
		}
	}
	samples, err := filepath.Abs("internal/convert/testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"supervisord.conf", "Procfile", "ecosystem.config.json"} {
		r := shell(t, "", "cd "+dir+" && brood init --force -c "+name+".yaml --from "+samples+"/"+name+" && brood check -c "+name+".yaml")
		if r.code != exitDone {
			t.Errorf("%s: %v", name, r)
		}
	}
}
