package control

import (
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// Role is how much a caller may do. Each includes the ones before it, so roles
// compare with < and >. The zero Role is RoleNone.
type Role int

// The roles, in order.
const (
	RoleNone     Role = iota // nothing
	RoleViewer               // look
	RoleOperator             // and send commands, start, stop, restart, scale, read logs
	RoleAdmin                // and reload, upgrade, shut down
)

var roleNames = [...]string{RoleNone: "none", RoleViewer: "viewer", RoleOperator: "operator", RoleAdmin: "admin"}

// String is the role's name in the configuration and the API.
func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return fmt.Sprintf("role(%d)", int(r))
	}
	return roleNames[r]
}

// ParseRole is the opposite of [Role.String].
func ParseRole(s string) (Role, error) {
	for r, name := range roleNames {
		if s == name {
			return Role(r), nil
		}
	}
	return RoleNone, fmt.Errorf("there is no role %q; use one of %s", s, strings.Join(roleNames[:], ", "))
}

// A verb is something a caller wants done. Every request is exactly one.
type verb string

const (
	verbStatus  verb = "status"
	verbHealth  verb = "health"
	verbEvents  verb = "events"
	verbMetrics verb = "metrics"
	verbWhoami  verb = "whoami"
	verbVersion verb = "version"

	verbCommand verb = "command"
	verbLogs    verb = "logs"
	verbRestart verb = "restart"
	verbStart   verb = "start"
	verbStop    verb = "stop"
	verbScale   verb = "scale"
	verbPing    verb = "ping" // no mere look: it has the worker do something

	verbReload   verb = "reload"
	verbUpgrade  verb = "upgrade"
	verbShutdown verb = "shutdown"
)

// minRole is the least role that may do a verb. Ask [Role.may]; a verb that is not
// in here reads as RoleNone, which everybody has.
var minRole = map[verb]Role{
	verbStatus:  RoleViewer,
	verbHealth:  RoleViewer,
	verbEvents:  RoleViewer,
	verbMetrics: RoleViewer,
	verbWhoami:  RoleViewer,
	verbVersion: RoleViewer,

	verbCommand: RoleOperator,
	verbLogs:    RoleOperator,
	verbRestart: RoleOperator,
	verbStart:   RoleOperator,
	verbStop:    RoleOperator,
	verbScale:   RoleOperator,
	verbPing:    RoleOperator,

	verbReload:   RoleAdmin,
	verbUpgrade:  RoleAdmin,
	verbShutdown: RoleAdmin,
}

// may reports whether the role suffices for v. Nobody may do a verb that is not
// in minRole.
func (r Role) may(v verb) bool {
	need, ok := minRole[v]
	return ok && r >= need
}

// Access gives callers of one listener their roles. The zero Access makes root
// admin and lets nobody else do anything; [DefaultAccess] is the usual one.
type Access struct {
	// Owner is the supervisor's effective uid; who has it is admin. A uid that the
	// supervisor's user namespace does not know shows as 65534, so a supervisor
	// that runs as 65534 takes those for itself.
	Owner int
	// Others is the role of whoever else the mode of the socket's file lets in.
	Others Role
}

// DefaultAccess is the rule where none is given: whoever is neither root nor of
// this process's user is a viewer.
func DefaultAccess() Access { return Access{Owner: os.Geteuid(), Others: RoleViewer} }

// roleOf decides what p may do, and says why in a few words for people.
func (a Access) roleOf(p Peer) (role Role, reason string) {
	switch {
	case !p.known:
		return RoleNone, "the kernel does not say who is calling"
	case p.UID == 0:
		return RoleAdmin, "uid 0 is root"
	case p.UID == a.Owner:
		return RoleAdmin, fmt.Sprintf("uid %d is the supervisor's own", p.UID)
	}
	return a.Others, fmt.Sprintf("no rule names uid %d; this listener gives %s", p.UID, a.Others)
}

// outcomeDenied is the outcome of a request that the caller's role does not cover.
const outcomeDenied = "denied"

// maxAuditValue is how many bytes of a client's text an audit line takes over.
const maxAuditValue = 256

// audit writes the one line that a change through the socket leaves: at Info, or
// at Warn when it was denied. The target and the outcome may come from a client;
// quoted, they can neither end the line nor pass for another key.
func audit(log hclog.Logger, p Peer, role Role, v verb, target, outcome string) {
	level := hclog.Info
	if outcome == outcomeDenied {
		level = hclog.Warn
	}
	log.Log(level, "audit", "uid", p.UID, "gid", p.GID, "pid", p.PID, "role", role.String(),
		"verb", string(v), "target", clientText(target), "outcome", clientText(outcome))
}

// clientText makes text from a client fit for a log line.
func clientText(s string) hclog.Quote {
	if len(s) > maxAuditValue {
		s = s[:maxAuditValue] + "…"
	}
	return hclog.Quote(s)
}
