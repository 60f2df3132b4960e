package config

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// The control section: what its keys mean together.

// roles are in order: each includes those before it.
var roles = []string{"none", "viewer", "operator", "admin"}

// WithDefaults fills in what is not set.
func (c Control) WithDefaults() Control {
	c.Listen = slices.Clone(c.Listen)
	if len(c.Listen) == 0 {
		c.Listen = []Listener{{}}
	}
	for i := range c.Listen {
		l := &c.Listen[i]
		if l.Mode == 0 {
			l.Mode = defaultMode
		}
		if l.Role == "" {
			l.Role = defaultRole // the lowest that max_role can be
		}
		if l.MaxRole == "" {
			l.MaxRole = defaultMaxRole
		}
	}
	return c
}

// sockets is a mapping, or a list of mappings.
func sockets(one kind[Listener]) kind[[]Listener] {
	return oneOrMore("sockets, or one", "", one, func(n node) bool {
		_, isMapping := n.value.(*ast.MappingNode)
		return isMapping || n.isNull()
	})
}

// names is a text, or a list of texts.
func names(item kind[string]) kind[[]string] {
	return oneOrMore("names, or one name", ", so the rule would name nothing", item, isScalar)
}

// commandWord is the name of a command.
var commandWord = kind[string]{read: func(n node) (string, bool) {
	name, ok := n.text("the name of a command")
	if problem := commandName(name); ok && problem != "" {
		n.bad("%s", problem)
		ok = false
	}
	return name, ok
}, schema: func() object { return object{"type": "string", "pattern": commandNamePattern} }}

func (src *source) checkControl(f File) {
	paths := map[string]string{}
	for i, l := range f.Control.Listen {
		at := src.itemPath("control.listen", i)
		src.checkListener(at, l)
		if first, taken := paths[l.Path]; taken && !src.isBlamed(at+".path") {
			problem := "this is the path of %s already; choose another"
			if l.Path == "" {
				problem = "has no path and neither has %s; only one may leave it to the command line"
			}
			src.report(src.placeOf(at+".path"), at, problem, first)
		}
		paths[l.Path] = at
	}
	for i, r := range f.Control.Access {
		src.checkRule(src.itemPath("control.access", i), r, f.Pools)
	}
	if f.Control.AuditRequired && f.Control.Audit == "" && !src.isBlamed("control.audit") {
		const path = "control.audit_required"
		src.report(src.placeOf(path), path, "needs the file: write audit: /var/log/brood/audit; a log tells nobody that it has lost a line")
	}
}

// itemPath is where the i-th of several stands: one that was written without a
// list is where the key is.
func (src *source) itemPath(path string, i int) string {
	item := fmt.Sprintf("%s[%d]", path, i)
	if _, isList := src.places[item]; !isList && i == 0 {
		return path
	}
	return item
}

func (src *source) checkListener(at string, l Listener) {
	const groupWrite = 0o020 // connecting takes it: unix(7)
	if l.Group != "" && l.Mode&groupWrite == 0 && !src.isBlamed(at+".mode") {
		src.report(src.placeOf(at+".group"), at+".group",
			"has no effect, the mode (%04o) keeps the group out; write mode: \"0660\"", l.Mode)
	}
	if byRole(l.Role) > byRole(l.MaxRole) && !src.isBlamed(at+".role") && !src.isBlamed(at+".max_role") {
		src.report(src.placeOf(at+".role"), at+".role", "is %s, and nobody has more than max_role, %s, through this socket", l.Role, l.MaxRole)
	}
}

// checkRule: a rule that can't mean what it says is none.
func (src *source) checkRule(at string, r Rule, pools []pool) {
	report := func(key, format string, args ...any) {
		if !src.isBlamed(at + "." + key) {
			src.report(src.placeOf(at+"."+key), at+"."+key, format, args...)
		}
	}
	if src.blamed[at] {
		return
	}
	if r.Role == "" {
		report("role", "is missing; write %s", enumerate(roles, "or"))
		return
	}
	if len(r.Users)+len(r.Groups) == 0 && !src.isBlamed(at+".users") && !src.isBlamed(at+".groups") {
		report("users", "are missing, and so are groups: the rule names nobody; whom no rule names has the role of the listener")
	}
	switch {
	case r.Role != "operator" && len(r.Commands) > 0:
		report("commands", "narrow what an operator may do; a rule for %s has none", article(r.Role))
	case r.Role == "admin" && len(r.Pools) > 0:
		report("pools", "narrow what a viewer or an operator may do; reload, upgrade and shutdown concern every pool")
	case r.Role == "none" && len(r.Pools) > 0:
		report("pools", "have no place in a rule that gives nothing; leave the key out")
	}
	known := make([]string, len(pools))
	for i, p := range pools {
		known[i] = p.Name
	}
	for i, name := range r.Pools {
		path := src.itemPath(at+".pools", i)
		if !slices.Contains(known, name) && !src.blamed["pools."+name] && !src.isBlamed(path) && !src.blamed["pools"] {
			src.report(src.placeOf(path), path, "there is no pool %q%s", name, didYouMean(name, known))
		}
	}
}

func byRole(role string) int { return slices.Index(roles, role) }

func article(role string) string {
	if role == "none" {
		return role
	}
	return map[bool]string{true: "an ", false: "a "}[role == "admin"] + role
}

// checkAccess looks for the users and groups that are named.
func (src *source) checkAccess(c Control) {
	for i, l := range c.Listen {
		src.check(src.itemPath("control.listen", i)+".group", checkGroup(l.Group))
	}
	for i, r := range c.Access {
		at := src.itemPath("control.access", i)
		for j, name := range r.Users {
			src.check(src.itemPath(at+".users", j), checkUserName(name))
		}
		for j, name := range r.Groups {
			src.check(src.itemPath(at+".groups", j), checkGroup(name))
		}
	}
	if c.Audit != "" {
		src.check("control.audit", checkAudit(c.Audit))
	}
}
