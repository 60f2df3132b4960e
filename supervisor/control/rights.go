package control

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"example.com/brood/supervisor/control/api"
)

// Access says who may do what. The zero Access makes root admin and lets nobody
// else do anything; [DefaultAccess] is the usual one.
//
// Root, and who has the Owner's uid, is admin. Whom rules name has what all of
// these give together. Everybody else has what the listener gives, through which
// they came. And nobody has more than the listener's highest role.
type Access struct {
	// Owner is the supervisor's effective uid. A uid that the supervisor's user
	// namespace does not know shows as 65534, so a supervisor that runs as 65534
	// takes those for itself.
	Owner int
	Rules []Rule
	// Doors are the listeners, by their paths.
	Doors map[string]Door
	// Door is what a listener allows that Doors has nothing about.
	Door Door
}

// Door is what one listener allows.
type Door struct {
	// Others is the role of those whom no rule names, and whom the mode of the
	// socket's file lets in.
	Others Role
	// Max is the highest role that anybody has who comes through it, root
	// included. RoleNone: there is no such limit.
	Max Role
}

// Rule gives a role to callers that it names.
type Rule struct {
	Role Role
	// UIDs and GIDs name callers: by their user, or by a group, the effective one
	// or a supplementary one.
	UIDs, GIDs []int
	// Pools: the role is for these alone. Empty: for everything.
	Pools []string
	// Commands: of what changes something, the rule covers sending these commands
	// and nothing else. Empty: whatever the role does.
	Commands []string
}

// DefaultAccess is the rule where none is given: whoever is neither root nor of
// this process's user is a viewer.
func DefaultAccess() Access { return Access{Owner: os.Geteuid(), Door: Door{Others: RoleViewer}} }

func (r Rule) names(p Peer) bool {
	return slices.Contains(r.UIDs, p.UID) || slices.Contains(r.GIDs, p.GID) ||
		slices.ContainsFunc(p.Groups, func(g int) bool { return slices.Contains(r.GIDs, g) })
}

// rights is what one caller may do.
type rights struct {
	whole Role   // everywhere
	parts []part // in some pools, or by some commands, only
	why   string // in a few words for people
}

// part is a role that does not go everywhere.
type part struct {
	role            Role
	pools, commands []string // empty: all
}

// rightsOf decides what p may do who came through door.
func (a *Access) rightsOf(p Peer, door string) rights {
	d, ok := a.Doors[door]
	if !ok {
		d = a.Door
	}
	r := a.uncapped(p, d)
	if d.Max == RoleNone || r.top() <= d.Max {
		return r
	}
	r.whole = min(r.whole, d.Max)
	for i := range r.parts {
		r.parts[i].role = min(r.parts[i].role, d.Max)
	}
	r.why += fmt.Sprintf("; nobody has more than %v through this listener", d.Max)
	return r
}

func (a *Access) uncapped(p Peer, d Door) rights {
	switch {
	case !p.known:
		return rights{why: "the kernel does not say who is calling"}
	case p.UID == 0:
		return rights{whole: RoleAdmin, why: "uid 0 is root"}
	case p.UID == a.Owner:
		return rights{whole: RoleAdmin, why: fmt.Sprintf("uid %d is the supervisor's own", p.UID)}
	}
	var r rights
	var numbers []string
	for i, rule := range a.Rules {
		if !rule.names(p) {
			continue
		}
		numbers = append(numbers, strconv.Itoa(i+1))
		if len(rule.Pools) == 0 && len(rule.Commands) == 0 {
			r.whole = max(r.whole, rule.Role)
		} else {
			r.parts = append(r.parts, part{rule.Role, rule.Pools, rule.Commands})
		}
	}
	switch len(numbers) {
	case 0:
		return rights{whole: d.Others, why: fmt.Sprintf("no rule names uid %d; this listener gives %s", p.UID, d.Others)}
	case 1:
		r.why = fmt.Sprintf("access rule %s names uid %d or a group of it", numbers[0], p.UID)
	default:
		r.why = fmt.Sprintf("access rules %s name uid %d or groups of it", strings.Join(numbers, ", "), p.UID)
	}
	return r
}

// top is the highest role that the caller has anywhere.
func (r rights) top() Role {
	top := r.whole
	for _, p := range r.parts {
		top = max(top, p.role)
	}
	return top
}

// somewhere reports whether the caller may do v at least to something.
func (r rights) somewhere(v verb) bool {
	return r.whole.may(v) || slices.ContainsFunc(r.parts, func(p part) bool {
		return p.role.may(v) && (len(p.commands) == 0 || minRole[v] <= RoleViewer || v == verbCommand)
	})
}

// in reports whether the caller may do v in a pool. command is the name of the
// command, for verbCommand.
func (r rights) in(pool string, v verb, command string) bool {
	return r.whole.may(v) || slices.ContainsFunc(r.parts, func(p part) bool {
		switch {
		case !p.role.may(v), len(p.pools) > 0 && !slices.Contains(p.pools, pool):
			return false
		case len(p.commands) == 0, minRole[v] <= RoleViewer:
			return true
		}
		return v == verbCommand && slices.Contains(p.commands, command)
	})
}

// everywhere reports whether the caller may do what concerns no pool in
// particular.
func (r rights) everywhere(v verb) bool { return r.whole.may(v) }

// whoami is what the rights are, of whoever has them.
func (r rights) whoami() api.Whoami {
	out := api.Whoami{Role: r.top().String(), Reason: r.why}
	for _, p := range r.parts {
		out.Narrowed = append(out.Narrowed, api.NarrowRole{Role: p.role.String(), Pools: p.pools, Commands: p.commands})
	}
	if len(r.parts) > 0 {
		out.Everywhere = r.whole.String()
	}
	return out
}

// String is the rights in words, for refusals.
func (r rights) String() string { return r.whoami().Rights() }
