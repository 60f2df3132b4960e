package packaging_test

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// No engine runs here, so the recipe is read and what it says is done by hand: its
// build commands are run, its files are put into an empty root, and its entry point
// becomes process 1 there.

// image is what a Dockerfile makes, as far as this test understands it.
type image struct {
	root        string
	env         []string
	entry, cmd  []string
	health      []string
	stop        syscall.Signal
	healthFlags []string
}

// instruction is one of a Dockerfile, continued lines joined.
type instruction struct {
	line       int
	name, rest string
}

func readDockerfile(t *testing.T, path string) (all []instruction) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(b), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if strings.HasSuffix(line, `\`) {
			t.Fatalf("%s:%d: this test reads no continued lines", path, i+1)
		}
		name, rest, _ := strings.Cut(line, " ")
		all = append(all, instruction{i + 1, name, rest})
	}
	return all
}

// execForm are the words of ["…"]: a shell between would not pass signals on.
func execForm(t *testing.T, in instruction) (words []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(in.rest), &words); err != nil {
		t.Fatalf("line %d: %s %s: write it as a list: %v", in.line, in.name, in.rest, err)
	}
	return words
}

// buildImage does what the Dockerfile says, with the tree as the context.
func buildImage(t *testing.T) *image {
	t.Helper()
	tree, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir() // the build stage's /out
	img := &image{root: t.TempDir(), stop: syscall.SIGTERM}
	stage, stages := "", 0
	for _, in := range readDockerfile(t, "container/Dockerfile") {
		words := strings.Fields(in.rest)
		switch in.name {
		case "ARG", "WORKDIR":
		case "FROM":
			stages++
			if stage = ""; len(words) == 3 && words[1] == "AS" {
				stage = words[2]
			}
		case "RUN":
			if stage != "build" {
				t.Fatalf("line %d: what is run in the last stage is not tried here", in.line)
			}
			cmd := exec.Command("sh", "-c", strings.ReplaceAll(in.rest, "/out/", out+"/"))
			cmd.Dir = tree
			if text, code := run(t, cmd); code != 0 {
				t.Fatalf("line %d: %s: exit %d\n%s", in.line, in.rest, code, text)
			}
		case "COPY":
			img.copy(t, in, stage, tree, out)
		case "ENV":
			img.env = append(img.env, in.rest)
		case "STOPSIGNAL":
			if in.rest != "SIGTERM" {
				t.Errorf("line %d: brood stops gracefully on SIGTERM", in.line)
			}
		case "HEALTHCHECK":
			flags, command, _ := strings.Cut(in.rest, " CMD ")
			img.healthFlags = strings.Fields(flags)
			img.health = execForm(t, instruction{in.line, "CMD", command})
		case "ENTRYPOINT":
			img.entry = execForm(t, in)
		case "CMD":
			img.cmd = execForm(t, in)
		default:
			t.Errorf("line %d: %s is not known to this test", in.line, in.name)
		}
	}
	if stages != 2 || img.entry == nil || img.health == nil {
		t.Fatalf("%d stages, entry point %q, health check %q", stages, img.entry, img.health)
	}
	return img
}

func (img *image) copy(t *testing.T, in instruction, stage, tree, out string) {
	t.Helper()
	words := strings.Fields(in.rest)
	from := tree
	if words[0] == "--from=build" {
		from, words = filepath.Dir(out), words[1:]
	}
	to := words[len(words)-1]
	for _, word := range words[:len(words)-1] {
		source := filepath.Join(from, word)
		if from != tree {
			source = filepath.Join(out, strings.TrimPrefix(word, "/out/"))
		}
		if _, err := os.Stat(source); err != nil {
			t.Fatalf("line %d: %v", in.line, err)
		}
		if stage == "build" {
			continue // it is built where it is
		}
		output(t, "install", "-D", source, filepath.Join(img.root, to))
	}
}

// TestImageIsStatic: it needs nothing of BASE.
func TestImageIsStatic(t *testing.T) {
	img := buildImage(t)
	for _, name := range []string{"/usr/bin/brood", "/usr/bin/echo-worker"} {
		f, err := elf.Open(filepath.Join(img.root, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			t.Errorf("%s is linked dynamically", name)
		}
	}
}

// container is an image that runs.
type container struct {
	t     *testing.T
	cmd   *exec.Cmd
	pid   int // of its process 1, as seen from outside
	user  []string
	ended chan struct{}
}

// containerScript makes $1 a root and runs the rest in it. With READONLY only
// /tmp, an emptyDir, and /dev/shm can be written to.
const containerScript = `set -e
mount --make-rprivate /
root=$1
shift
mount --bind "$root" "$root"
cd "$root"
mkdir -p proc dev run tmp
mount -t proc none proc
mount -t tmpfs none dev
mount -t tmpfs -o "mode=$TMPMODE" none tmp
mknod -m 666 dev/null c 1 3
mkdir -m 1777 dev/shm
[ -z "$READONLY" ] || mount -o remount,bind,ro "$root"
exec env -i $IMAGEENV PATH=/usr/bin "$(command -v chroot)" $USERSPEC . "$@"
`

func startContainer(t *testing.T, img *image, args []string, user int) *container {
	t.Helper()
	needRoot(t)
	words := append([]string{"--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child", "sh", "-c", containerScript, "start", img.root}, img.entry...)
	c := &container{t: t, cmd: exec.Command("unshare", append(words, args...)...), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), "IMAGEENV="+strings.Join(img.env, " "), "TMPMODE=1777", "READONLY=", "USERSPEC=")
	if user != 0 {
		id := strconv.Itoa(user)
		c.user = []string{"--setuid", id, "--setgid", id}
		c.cmd.Env = append(c.cmd.Env, "TMPMODE=777", "READONLY=1", "USERSPEC=--userspec="+id+":"+id)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-c.ended:
		default: // --kill-child does not reach who has changed its user, prctl(2)
			if c.pid > 0 {
				syscall.Kill(c.pid, syscall.SIGKILL)
			}
		}
		c.cmd.Process.Kill()
		<-c.ended
		if b, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("container: %s", b)
		}
	})
	await(t, "the container has a process 1", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.cmd.Process.Pid))
		c.pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.pid))
		select {
		case <-c.ended:
			return true
		default:
			return err == nil && strings.HasSuffix(exe, "/usr/bin/brood")
		}
	})
	return c
}

// exec is a command inside, as `docker exec` and probes run it.
func (c *container) exec(img *image, words ...string) (string, int) {
	c.t.Helper()
	args := append([]string{"-t", strconv.Itoa(c.pid), "-a", "-r", "-w"}, c.user...)
	cmd := exec.Command("nsenter", append(args, words...)...)
	cmd.Env = img.env
	return run(c.t, cmd)
}

// awaitCode waits until the command exits with code.
func (c *container) awaitCode(img *image, code int, words ...string) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("%q exits with %d", words, code), func() bool {
		_, got := c.exec(img, words...)
		return got == code
	})
}

// TestImage is a container's life, as an engine would live it.
func TestImage(t *testing.T) {
	img := buildImage(t)
	c := startContainer(t, img, img.cmd, 0)
	c.awaitCode(img, 0, img.health...)
	text, code := c.exec(img, "/usr/bin/brood", "send", "web/2", "echo", "hello")
	if code != 0 || text != "hello\n" {
		t.Errorf("exit %d: %s", code, text)
	}
	// Degraded is healthy, critical is not.
	c.exec(img, "/usr/bin/brood", "stop", "web/1")
	c.awaitCode(img, 0, img.health...)
	c.exec(img, "/usr/bin/brood", "stop", "web/2")
	c.awaitCode(img, 1, img.health...)
	c.exec(img, "/usr/bin/brood", "start", "web")
	c.awaitCode(img, 0, img.health...)

	syscall.Kill(c.pid, img.stop)
	<-c.ended
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("stopped, it exits with %d", code)
	}

	if err := os.WriteFile(filepath.Join(img.root, "etc/brood/brood.yaml"), []byte("nonsense: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c = startContainer(t, img, img.cmd, 0)
	<-c.ended
	if code := c.cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("with a faulty configuration it exits with %d", code)
	}
}
