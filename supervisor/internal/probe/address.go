package probe

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TCP is ready when a connection can be made. It is closed at once, and nothing
// is sent.
type TCP struct {
	Address string // "127.0.0.1:8080", "[::1]:8080" or "unix:/run/app.sock"
}

// ParseTCP checks an address.
func ParseTCP(address string) (TCP, error) {
	_, err := parseAddress(address)
	return TCP{address}, err
}

// Ready is one attempt.
func (t TCP) Ready(ctx context.Context) error {
	to, err := parseAddress(t.Address)
	if err != nil {
		return err
	}
	conn, err := to.dial(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}

// endpoint is where a check connects to, in the words of package net.
type endpoint struct{ network, address string }

func (e endpoint) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, e.network, e.address)
}

func parseAddress(text string) (endpoint, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return endpoint{"unix", path}, checkSocketPath(path)
	}
	return endpoint{"tcp", text}, checkHostPort(text)
}

func checkHostPort(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return fmt.Errorf("%q names no host and port; write them as 127.0.0.1:8080 or [::1]:8080, or a socket as unix:/run/app.sock", words([]byte(text)))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("a port is a number from 1 to 65535, got %q", words([]byte(port)))
	}
	return nil
}

// checkSocketPath holds a path against unix(7).
func checkSocketPath(path string) error {
	const most = len(unix.RawSockaddrUnix{}.Path) - 1
	switch {
	case !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/"):
		return fmt.Errorf("a socket's path is that of a file and begins with /, got %q", words([]byte(path)))
	case len(path) > most:
		return fmt.Errorf("the socket's path is %d bytes long, of which %d are possible; choose a shorter one", len(path), most)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("the socket's path %q has a NUL in it", words([]byte(path)))
	}
	return nil
}

// parseURL takes "http://host:port/page" or "unix:/socket:/page". The URL it
// returns is the one to ask for, whatever the way there.
func parseURL(text string) (endpoint, *url.URL, error) {
	if rest, ok := strings.CutPrefix(text, "unix:"); ok {
		path, page, found := strings.Cut(rest, ":")
		if !found || !strings.HasPrefix(page, "/") {
			return endpoint{}, nil, fmt.Errorf("%q names no socket and page; write them as unix:/run/app.sock:/healthz", words([]byte(text)))
		}
		u, err := url.Parse("http://localhost" + page)
		if err != nil {
			return endpoint{}, nil, fmt.Errorf("the page %q can't be asked for: %w", words([]byte(page)), err)
		}
		return endpoint{"unix", path}, u, checkSocketPath(path)
	}
	u, err := url.Parse(text)
	switch {
	case err == nil && u.Scheme == "https":
		return endpoint{}, nil, fmt.Errorf("a check speaks no TLS; use a page on http://, or ask for a connection alone with tcp: %q", u.Host)
	case err != nil || u.Scheme != "http":
		return endpoint{}, nil, fmt.Errorf("%q is no address of a page; write it as http://127.0.0.1:8080/healthz or unix:/run/app.sock:/healthz", words([]byte(text)))
	case u.User != nil:
		return endpoint{}, nil, fmt.Errorf("a check gives no user and password; ask for a page that needs none")
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "80")
	}
	return endpoint{"tcp", address}, u, checkHostPort(address)
}
