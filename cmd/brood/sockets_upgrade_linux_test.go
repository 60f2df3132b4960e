package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/config"
	"example.com/brood/supervisor/control"
	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
)

// TestAdoptSockets: of the sockets that were there those go on that are still
// configured; others are made or closed, and the main one is never given up.
func TestAdoptSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "bs") // a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	at := func(name string) string { return filepath.Join(dir, name) }
	listen := func(names ...string) (c config.Control) {
		for _, name := range names {
			c.Listen = append(c.Listen, config.Listener{Path: at(name), Role: "viewer"})
		}
		return c
	}
	log := hclog.NewNullLogger()
	var f runFlags
	s, err := f.openSockets(&globals{}, listen("a", "b", "c"), log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("taken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		to         config.Control
		main       string
		there, not []string
	}{
		{listen("a", "b", "c"), "a", []string{"a", "b", "c"}, nil},
		{listen("b", "d"), "b", []string{"b", "d"}, []string{"a", "c"}},
		{listen("d", "taken", "b"), "d", []string{"d", "b"}, nil},
		{listen("taken", "b"), "d", []string{"d", "b"}, nil},
		{listen("e"), "e", []string{"e"}, []string{"d", "b"}},
	} {
		// A path without a socket is served by none, so it is known whose each is.
		ino := map[string]uint64{}
		for _, l := range s.all {
			ino[l.Addr().String()] = inode(t, l.Addr().String())
		}
		server := serveSockets(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := server.Hold(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		var out handover.Out
		saved, err := s.export(&out)
		if err != nil {
			t.Fatal(err)
		}
		in := handovertest.Deliver(t, &out)
		s, err = f.adoptSockets(&globals{}, tt.to, log, in, saved)
		if err != nil {
			t.Fatal(err)
		}
		if s.path() != at(tt.main) {
			t.Errorf("%v: the main one is %s", tt.to.Listen, s.path())
		}
		for i, name := range tt.there {
			if got := s.all[i].Addr().String(); got != at(name) {
				t.Errorf("%v: socket %d is %s", tt.to.Listen, i, got)
			}
			if was, ok := ino[at(name)]; ok && inode(t, at(name)) != was {
				t.Errorf("%v: %s is another one", tt.to.Listen, name)
			}
			c, err := net.Dial("unix", at(name))
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		for _, name := range tt.not {
			if _, err := os.Lstat(at(name)); err == nil {
				t.Errorf("%v: %s is still there", tt.to.Listen, name)
			}
		}
	}
	s.close()
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// serveSockets has a server serve s until it is held; it is left so.
func serveSockets(t *testing.T, s *sockets) *control.Server {
	t.Helper()
	sup, err := supervisor.New(supervisor.Config{Pools: []supervisor.Pool{{Name: "web", Command: []string{"true"}}}, Log: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	server, err := control.NewServer(control.Config{Supervisor: sup, Shutdown: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.all {
		go server.Serve(l)
		c, err := net.Dial("unix", l.Addr().String()) // it is served when this is answered
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte("version\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	return server
}
