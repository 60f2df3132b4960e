package config

import (
	"slices"

	"example.com/brood/supervisor/internal/listen"
	"example.com/brood/supervisor/internal/probe"
)

// Addresses: of sockets to listen on, and of what is asked whether a worker is
// ready.

// address is a text that parse finds nothing wrong with. want is an example.
func address(want string, parse func(text string) error) kind[string] {
	read := func(n node) (string, bool) {
		text, ok := n.text("an address such as " + want)
		if !ok {
			return "", false
		}
		err := parse(text)
		if err != nil {
			n.bad("%s", printable(err.Error()))
		}
		return text, err == nil
	}
	return kind[string]{read: read, schema: func() object { return object{"type": "string", "minLength": 1} }}
}

// Whoever uses an address parses it.
var (
	listenAddress = address("tcp://127.0.0.1:8080", func(text string) error { _, err := listen.Parse(text); return err })
	probeURL      = address("http://127.0.0.1:8080/healthz", func(text string) error { _, err := probe.ParseHTTP(text); return err })
	probeAddress  = address("127.0.0.1:8080", func(text string) error { _, err := probe.ParseTCP(text); return err })
)

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
