package control

import (
	"fmt"
	"strings"
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

// changes reports whether v leaves an audit line: it changes something, or may.
func (v verb) changes() bool {
	return minRole[v] >= RoleOperator && v != verbPing && v != verbLogs
}
