package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strconv"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor/config"
	"example.com/brood/supervisor/control"
	"example.com/brood/supervisor/control/client"
)

// The control sockets of brood run, and who may do what through them.

// sockets are those that are served. The main one is that which clients look for
// unless they are told otherwise, and workers are told of.
type sockets struct {
	all    []net.Listener // in the order of the configuration; closed by close
	main   net.Listener   // one of them
	opened config.Control // what they were opened by
}

// mainOf is the main one of a configuration: that without a path, or the first.
func mainOf(c config.Control) int {
	for i, l := range c.Listen {
		if l.Path == "" {
			return i
		}
	}
	return 0
}

// openSockets makes the sockets that the configuration names; the flags have the
// last word about the main one, unless the service manager has passed it.
func (f *runFlags) openSockets(g *globals, c config.Control, log hclog.Logger) (s *sockets, err error) {
	c = c.WithDefaults()
	s = &sockets{opened: c}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for i, l := range c.Listen {
		cfg := control.ListenConfig{Path: l.Path, Mode: l.Mode, Group: l.Group, Log: log}
		var made net.Listener
		if i == mainOf(c) {
			made, err = f.mainSocket(g, cfg)
			s.main = made
		} else {
			made, err = control.Listen(cfg)
		}
		if err != nil {
			return s, err
		}
		s.all = append(s.all, made)
	}
	return s, nil
}

// mainSocket is the one that the service manager has passed, or else is made.
func (f *runFlags) mainSocket(g *globals, cfg control.ListenConfig) (net.Listener, error) {
	own := cmp.Or(g.socket, cfg.Path)
	passed, err := control.TakePassed(cfg.Log)
	if err != nil {
		return nil, err
	}
	switch len(passed) {
	case 0:
	case 1:
		l := passed[0]
		if own != "" && own != l.Addr().String() {
			return nil, fmt.Errorf("%s was passed as the control socket, and %s is asked for: leave the second out", l.Addr(), own)
		}
		return l, nil
	default:
		return nil, fmt.Errorf("%d control sockets were passed, and one is served: write one ListenStream= into its unit", len(passed))
	}
	if cfg.Mode, err = f.mainMode(cfg.Mode); err != nil {
		return nil, err
	}
	cfg.Path = cmp.Or(own, client.DefaultPath())
	return control.Listen(cfg)
}

// mainMode is the mode of the main one, of which --mode has the last word.
func (f *runFlags) mainMode(configured os.FileMode) (os.FileMode, error) {
	if f.mode == "" {
		return configured, nil
	}
	mode, err := strconv.ParseUint(f.mode, 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return 0, fmt.Errorf("--mode %s: write an octal file mode such as 0660", f.mode)
	}
	return os.FileMode(mode), nil
}

func (s *sockets) close() {
	for _, l := range s.all {
		l.Close() // what is wrong with its file is logged by itself
	}
}

// path is that of the main one.
func (s *sockets) path() string { return s.main.Addr().String() }

// access is who may do what, as the configuration says. It may be another one
// than the sockets were opened by.
func (s *sockets) access(c config.Control) (a control.Access, err error) {
	c = c.WithDefaults()
	a = control.DefaultAccess()
	a.Doors = map[string]control.Door{}
	var errs []error
	for i, l := range c.Listen {
		others, err := control.ParseRole(l.Role)
		errs = append(errs, err)
		most, err := control.ParseRole(l.MaxRole)
		errs = append(errs, err)
		path, err := filepath.Abs(l.Path)
		errs = append(errs, err)
		if i == mainOf(c) {
			path = s.path()
		}
		a.Doors[path] = control.Door{Others: others, Max: most}
	}
	a.Door = a.Doors[s.path()]
	a.Rules, err = rulesOf(c)
	return a, errors.Join(append(errs, err)...)
}

// rulesOf are the rules that the configuration has.
func rulesOf(c config.Control) (rules []control.Rule, err error) {
	var errs []error
	for _, r := range c.Access {
		rule, err := ruleOf(r)
		errs = append(errs, err)
		rules = append(rules, rule)
	}
	return rules, errors.Join(errs...)
}

func ruleOf(r config.Rule) (rule control.Rule, err error) {
	rule = control.Rule{Pools: r.Pools, Commands: r.Commands}
	var errs []error
	rule.Role, err = control.ParseRole(r.Role)
	errs = append(errs, err)
	for _, name := range r.Users {
		id, err := idOf(name, func() (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
		errs, rule.UIDs = append(errs, err), append(rule.UIDs, id)
	}
	for _, name := range r.Groups {
		id, err := idOf(name, func() (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
		errs, rule.GIDs = append(errs, err), append(rule.GIDs, id)
	}
	return rule, errors.Join(errs...)
}

// idOf is a number, or that of a name. -1, with an error, is nobody's.
func idOf(name string, lookUp func() (string, error)) (int, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(id), nil
	}
	text, err := lookUp()
	if err != nil {
		return -1, err
	}
	return strconv.Atoi(text)
}

// change puts the access of another configuration in force, and returns what
// takes it back. What the sockets themselves are is not changed.
func (s *sockets) change(server *control.Server, c config.Control, log hclog.Logger) (undo func(), err error) {
	a, err := s.access(c)
	if err != nil {
		return nil, err
	}
	before := server.Access()
	server.SetAccess(a)
	if !reflect.DeepEqual(a, before) {
		log.Info("access rules", "rules", len(a.Rules))
	}
	c = c.WithDefaults()
	if !sameFiles(c, s.opened) {
		log.Warn("other control sockets, limits of connections, or another audit file, come into force at the next start")
	}
	return func() { server.SetAccess(before) }, nil
}

func sameFiles(a, b config.Control) bool {
	if len(a.Listen) != len(b.Listen) || a.Audit != b.Audit || a.AuditRequired != b.AuditRequired ||
		a.MaxConnections != b.MaxConnections || a.MaxPerUser != b.MaxPerUser {
		return false
	}
	for i := range a.Listen {
		x, y := a.Listen[i], b.Listen[i]
		if x.Path != y.Path || x.Mode != y.Mode || x.Group != y.Group {
			return false
		}
	}
	return true
}
