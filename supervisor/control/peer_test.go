package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"testing"
)

func TestPeerIsThisProcess(t *testing.T) {
	noLeaks(t)
	l := listen(t, ListenConfig{Path: newPath(t)})
	defer dial(t, l.plan.path).Close()
	p := acceptPeer(t, l)
	if p.UID != os.Geteuid() || p.GID != os.Getegid() {
		t.Errorf("uid %d gid %d, want %d and %d", p.UID, p.GID, os.Geteuid(), os.Getegid())
	}
	if runtime.GOOS != "freebsd" && p.PID != os.Getpid() {
		t.Errorf("pid %d, want %d", p.PID, os.Getpid())
	}
}

func acceptPeer(t *testing.T, l *Listener) Peer {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := peerOf(c.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The file mode decides who gets in, and the kernel says who did.
func TestAnotherUser(t *testing.T) {
	noLeaks(t)
	var groups []uint32
	var want []int
	for g := range 300 { // more than there is room for at first
		groups = append(groups, uint32(20000+g))
		want = append(want, 20000+g)
	}
	if runtime.GOOS != "linux" {
		groups, want = groups[:10], want[:10]
	}
	who := nobody(t, groups...)
	path := newPath(t)
	l := listen(t, ListenConfig{Path: path, Mode: 0o600})
	start(t, who, "client", path).expect("refused: true") // the directory, 0700
	l.Close()

	if err := os.Chmod(pathDir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l = listen(t, ListenConfig{Path: path, Mode: 0o600})
	start(t, who, "client", path).expect("refused: true") // the socket
	l.Close()

	l = listen(t, ListenConfig{Path: path, Mode: 0o660, Group: "20299"})
	client := start(t, who, "client", path)
	if runtime.GOOS == "linux" {
		client.expect("connected") // by a supplementary group
		acceptPeer(t, l)
	}
	l.Close()

	l = listen(t, ListenConfig{Path: path, Mode: 0o666})
	client = start(t, who, "client", path)
	client.expect("connected")
	p := acceptPeer(t, l)
	slices.Sort(p.Groups)
	if p.UID != 65534 || p.GID != 65534 || !slices.Equal(p.Groups, want) {
		t.Errorf("got uid %d gid %d groups %v", p.UID, p.GID, p.Groups)
	}
	if runtime.GOOS != "freebsd" && p.PID != client.cmd.Process.Pid {
		t.Errorf("got pid %d, want %d", p.PID, client.cmd.Process.Pid)
	}
	access := DefaultAccess()
	if r := access.rightsOf(p, path); r.String() != "viewer" {
		t.Errorf("%v: %s", r, r.why)
	}
}

func pathDir(path string) string { return path[:len(path)-len("/control.sock")] }

// The directory that Listen makes lets those in whom the socket lets in.
func TestAnotherUserGetsThroughTheDirectoryThatListenMade(t *testing.T) {
	noLeaks(t)
	who := nobody(t)
	for _, cfg := range []ListenConfig{{Mode: 0o666}, {Mode: 0o660, Group: "65534"}} {
		cfg.Path = newPath(t)
		l := listen(t, cfg)
		start(t, who, "client", cfg.Path).expect("connected")
		if p := acceptPeer(t, l); p.UID != 65534 {
			t.Errorf("uid %d", p.UID)
		}
	}
}

// A server that looks at a connection first wraps it; its peer is known all the same.
type wrappedConn struct{ net.Conn }

func (c wrappedConn) NetConn() net.Conn { return c.Conn }

func TestPeerOfAnHTTPRequest(t *testing.T) {
	noLeaks(t)
	for _, wrap := range []func(net.Conn) net.Conn{
		func(c net.Conn) net.Conn { return c },
		func(c net.Conn) net.Conn { return wrappedConn{c} },
	} {
		l := listen(t, ListenConfig{Path: newPath(t)})
		srv := &http.Server{
			ConnContext: func(ctx context.Context, c net.Conn) context.Context { return withPeer(ctx, wrap(c)) },
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				p, err := peerFrom(r.Context())
				fmt.Fprint(w, p.UID, p.PID, err)
			}),
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", l.plan.path) },
		}}
		resp, err := client.Get("http://brood/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if runtime.GOOS != "freebsd" && string(body) != fmt.Sprint(os.Geteuid(), os.Getpid(), nil) {
			t.Errorf("the handler saw %s", body)
		}
		srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// Who is calling must be known to have a role; an unknown caller is not root because
// its uid reads 0.
func TestUnknownPeerIsNobody(t *testing.T) {
	noLeaks(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	l := listen(t, ListenConfig{Path: newPath(t)})
	closed := dial(t, l.plan.path)
	closed.Close()
	for name, ctx := range map[string]context.Context{
		"nobody asked":      context.Background(),
		"no Unix socket":    withPeer(context.Background(), a),
		"closed connection": withPeer(context.Background(), closed),
	} {
		p, err := peerFrom(ctx)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		access := Access{Owner: 0, Door: Door{Others: RoleAdmin}}
		if r := access.rightsOf(p, ""); r.top() != RoleNone {
			t.Errorf("%s: %v, %s", name, r, r.why)
		}
	}
}
