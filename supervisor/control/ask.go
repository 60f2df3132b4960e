package control

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// What is asked is the same whatever tongue it is asked in: an ask, of a
// caller. It passes one gate, which knows the caller's rights and leaves the
// audit line.

// caller is who is at the other end of a connection. It is made once for each.
type caller struct {
	peer Peer
	err  error  // why nothing is known of the peer
	door string // the path of the socket that it came in by
	// guest is its connection; nil: it is none of this server's.
	guest *guest

	judged atomic.Pointer[judgement]

	mu   sync.Mutex
	does doing
}

// judgement is the rights that an Access gives a caller.
type judgement struct {
	by *Access
	rights
}

// newCaller asks the kernel who is at the other end of c, which came in by the
// socket at door.
func newCaller(c net.Conn, door string) *caller {
	peer, err := peerFrom(withPeer(context.Background(), c))
	return &caller{peer: peer, err: err, door: door}
}

type (
	doorKey   struct{} // the path of the listener
	callerKey struct{} // the *caller
)

// withCaller is made for http.Server.ConnContext. A guest knows its caller.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	if w, ok := c.(*webConn); ok {
		return context.WithValue(withPeer(ctx, c), callerKey{}, w.caller)
	}
	door, _ := ctx.Value(doorKey{}).(string)
	return context.WithValue(ctx, callerKey{}, newCaller(c, door))
}

// callerFrom is who sent a request. Without withCaller it is nobody.
func callerFrom(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return &caller{err: errNoPeer}
}

// rights is what the caller may do now: a reload may change it.
func (s *Server) rights(c *caller) rights {
	access := s.access.Load()
	j := c.judged.Load()
	if j == nil || j.by != access {
		j = &judgement{access, access.rightsOf(c.peer, c.door)}
		c.judged.Store(j)
	}
	return j.rights
}

// ask is one thing that a caller wants.
type ask struct {
	verb   verb
	scope  scope
	target supervisor.Target // of scopePool
	// command is its name, for verbCommand.
	command string
}

// scope is what an ask concerns.
type scope uint8

const (
	scopeNone scope = iota // no pool: version, reload
	scopeSeen              // whatever pools the caller may see: lists of all
	scopePool              // the pools of a target
)

// String is what the audit calls the target.
func (a ask) String() string {
	var text string
	if a.scope == scopePool {
		if text = a.target.String(); a.target == (supervisor.Target{}) {
			text = ""
		}
	}
	if a.command != "" {
		if text != "" {
			text += " "
		}
		text += a.command
	}
	return text
}

// do has f do what is asked, if the caller may have it done, and leaves the audit
// line of what changes something or was refused.
func (s *Server) do(c *caller, a ask, f func() error) error {
	said := a
	if a.target.Pool == "" && a.scope == scopePool {
		a.target = s.named(a.target)
	}
	if r := s.rights(c); !s.may(r, a) {
		return s.deny(c, a, said, r)
	}
	if a.scope == scopePool && a.target.Pool == "" {
		f = s.several // what was judged is no pool, so none is to be found by then
	}
	if a.verb == verbCommand && !isCommandName(a.command) {
		return s.counted(a.verb, badCommand(a.command))
	}
	c.begins(a)
	defer c.ends()
	if !a.verb.changes() {
		return s.counted(a.verb, s.discreet(c, f()))
	}
	if err := s.auditable(); err != nil {
		s.audited(c, a, err)
		return s.counted(a.verb, err)
	}
	err := s.discreet(c, f())
	s.lists.done.Add(1)
	s.audited(c, a, err)
	return s.counted(a.verb, err)
}

// isCommandName: a worker can have a command of that name, and a path can name it.
func isCommandName(name string) bool { return ipc.ValidName(name) && name != "." && name != ".." }

func badCommand(name string) error {
	return failf(api.CodeBadRequest, "%q is no name of a command, which is 1 to 255 printable ASCII characters without spaces, and neither . nor ..", name)
}

// discreet is err without the names of pools that the caller may not see.
func (s *Server) discreet(c *caller, err error) error {
	var none *supervisor.NoPoolError
	if !errors.As(err, &none) {
		return err
	}
	sees := s.sees(c, verbStatus)
	known := slices.DeleteFunc(slices.Clone(none.Known), func(pool string) bool { return !sees(pool) })
	return &supervisor.NoPoolError{Pool: none.Pool, Known: known}
}

// counted passes err on.
func (s *Server) counted(v verb, err error) error {
	if err != nil {
		s.asked.note(v, 1)
		return err
	}
	s.asked.note(v, 0)
	return nil
}

// meant fills in the only pool that the caller may see: to them there are no others.
func (s *Server) meant(c *caller, t supervisor.Target) supervisor.Target {
	if t.Pool != "" {
		return t
	}
	sees := s.sees(c, verbStatus)
	seen := slices.DeleteFunc(s.cfg.Supervisor.PoolNames(), func(pool string) bool { return !sees(pool) })
	if len(seen) == 1 {
		t.Pool = seen[0]
	}
	return t
}

// several refuses a target that leaves open which pool is meant.
func (s *Server) several() error {
	return &supervisor.NoPoolError{Known: s.cfg.Supervisor.PoolNames()}
}

// named fills in the name of the only pool, if there is only one, to judge what is
// asked.
func (s *Server) named(t supervisor.Target) supervisor.Target {
	if names := s.cfg.Supervisor.PoolNames(); len(names) == 1 {
		t.Pool = names[0]
	}
	return t
}

// may reports whether who has r may have a done.
func (s *Server) may(r rights, a ask) bool {
	switch {
	case a.verb == verbWhoami: // everybody may know who they are
		return true
	case a.scope == scopePool && a.target.Pool == "*":
		return s.mayInAll(r, a)
	case a.scope == scopePool && a.target.Pool == "": // of several, which is refused for that
		return slices.ContainsFunc(s.cfg.Supervisor.PoolNames(), func(pool string) bool { return r.in(pool, a.verb, a.command) })
	case a.scope == scopePool:
		return r.in(a.target.Pool, a.verb, a.command)
	case a.scope == scopeSeen, minRole[a.verb] <= RoleViewer:
		return r.somewhere(a.verb)
	}
	return r.everywhere(a.verb)
}

func (s *Server) mayInAll(r rights, a ask) bool {
	if !r.somewhere(a.verb) {
		return false
	}
	for _, pool := range s.cfg.Supervisor.PoolNames() {
		if !r.in(pool, a.verb, a.command) {
			return false
		}
	}
	return true
}

// deny audits that a is denied, and says why in the words that it was asked in:
// the name of the only pool is not everybody's to know.
func (s *Server) deny(c *caller, a, said ask, r rights) error {
	what := string(a.verb)
	if text := said.String(); text != "" {
		what += " (" + text + ")"
	}
	s.asked.note(a.verb, 2)
	err := failf(api.CodeDenied, "%s needs the role %v, and uid %d has %v: %s", what, minRole[a.verb], c.peer.UID, r, r.why)
	s.audit.line(c, r.top(), a.verb, a.String(), outcomeDenied, r.why)
	return err
}

// sees is what the caller may do v to, of the pools there are.
func (s *Server) sees(c *caller, v verb) func(pool string) bool {
	// Asked each time: who follows for long sees no more than the rules give by now.
	return func(pool string) bool { return s.rights(c).in(pool, v, "") }
}

// audited leaves the line of what was done.
func (s *Server) audited(c *caller, a ask, err error) {
	s.audit.line(c, s.rights(c).top(), a.verb, a.String(), outcomeOf(err), "")
}

func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	return problemOf(err).Code
}

// auditable is nil unless changes are refused because they can't be audited.
func (s *Server) auditable() error {
	if trouble := s.audit.trouble(); trouble != "" && s.audit.required {
		return failf(api.CodeUnavailable, "changes are refused while they can't be audited (audit_required): %s", trouble)
	}
	return nil
}

// Access is the rules in force. It is not to be written to.
func (s *Server) Access() Access { return *s.access.Load() }

// SetAccess puts other rules in force, for callers who are connected already as
// well.
func (s *Server) SetAccess(a Access) { s.access.Store(&a) }
