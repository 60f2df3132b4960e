package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"example.com/brood/docs/vectors"
	"example.com/brood/ipc"
)

// How a connection begins, and all that the golden vectors say.

var beginChecks = []check{
	{name: "hello", about: "HELLO comes first and unasked, speaks version 1, and is well formed", raw: true, run: checkHello},
	{name: "ready", about: "READY comes", run: func(s *subject) error { return s.alive(1) }},
	{name: "inode", about: "a BROOD_FD with another inode is not taken", raw: true, run: checkInode},
	{name: "cloexec", about: "the descriptor is close-on-exec once the worker serves", run: checkCloexec},
	{name: "limits", about: "a supervisor that accepts little is not sent much", needs: []string{"echo"}, raw: true, run: checkLimits},
}

func checkHello(s *subject) error {
	if err := s.start(); err != nil {
		return err
	}
	if err := s.takeHello(); err != nil {
		return err
	}
	h := s.hello
	switch {
	case h.Protocol[0] > 1 || h.Protocol[1] < 1:
		return fmt.Errorf("protocol is %v; version 1 must be among them", h.Protocol)
	case h.Chunk < ipc.DefaultChunk:
		return fmt.Errorf("chunk is %d, at least %d", h.Chunk, ipc.DefaultChunk)
	case h.MaxMessage < 0 || h.MaxInflight < 0 || h.FDs < 0 || h.FDs > 16:
		return fmt.Errorf("a limit is out of bounds: %+v", h)
	case len(h.Commands) > 256:
		return fmt.Errorf("%d commands, at most 256", len(h.Commands))
	case h.PID == 0:
		return errors.New("it does not say its pid")
	}
	for _, c := range h.Commands {
		if !ipc.ValidName(c.Name) {
			return fmt.Errorf("command name %q", c.Name)
		}
	}
	return nil
}

// checkInode tells the worker of a descriptor that it has not: it may run on as
// it likes, but not speak on that one.
func checkInode(s *subject) error {
	if err := s.startWith(1); err != nil {
		return err
	}
	s.reader.Timeout = min(s.options.Timeout, 2*time.Second)
	f, err := s.reader.Frame()
	switch {
	case err == nil:
		return fmt.Errorf("it sent %s on a socket whose inode BROOD_FD does not name", describe(f))
	case errors.As(err, new(*ipc.ProtocolError)):
		return fmt.Errorf("it wrote to a socket whose inode BROOD_FD does not name: %w", err)
	}
	return nil // it has ended, or is a plain worker
}

func checkCloexec(s *subject) error {
	if runtime.GOOS != "linux" {
		return skipf("it takes Linux's /proc to see")
	}
	if s.hello.PID == 0 {
		return skipf("its HELLO does not say its pid")
	}
	dir := fmt.Sprintf("/proc/%d/fd", s.hello.PID)
	open, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("its HELLO says pid %d: %w", s.hello.PID, err)
	}
	for _, e := range open {
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || link != fmt.Sprintf("socket:[%d]", s.child) {
			continue
		}
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", s.hello.PID, e.Name()))
		if err != nil {
			return err
		}
		_, flags, _ := strings.Cut(string(info), "flags:")
		bits, err := strconv.ParseUint(strings.Fields(flags)[0], 8, 64)
		if err != nil {
			return fmt.Errorf("fdinfo: %w", err)
		}
		if bits&0o2000000 == 0 {
			return fmt.Errorf("descriptor %s is inherited by each program that it runs; set FD_CLOEXEC", e.Name())
		}
	}
	return nil
}

func checkLimits(s *subject) error {
	if err := s.start(); err != nil {
		return err
	}
	if err := s.takeHello(); err != nil {
		return err
	}
	if !s.offers("echo") {
		return skipf("its HELLO has no command echo")
	}
	if err := s.greeting(ipc.Hello{MaxMessage: 1000}); err != nil {
		return err
	}
	for id, size := range map[uint32]int{1: 1000, 3: 1001} {
		payload := make([]byte, size)
		if err := s.send(ipc.Frame{Header: ipc.Header{Type: ipc.TypeCall, ID: id}, Name: []byte("echo"), Payload: payload}); err != nil {
			return err
		}
		if size > 1000 {
			if err := s.failure(id, ipc.ErrTooLarge); err != nil {
				return fmt.Errorf("an answer of 1001 bytes where 1000 are accepted: %w", err)
			}
		} else if _, err := s.expect(ipc.TypeResult, id); err != nil {
			return err
		}
	}
	return nil
}

// sessionChecks are docs/vectors/sessions.json.
func sessionChecks() (checks []check) {
	for _, session := range vectors.Sessions() {
		checks = append(checks, check{name: "session/" + session.Name, about: session.About, raw: true, run: func(s *subject) error {
			return playSession(s, session)
		}})
	}
	return checks
}

func playSession(s *subject, session vectors.Session) error {
	if err := s.start(); err != nil {
		return err
	}
	err := vectors.Play(s.conn, session, s.options.Timeout, func(f ipc.Frame) error {
		if err := s.readHello(f); err != nil {
			return err
		}
		return s.need(session.Needs)
	})
	if err != nil {
		return err
	}
	want := -1
	if last := session.Steps[len(session.Steps)-1]; last.Ends != nil && last.Ends.Rule == "" {
		want = 0
	}
	return s.ends(want)
}

// breachChecks are docs/vectors/breaches.json, a check for each rule.
func breachChecks() (checks []check) {
	var rules []string
	byRule := map[string][]vectors.Breach{}
	for _, b := range vectors.Breaches() {
		if byRule[b.Rule] == nil {
			rules = append(rules, b.Rule)
		}
		byRule[b.Rule] = append(byRule[b.Rule], b)
	}
	for _, rule := range rules {
		checks = append(checks, check{name: "rule/" + rule, about: "a frame that breaks it ends the connection, and the process exits by itself", raw: true, run: func(s *subject) error {
			for _, b := range byRule[rule] {
				if err := playBreach(s, b); err != nil {
					return fmt.Errorf("%s: % x: %w", b.About, b.Hex[:min(len(b.Hex), 24)], err)
				}
			}
			return nil
		}})
	}
	return checks
}

func playBreach(s *subject, b vectors.Breach) error {
	one := &subject{ctx: s.ctx, options: s.options}
	defer one.end()
	if err := errors.Join(one.start(), one.takeHello(), one.greeting(ipc.Hello{}), one.write(b.Hex)); err != nil {
		return err
	}
	if err := one.gone(); err != nil {
		return one.withLastWords(err)
	}
	return one.ends(-1)
}
