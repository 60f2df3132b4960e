package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHost: another machine's socket through ssh, every command as here. The
// made-up ssh runs its last word on this machine.
func TestHost(t *testing.T) {
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	ssh := filepath.Join(t.TempDir(), "ssh")
	script := "#!/bin/sh\necho 'Welcome to the machine'\nfor last; do :; done\nexec sh -c \"$last\"\n"
	if err := os.WriteFile(ssh, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BROOD_SSH", ssh)
	hostIs(t, "ssh://box"+s.socket, "ssh://box/no/such/socket")
	r := shell(t, s.socket, "BROOD_WORKER=web/1 BROOD_HOST=ssh://box/no/such/socket brood status web/1")
	if r.code != exitDone {
		t.Errorf("a worker's socket is its supervisor's: %v", r)
	}
	r = shell(t, "", "brood --host ssh://box --socket /x status")
	if r.code != exitUsage || !strings.Contains(r.stderr, "two places") {
		t.Error(r)
	}
	r = shell(t, "", "brood --host box status")
	if r.code != exitUsage || !strings.Contains(r.stderr, "ssh://user@box") {
		t.Error(r)
	}
}

// hostIs holds what a client does at host against what it does here.
func hostIs(t *testing.T, host, nobody string) {
	t.Helper()
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"brood --host " + host + " status", exitDone, "web/1#1"},
		{"BROOD_HOST=" + host + " brood send web/2 echo over there", exitDone, "over there\n"},
		{"brood --host " + host + " send web/1 fail no paper", exitError, "no paper"},
		{"brood --host " + host + " health", healthOK, "BROOD OK"},
		{"brood --host " + host + " logs -n 1", exitDone, ""},
		{"brood --host " + nobody + " status", exitNoSupervisor, "brood run"},
	} {
		start := time.Now()
		if r := shell(t, "", tt.line); r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.want) {
			t.Errorf("%s: want exit %d and %q, got %v", tt.line, tt.code, tt.want, r)
		}
		if passed := time.Since(start); passed > 20*time.Second {
			t.Errorf("%s: it took %v", tt.line, passed)
		}
	}
}

// TestSSH: the same through a real sshd on the loopback.
func TestSSH(t *testing.T) {
	need(t, "ssh", "ssh-keygen", "/usr/sbin/sshd")
	needRoot(t)
	s := serve(t, "-n", "2", "--name", "web", "--log-level", "error", "--", "echo-worker")
	port, config := sshd(t)
	t.Setenv("BROOD_SSH", "ssh -F "+config)
	brood := "?brood=" + filepath.Join(binDir, "brood")
	host := fmt.Sprintf("'ssh://root@127.0.0.1:%d", port)
	hostIs(t, host+s.socket+brood+"'", host+"/no/such/socket"+brood+"'")

	r := shell(t, "", "brood --host "+host+"?brood=/no/such/program' status")
	if r.code != exitError || !strings.Contains(r.stderr, "install it there") {
		t.Errorf("no brood there: %v", r)
	}
	r = shell(t, "", fmt.Sprintf("brood --host ssh://nobody@127.0.0.1:%d status", port))
	if r.code != exitError || !strings.Contains(r.stderr, "ssh does not get to") {
		t.Errorf("no key for that user: %v", r)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r = shell(t, "", fmt.Sprintf("brood --host ssh://root@%s status --timeout 1s", silent.Addr()))
	if r.code != exitTimeout && r.code != exitError {
		t.Errorf("a machine that does not answer: %v", r)
	}
}

// sshd runs one that lets root in with a key made for it, and returns its port
// and a configuration for ssh.
func sshd(t *testing.T) (port int, config string) {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", in(key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	pub, err := os.ReadFile(in("user.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"authorized": string(pub),
		"sshd_config": fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nPidFile none\n"+
			"PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n", port, in("host"), in("authorized")),
		"ssh_config": fmt.Sprintf("IdentityFile %s\nIdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile %s\nLogLevel ERROR\n", in("user"), in("known")),
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd separates its privileges
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", in("sshd_config"))
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	until(t, "sshd listens", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return port, in("ssh_config")
}
