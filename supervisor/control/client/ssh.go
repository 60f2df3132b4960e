package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/brood/ipc"
)

// Another machine's socket, through ssh(1). On the far side `brood stdio` joins
// its standard input and output to the socket there, so who calls is whoever
// ssh logs in as, and nothing listens on a network that did not before.

// TunnelHello is the line that `brood stdio` begins with. What comes before it,
// such as a greeting from a login script, is passed over.
const TunnelHello = "BROOD-STDIO/1"

// maxGreeting bounds what is passed over, in bytes.
const maxGreeting = 64 << 10

// host is ssh://[user@]name[:port][/path/of/socket][?brood=/path/of/brood].
type host struct {
	text    string
	address string // user@name
	port    string // empty: what ssh's configuration says
	socket  string // empty: the far side's default
	program string
}

// NewHost makes a client of another machine's socket:
//
//	ssh://deploy@box.example.com:2222/srv/app/control.sock?brood=/opt/brood
//
// All but the machine's name may be left out. $BROOD_SSH is the command instead
// of ssh, split at spaces. It does not connect yet.
func NewHost(text string) (*Client, error) {
	h, err := parseHost(text)
	if err != nil {
		return nil, err
	}
	return NewDialer(h.text, h.dial), nil
}

func parseHost(text string) (host, error) {
	bad := func(format string, args ...any) (host, error) {
		return host{}, fmt.Errorf("host %q: %s; write ssh://user@box, with :PORT and /PATH/OF/SOCKET if need be", text, fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return bad("%v", err)
	case u.Scheme != "ssh":
		return bad("it does not begin with ssh://")
	case u.Hostname() == "":
		return bad("it names no machine")
	case strings.HasPrefix(u.Hostname(), "-") || strings.HasPrefix(u.User.Username(), "-"):
		return bad("a name can't begin with -") // ssh would take it for an option
	case u.Fragment != "":
		return bad("# has no meaning here")
	}
	if _, has := u.User.Password(); has {
		return bad("a password has no place here; use a key and ssh-agent(1)")
	}
	h := host{text: text, address: u.Hostname(), port: u.Port(), socket: strings.TrimSuffix(u.Path, "/"), program: "brood"}
	if name := u.User.Username(); name != "" {
		h.address = name + "@" + h.address
	}
	for key, values := range u.Query() {
		if key != "brood" || len(values) != 1 || values[0] == "" {
			return bad("?%s= has no meaning here", key)
		}
		h.program = values[0]
	}
	return h, nil
}

// defaultConnect is how long ssh may take to connect where ctx has no deadline.
const defaultConnect = 10 * time.Second

// command is ssh such that it can't wait for a person or a dead machine.
func (h host) command(ctx context.Context) *exec.Cmd {
	words := strings.Fields(os.Getenv("BROOD_SSH"))
	if len(words) == 0 {
		words = []string{"ssh"}
	}
	wait := defaultConnect
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(time.Until(deadline), time.Second)
	}
	args := append(words[1:len(words):len(words)], "-T",
		"-o", "BatchMode=yes", "-o", "ConnectTimeout="+strconv.Itoa(int((wait+time.Second-1)/time.Second)),
		"-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3")
	if h.port != "" {
		args = append(args, "-p", h.port)
	}
	remote := quoteShell(h.program) + " stdio"
	if h.socket != "" {
		remote += " --socket " + quoteShell(h.socket)
	}
	return exec.Command(words[0], append(args, "--", h.address, remote)...)
}

// quoteShell makes one word of s for the shell on the far side.
func quoteShell(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// dial starts ssh and waits for the far side's hello.
func (h host) dial(ctx context.Context) (net.Conn, error) {
	cmd := h.command(ctx)
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		in.Close()
		return nil, err
	}
	t := &tunnel{host: h, cmd: cmd, in: in, out: out}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirIn, theirOut, &t.said
	cmd.WaitDelay = time.Second // a grandchild may hold stderr
	err = cmd.Start()
	theirIn.Close() // else there is no EOF when ssh ends
	theirOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, &tunnelError{text: fmt.Sprintf("%s: ssh can't be started: %v; install OpenSSH's client", h.text, err)}
	}
	stop := context.AfterFunc(ctx, func() { t.in.SetDeadline(past); t.out.SetDeadline(past) })
	err = t.awaitHello()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, t.failed(ctx, err)
	}
	return t, nil
}

// past is a deadline that wakes whoever reads or writes.
var past = time.Unix(1, 0)

// tunnel is a running ssh as a net.Conn.
type tunnel struct {
	host    host
	cmd     *exec.Cmd
	in, out *os.File // ours to close
	said    tail     // ssh's standard error
	once    sync.Once
}

var _ net.Conn = &tunnel{}

// awaitHello reads byte by byte, as what follows belongs to the caller.
func (t *tunnel) awaitHello() error {
	var line []byte
	var b [1]byte
	for range maxGreeting {
		if _, err := io.ReadFull(t.out, b[:]); err != nil {
			return err
		}
		if b[0] != '\n' {
			line = append(line, b[0])
			continue
		}
		if string(bytes.TrimSuffix(line, []byte("\r"))) == TunnelHello {
			return nil
		}
		line = line[:0]
	}
	return errors.New("what answers there is no brood")
}

// failed ends ssh and says why there is no tunnel.
func (t *tunnel) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		t.Close()
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return &tunnelError{ipc.ErrTimeout, fmt.Sprintf("%s did not answer in time%s", t.host.text, t.said.after(": "))}
	}
	t.in.Close()
	t.out.Close()
	if !errors.Is(err, io.EOF) {
		t.cmd.Process.Kill()
		_ = t.cmd.Wait() // it was killed
		return &tunnelError{text: fmt.Sprintf("%s: %v%s", t.host.text, err, t.said.after("; it said: "))}
	}
	_ = t.cmd.Wait() // the code says it
	text := strings.TrimPrefix(t.said.last(), "brood: ")
	switch code := t.cmd.ProcessState.ExitCode(); code {
	case 4: // those of `brood stdio`
		return &tunnelError{ErrNoSupervisor, fmt.Sprintf("on %s: %s", t.host.text, text)}
	case 5:
		return &tunnelError{ErrDenied, fmt.Sprintf("on %s: %s", t.host.text, text)}
	case 126, 127:
		return &tunnelError{text: fmt.Sprintf("on %s there is no %s to run (%s); install it there, or write %s?brood=/PATH/OF/brood",
			t.host.text, t.host.program, text, t.host.text)}
	case 255:
		return &tunnelError{text: fmt.Sprintf("ssh does not get to %s: %s; try `ssh %s true`, which must ask for nothing", t.host.text, text, t.host.address)}
	default:
		return &tunnelError{text: fmt.Sprintf("%s: the tunnel ended with code %d%s", t.host.text, code, t.said.after(": "))}
	}
}

// tunnelError says why there is no tunnel. It is kind, which may be nil.
type tunnelError struct {
	kind error
	text string
}

func (e *tunnelError) Error() string {
	if e.kind != nil {
		return e.kind.Error() + ": " + e.text
	}
	return e.text
}

func (e *tunnelError) Unwrap() error { return e.kind }

func (t *tunnel) Read(p []byte) (int, error)         { return t.out.Read(p) }
func (t *tunnel) Write(p []byte) (int, error)        { return t.in.Write(p) }
func (t *tunnel) LocalAddr() net.Addr                { return tunnelAddr("here") }
func (t *tunnel) RemoteAddr() net.Addr               { return tunnelAddr(t.host.text) }
func (t *tunnel) SetReadDeadline(at time.Time) error { return t.out.SetReadDeadline(at) }

func (t *tunnel) SetWriteDeadline(at time.Time) error { return t.in.SetWriteDeadline(at) }

func (t *tunnel) SetDeadline(at time.Time) error {
	return errors.Join(t.in.SetWriteDeadline(at), t.out.SetReadDeadline(at))
}

// Close ends ssh and waits for it.
func (t *tunnel) Close() error {
	t.once.Do(func() {
		t.in.Close()
		t.out.Close()
		t.cmd.Process.Kill()
		_ = t.cmd.Wait() // it was killed
	})
	return nil
}

type tunnelAddr string

func (a tunnelAddr) Network() string { return "ssh" }
func (a tunnelAddr) String() string  { return string(a) }

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if extra := len(t.text) - maxTail; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

// last is the last line that says something.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	text := strings.TrimSpace(lines[len(lines)-1])
	if text == "" {
		return "it said nothing"
	}
	return text
}

// after is the last line behind lead, or nothing.
func (t *tail) after(lead string) string {
	if text := t.last(); text != "it said nothing" {
		return lead + text
	}
	return ""
}
