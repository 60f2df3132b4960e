package config

import (
	"fmt"
	"strings"

	"example.com/brood/ipc"
)

// Rules about several keys of one mapping, and about the names in it.

// checkRollout: something must be allowed to happen.
func checkRollout(n node, r *rollout) bool {
	surge, unavailable := max(r.Surge, 0), max(r.Unavailable, 0)
	if r.Surge < 0 && unavailable == 0 && !n.at("unavailable").isBlamed() {
		n.at("surge").complain("is 0 and so is unavailable: no worker could ever be replaced; " +
			"write surge: 1 for the new one beside the old, or unavailable: 1 for the new one in its place")
		return false
	}
	r.Surge, r.Unavailable = surge, unavailable
	return true
}

// checkMapped: a command is one thing or the other.
func checkMapped(n node, c *command) bool {
	hasSignal, hasExec := c.Signal != 0 || n.at("signal").isBlamed(), len(c.Exec) > 0 || n.at("exec").isBlamed()
	switch {
	case hasSignal && hasExec:
		n.bad("has both signal and exec; keep one")
	case !hasSignal && !hasExec:
		n.bad("needs what carries it out: write {signal: USR1} or {exec: [\"./program\"]}")
	}
	return (c.Signal != 0) != (len(c.Exec) > 0) // neither: what is there is wrong, which was said
}

const commandNamePattern = `^[!-~]{1,255}$`

func commandName(name string) string {
	if !ipc.ValidName(name) {
		return fmt.Sprintf("%q is no name of a command: 1 to 255 printable ASCII characters without spaces", shorten(name))
	}
	return ""
}

const listenNamePattern = `^[!-9;-~]{1,255}$`

// listenName: sd_listen_fds_with_names(3) has the names in one variable, with
// colons between.
func listenName(name string) string {
	if !ipc.ValidName(name) || strings.Contains(name, ":") {
		return fmt.Sprintf("%q is no name of a socket: 1 to 255 printable ASCII characters without spaces and colons", shorten(name))
	}
	return ""
}

// subkey is a key of a mapping, there or not.
type subkey struct {
	src       *source
	key, path string
}

func (n node) at(key string) subkey { return subkey{n.src, key, n.path + "." + key} }

func (k subkey) complain(problem string) { k.src.report(k.src.placeOf(k.path), k.path, "%s", problem) }

// isBlamed: it is there and wrong.
func (k subkey) isBlamed() bool { return k.src.blamed[k.path] }
