package listen

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Spec says where to listen. Specs may be compared with ==.
type Spec struct {
	Network string // "tcp", "udp" or "unix"

	// Addr is for tcp and udp. Without an address (Addr().IsValid() is false) it
	// means all of the machine's, IPv6 and IPv4; [::] means all of IPv6 alone. Port
	// 0: the kernel chooses one.
	Addr netip.AddrPort

	Path  string      // for unix: absolute
	Mode  fs.FileMode // of the node; Parse's default is 0660
	User  string      // who owns it, name or number. Empty: the supervisor's user
	Group string      // name or number. Empty: as the directory gives it
}

// MaxPath is how long the path of a socket may be: sockaddr_un (unix(7)) has to
// hold it and a NUL.
const MaxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// MaxControlPath is the same for a control socket, which is made under a temporary
// name that is ControlTemp longer (package control).
const (
	ControlTemp    = len("." + "." + "ABCD")
	MaxControlPath = MaxPath - ControlTemp
)

// defaultMode lets in the owner and the group, which is nobody but the
// supervisor's own unless they are named.
const defaultMode = 0o660

// Parse reads where to listen:
//
//	tcp://127.0.0.1:8080   tcp://[::1]:8080   tcp://:8080   udp://:5353
//	unix:///run/app.sock?mode=0660&group=www-data&user=app
//
// Host names are not resolved: what they mean may change behind the
// supervisor's back. A '?' or '%' in a path is written %3F or %25.
func Parse(text string) (Spec, error) {
	s, err := parse(text)
	if err != nil {
		return Spec{}, fmt.Errorf("%q: %w", text, err)
	}
	return s, nil
}

func parse(text string) (Spec, error) {
	network, rest, ok := strings.Cut(text, "://")
	if !ok {
		return Spec{}, errors.New("write tcp://127.0.0.1:8080, tcp://:8080 or unix:///run/app.sock")
	}
	where, query, _ := strings.Cut(rest, "?")
	options, err := parseOptions(query)
	if err != nil {
		return Spec{}, err
	}
	switch network {
	case "tcp", "udp":
		for name := range options {
			return Spec{}, fmt.Errorf("%s takes no option, so no %q", network, name)
		}
		addr, err := parseAddr(network, where)
		return Spec{Network: network, Addr: addr}, err
	case "unix":
		s := Spec{Network: network, Mode: defaultMode, User: options["user"], Group: options["group"]}
		if s.Path, err = parsePath(where); err != nil {
			return Spec{}, err
		}
		if mode, ok := options["mode"]; ok {
			s.Mode, err = parseMode(mode)
		}
		return s, err
	}
	return Spec{}, fmt.Errorf("there is no network %q; use tcp, udp or unix", network)
}

// parseOptions takes each once, and only those there are.
func parseOptions(query string) (map[string]string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("the options can't be read: %w", err)
	}
	options := map[string]string{}
	for name, v := range values {
		switch {
		case !slices.Contains([]string{"mode", "user", "group"}, name):
			return nil, fmt.Errorf("there is no option %q; a unix socket takes mode, user and group", name)
		case len(v) > 1:
			return nil, fmt.Errorf("option %q is there %d times", name, len(v))
		case v[0] == "":
			return nil, fmt.Errorf("option %q says nothing; write %s=... or leave it away", name, name)
		}
		options[name] = v[0]
	}
	return options, nil
}

func parseAddr(network, where string) (netip.AddrPort, error) {
	none := netip.AddrPort{}
	host, digits, err := net.SplitHostPort(where)
	if err != nil {
		return none, fmt.Errorf("write %s://ADDRESS:PORT, an IPv6 address in brackets, or %s://:PORT for all addresses: %w", network, network, err)
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return none, fmt.Errorf("port %q is no number from 0 to 65535", digits)
	}
	if host == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return none, fmt.Errorf("%q is no address; write one such as 127.0.0.1 or [::1], or nothing for all: names are not resolved", host)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}

func parsePath(where string) (string, error) {
	path, err := url.PathUnescape(where)
	if err != nil {
		return "", fmt.Errorf("the path can't be read; a %% in it is written %%25: %w", err)
	}
	switch {
	case !filepath.IsAbs(path):
		return "", fmt.Errorf("the path must begin with a slash, so there are three: unix:///%s", path)
	case strings.HasSuffix(path, "/"), filepath.Clean(path) == "/":
		return "", errors.New("the path must name the socket, not a directory")
	case strings.ContainsRune(path, 0):
		return "", errors.New("the path has a NUL in it")
	}
	if path = filepath.Clean(path); len(path) > MaxPath {
		return "", fmt.Errorf("the path has %d bytes and the system takes %d (unix(7)); choose a shorter one", len(path), MaxPath)
	}
	return path, nil
}

func parseMode(text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf("mode %q is no octal number up to 0777", text)
	}
	return fs.FileMode(mode), nil
}

// String is s as Parse reads it.
func (s Spec) String() string {
	if s.Network == "unix" {
		text := fmt.Sprintf("unix://%s?mode=%#o", escape.Replace(s.Path), uint32(s.Mode.Perm()))
		if s.User != "" {
			text += "&user=" + url.QueryEscape(s.User)
		}
		if s.Group != "" {
			text += "&group=" + url.QueryEscape(s.Group)
		}
		return text
	}
	if !s.Addr.Addr().IsValid() {
		return fmt.Sprintf("%s://:%d", s.Network, s.Addr.Port())
	}
	return s.Network + "://" + s.Addr.String()
}

// MarshalJSON writes String as bytes: a path need not be UTF-8, and what a
// [netip.AddrPort] writes of itself lacks the port where there is no address.
func (s Spec) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(s.String())) }

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Spec) UnmarshalJSON(b []byte) error {
	var text []byte
	err := json.Unmarshal(b, &text)
	if err == nil {
		*s, err = Parse(string(text))
	}
	return err
}

var escape = strings.NewReplacer("%", "%25", "?", "%3F")

// Equal reports whether a socket opened for s is just as o wants it.
func (s Spec) Equal(o Spec) bool { return s == o }

// Overlaps reports whether s and o have a port in common on some address of the
// machine.
func (s Spec) Overlaps(o Spec) bool {
	a, b := s.Addr.Addr(), o.Addr.Addr()
	switch {
	case s.Network == "unix" || s.Network != o.Network || s.Addr.Port() != o.Addr.Port():
		return false
	case !a.IsValid() || !b.IsValid() || a == b:
		return true
	}
	return a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// SameAddress reports whether both are one place, which only one socket can have.
// Where they are not Equal, (*Socket).Change makes one of the other.
func (s Spec) SameAddress(o Spec) bool {
	return s.Network == o.Network && s.Addr == o.Addr && s.Path == o.Path
}
