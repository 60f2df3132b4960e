package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/listen"
)

// Addresses: of sockets to listen on, and of what is asked whether a worker is
// ready.

// address is a text that parse finds nothing wrong with.
func address(want string, parse func(string) (problem string)) kind[string] {
	read := func(n node) (string, bool) {
		text, ok := n.text(want)
		if !ok {
			return "", false
		}
		problem := parse(text)
		if problem != "" {
			n.bad("%s", problem)
		}
		return text, problem == ""
	}
	return kind[string]{read: read, schema: object{"type": "string", "minLength": 1}}
}

var (
	listenAddress = address(`an address such as "tcp://127.0.0.1:8080"`, listenProblem)
	probeURL      = address(`a URL such as "http://127.0.0.1:8080/healthz"`, urlProblem)
	probeAddress  = address(`an address such as "127.0.0.1:8080"`, addressProblem)
)

func listenProblem(text string) string {
	if _, err := listen.Parse(text); err != nil {
		return fmt.Sprintf("%q: %v", shorten(text), cmp.Or(errors.Unwrap(err), err)) // it has the text in full
	}
	return ""
}

// checkListen: two sockets can't have one address.
func (src *source) checkListen(pools []pool) {
	type socket struct {
		path string
		at   place
		spec listen.Spec
	}
	var all []socket
	for _, p := range pools {
		for name, text := range p.Listen {
			path := "pools." + p.Name + ".listen." + name
			spec, err := listen.Parse(text)
			if err == nil && (spec.Network == "unix" || spec.Addr.Port() != 0) {
				// What else a Spec says is not part of the address.
				all = append(all, socket{path, src.placeOf(path), listen.Spec{Network: spec.Network, Addr: spec.Addr, Path: spec.Path}})
			}
		}
	}
	slices.SortFunc(all, func(a, b socket) int { return a.at.compare(b.at) })
	first := map[listen.Spec]string{}
	for _, s := range all {
		if path, taken := first[s.spec]; taken {
			src.report(s.at, s.path, "this is the address of %s already; choose another", path)
		} else {
			first[s.spec] = s.path
		}
	}
}

// socketProblem is about a path that a socket is to have.
func socketProblem(path string) string {
	const most = len(unix.RawSockaddrUnix{}.Path) - 1
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Sprintf("the socket's path must begin with /, got %q", shorten(path))
	case strings.HasSuffix(path, "/"):
		return "names a directory; add the name of a file such as app.sock"
	case len(path) > most:
		return fmt.Sprintf("the path is %d bytes long, a socket's may have %d; choose a shorter one", len(path), most)
	case strings.ContainsRune(path, 0):
		return "has a NUL character in it, which no path can have"
	}
	return ""
}

// hostPort is about host:port.
func hostPort(text string) string {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Sprintf("must have host and port such as 127.0.0.1:8080 or [::1]:8080, got %q", shorten(text))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("the port must be a number from 1 to 65535, got %q", shorten(port))
	}
	_, err = netip.ParseAddr(host)
	switch {
	case host == "":
		return "names no host; write 127.0.0.1:" + port
	case err != nil && !hostName.MatchString(host):
		return fmt.Sprintf("%q is no host: write an IP address, or a name of letters, digits, '-' and '.'", shorten(host))
	}
	return ""
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

// addressProblem is about host:port or unix:/path.
func addressProblem(text string) string {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		return socketProblem(path)
	}
	return hostPort(text)
}

// urlProblem is about http://host:port/path or unix:/socket:/path.
func urlProblem(text string) string {
	if rest, ok := strings.CutPrefix(text, "unix:"); ok {
		path, page, two := strings.Cut(rest, ":")
		if !two || !strings.HasPrefix(page, "/") {
			return fmt.Sprintf(`must be the socket's path and the page's with ":" between such as unix:/run/app.sock:/healthz, got %q`, shorten(text))
		}
		return socketProblem(path)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" || u.Host == "":
		return fmt.Sprintf(`must be a URL that begins with http://, or unix:/run/app.sock:/healthz, got %q`, shorten(text))
	case u.User != nil || u.Fragment != "":
		return "must have neither a user nor a fragment (#)"
	case u.Port() == "":
		return hostPort(net.JoinHostPort(u.Hostname(), "80"))
	}
	return hostPort(u.Host)
}
