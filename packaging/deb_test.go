package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPackageContents lists the package and runs what is in it.
func TestPackageContents(t *testing.T) {
	need(t, "dpkg-deb", "man")
	list := output(t, "dpkg-deb", "-c", deb)
	for _, want := range []string{
		"-rwxr-xr-x root/root", " ./usr/bin/brood\n", " ./usr/share/man/man1/brood.1.gz\n",
		" ./usr/share/bash-completion/completions/brood\n", " ./usr/share/zsh/vendor-completions/_brood\n", " ./usr/share/fish/vendor_completions.d/brood.fish\n",
		" ./usr/lib/systemd/system/brood.service\n", " ./usr/lib/systemd/system/brood.socket\n",
		" ./usr/lib/tmpfiles.d/brood.conf\n", " ./usr/lib/sysusers.d/brood.conf\n", " ./etc/logrotate.d/brood\n",
		" ./usr/share/doc/brood/README.md\n", " ./usr/share/doc/brood/config.md\n", " ./usr/share/doc/brood/examples/brood.yaml\n", " ./etc/brood/\n",
	} {
		wantIn(t, "dpkg-deb -c", list, want)
	}
	docs, _ := filepath.Glob("../docs/*.md")
	for _, path := range docs {
		wantIn(t, "dpkg-deb -c", list, " ./usr/share/doc/brood/"+filepath.Base(path)+"\n")
	}
	for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
		if f := strings.Fields(line); f[1] != "root/root" || f[0][8] == 'w' || f[0][5] == 'w' {
			t.Errorf("owner or mode: %s", line)
		}
	}

	root := t.TempDir()
	output(t, "dpkg-deb", "-x", deb, root)
	brood := root + "/usr/bin/brood"
	wantIn(t, "brood version", output(t, brood, "version"), "1.2.3~test")
	for _, shell := range []struct{ program, file string }{
		{"bash", "bash-completion/completions/brood"}, {"zsh", "zsh/vendor-completions/_brood"}, {"fish", "fish/vendor_completions.d/brood.fish"},
	} {
		need(t, shell.program)
		output(t, shell.program, "-n", root+"/usr/share/"+shell.file)
	}
	pages, _ := filepath.Glob(root + "/usr/share/man/man*/*.gz")
	for _, page := range pages {
		cmd := exec.Command("man", "--warnings", "-l", page)
		cmd.Env = append(os.Environ(), "MANPAGER=cat", "MANWIDTH=80", "LC_ALL=C.UTF-8")
		text, code := run(t, cmd)
		if code != 0 || !strings.Contains(text, "NAME") || strings.Contains(text, "warning") {
			t.Errorf("%s: exit %d: %s", page, code, text)
		}
	}
	// The example's worker is where the package puts it.
	text, err := os.ReadFile(root + "/usr/share/doc/brood/examples/brood.yaml")
	if err != nil {
		t.Fatal(err)
	}
	moved := root + "/brood.yaml"
	if err := os.WriteFile(moved, []byte(strings.ReplaceAll(string(text), "/usr/share", root+"/usr/share")), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, brood, "check", "-c", moved)
}

// TestPackageIsClean has lintian look at it.
func TestPackageIsClean(t *testing.T) {
	need(t, "lintian")
	if text, code := run(t, exec.Command("lintian", "--allow-root", "--fail-on=error,warning", deb)); code != 0 {
		t.Errorf("lintian: exit %d\n%s", code, text)
	}
}

// TestPackageIsReproducible: the same tree makes the same package.
func TestPackageIsReproducible(t *testing.T) {
	again := t.TempDir()
	cmd := exec.Command("./build")
	cmd.Env = append(os.Environ(), "DIST="+again, "VERSION=1.2.3~test", "SOURCE_DATE_EPOCH=1767225600")
	if text, code := run(t, cmd); code != 0 {
		t.Fatalf("exit %d\n%s", code, text)
	}
	output(t, "cmp", deb, filepath.Join(again, filepath.Base(deb)))
}
