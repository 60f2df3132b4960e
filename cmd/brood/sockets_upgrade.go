package main

import (
	"cmp"
	"net"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor/config"
	"example.com/brood/supervisor/control"
	"example.com/brood/supervisor/control/client"
	"example.com/brood/supervisor/handover"
)

// The control sockets over an upgrade.

// doorsName is what they, and who is connected to them, are handed over by.
const doorsName = "control"

// savedDoors is what is handed over.
type savedDoors struct {
	Sockets savedSockets
	Server  control.Saved
}

// doorway is a Server with its sockets, beside the supervisor.
type doorway struct {
	*control.Server
	sockets *sockets
}

// Hand puts them into out.
func (d doorway) Hand(out *handover.Out) (err error) {
	var v savedDoors
	if v.Sockets, err = d.sockets.export(out); err != nil {
		return err
	}
	if v.Server, err = d.Export(out); err != nil {
		return err
	}
	return out.Put(doorsName, v)
}

// takeSockets goes on with what was handed over, or makes the sockets.
func (f *runFlags) takeSockets(g *globals, c config.Control, in *handover.In, log hclog.Logger) (*sockets, *control.Saved, error) {
	var v savedDoors
	there, err := in.Get(doorsName, &v)
	if err != nil {
		return nil, nil, err
	}
	if !there {
		s, err := f.openSockets(g, c, log)
		return s, nil, err
	}
	s, err := f.adoptSockets(g, c, log, in, v.Sockets)
	return s, &v.Server, err
}

// savedSockets are sockets as they go to the program that takes over.
type savedSockets struct {
	All  []control.SavedListener
	Main int // which of these is the main one
}

// export gives what adoptSockets needs. It is called while the server is held.
func (s *sockets) export(out *handover.Out) (saved savedSockets, err error) {
	for i, l := range s.all {
		one, err := control.ExportListener(l, out)
		if err != nil {
			return saved, err
		}
		saved.All = append(saved.All, one)
		if l == s.main {
			saved.Main = i
		}
	}
	return saved, nil
}

// estate is what the program before has left of its sockets.
type estate struct {
	in   *handover.In
	log  hclog.Logger
	main control.SavedListener
	left map[string]control.SavedListener // by path: nobody has taken them yet
}

// take is the socket of a configuration: the one that was there before, with the mode
// and the group that it is given by now, or a new one.
func (e *estate) take(cfg control.ListenConfig) (net.Listener, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, err
	}
	one, ok := e.left[path]
	if !ok {
		return control.Listen(cfg)
	}
	delete(e.left, path)
	return control.AdoptListener(cfg, e.in, one)
}

// takeMain stays with the main socket that was there where another can't be had.
func (e *estate) takeMain(cfg control.ListenConfig) (net.Listener, error) {
	if e.main.Passed {
		cfg.Path = e.main.Path // as the service manager says
	}
	l, err := e.take(cfg)
	if _, there := e.left[e.main.Path]; err != nil && there {
		e.log.Error("the control socket stays where it was", "path", e.main.Path, "error", err)
		cfg.Path = e.main.Path
		return e.take(cfg)
	}
	return l, err
}

// close closes what nobody has taken.
func (e *estate) close() {
	for path := range e.left {
		e.log.Info("a control socket is no longer configured", "path", path)
		if l, err := e.take(control.ListenConfig{Path: path, Log: e.log}); err == nil {
			l.Close() // what is wrong with its file is logged by itself
		}
	}
}

// adoptSockets is openSockets for the program that takes over. As there is no way
// back, one that can't be had is left out, but for the main one.
func (f *runFlags) adoptSockets(g *globals, c config.Control, log hclog.Logger, in *handover.In, saved savedSockets) (*sockets, error) {
	c = c.WithDefaults()
	s := &sockets{opened: c}
	e := estate{in, log, saved.All[saved.Main], map[string]control.SavedListener{}}
	for _, one := range saved.All {
		e.left[one.Path] = one
	}
	for i, l := range c.Listen {
		cfg := control.ListenConfig{Path: l.Path, Mode: l.Mode, Group: l.Group, Log: log}
		if i != mainOf(c) {
			made, err := e.take(cfg)
			if err != nil {
				log.Error("a control socket is left out", "path", l.Path, "error", err)
				continue
			}
			s.all = append(s.all, made)
			continue
		}
		var err error
		if cfg.Mode, err = f.mainMode(cfg.Mode); err == nil {
			cfg.Path = cmp.Or(g.socket, cfg.Path, client.DefaultPath())
			s.main, err = e.takeMain(cfg)
		}
		if err != nil {
			s.close()
			return nil, err
		}
		s.all = append(s.all, s.main)
	}
	e.close()
	return s, nil
}
