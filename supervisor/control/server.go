// Package control serves the control socket: one file through which people and
// scripts reach the supervisor and its workers. The kernel says who is
// calling; a role, decided once per connection, says what they may do; every
// change leaves one audit line.
//
// The HTTP API is described in docs/api.md, its JSON types are in package api,
// a Go client is in package client.
package control

import (
	"context"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/handover"
)

// Config is what a Server serves.
type Config struct {
	Supervisor *supervisor.Supervisor
	// Version is brood's, for status and version.
	Version string
	// Shutdown is called when an admin asks for it. It must not wait.
	Shutdown func()
	// Reload reads the configuration again and has it carried out, or with dryRun
	// only compared. nil: there is no file to read.
	Reload func(ctx context.Context, dryRun bool) ([]supervisor.Change, error)
	// Upgrade has another brood take this one's place: by [Server.Hold],
	// [Server.Export], and the execution of its program. It returns only where that
	// has failed, and then nothing has changed; who has asked is answered by the
	// other. nil: it can't be done.
	Upgrade func(ctx context.Context) error
	// Saved is what the Server of the program before has exported, and Handover
	// where its descriptors are. nil: there was none before.
	Saved    *Saved
	Handover *handover.In
	// Access says who may do what. [Server.SetAccess] changes it.
	Access Access
	// Audit is the file that changes are written down in; see docs/security.md.
	// Empty: they go to Log.
	Audit string
	// AuditRequired: changes are refused while they can't be written down.
	AuditRequired bool
	// Limits is how many connections there may be.
	Limits Limits
	// Log takes the audit lines and what goes wrong. nil: nothing is logged.
	Log hclog.Logger
}

// Server answers on listeners made by [Listen].
type Server struct {
	cfg    Config
	access atomic.Pointer[Access]
	audit  *auditor
	lists  lists
	asked  asks
	house  *house
	http   *http.Server
	web    *webDoor // what s.http listens on

	holding atomic.Bool // Hold was called, and Release not yet
	debts   []*debt     // to who has asked for the upgrade; guarded by house.mu

	receivers sync.WaitGroup // every goroutine of this server but those of s.http
	crew      chan *guest    // to those of them who are free
	free      atomic.Int32   // how many are
	lookout   lookout

	mu        sync.Mutex
	listeners []net.Listener
	closed    bool
	serveHTTP sync.Once
}

// Limits of one request. Every wait has its end.
const (
	headerTime  = 10 * time.Second // to send a request's header
	bodyTime    = 30 * time.Second // to send its body
	answerTime  = 30 * time.Second // to take the answer, once there is one
	idleTime    = 2 * time.Minute  // between requests
	maxHeader   = 16 << 10         // bytes
	maxBody     = 16 << 20         // bytes, as ipc.DefaultMaxMessage
	defaultCall = 30 * time.Second // ?timeout=
	maxWait     = time.Hour        // of ?timeout= and ?wait=

	defaultUpgrade = time.Minute // ?wait= of an upgrade
)

// NewServer makes a server. Serve starts it, Close ends it. An audit file that
// can't be opened is an error.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	s := &Server{cfg: cfg, asked: newAsks(), house: newHouse(cfg.Limits, os.Geteuid(), openFiles()), web: newWebDoor(), crew: make(chan *guest)}
	s.house.attend = s.attendTo
	s.SetAccess(cfg.Access)
	var err error
	var left savedAudit
	if cfg.Saved != nil {
		left = cfg.Saved.Audit
	}
	if s.audit, err = newAuditor(cfg.Audit, cfg.AuditRequired, left, cfg.Log); err != nil {
		return nil, err
	}
	if cfg.Saved != nil {
		s.inherit(cfg.Saved, cfg.Handover)
	}
	s.http = &http.Server{
		Handler:           s.routes(),
		ConnContext:       withCaller,
		ConnState:         connState,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		// It would read a body before anybody is told of the request.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     cfg.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	return s, nil
}

// Close ends all listeners, gives the answers under way until ctx ends, and
// then hangs up.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	listeners := s.listeners
	s.listeners = nil
	s.mu.Unlock()
	s.house.close(false)
	s.disinherit()
	for _, l := range listeners {
		l.Close() // an error is about its file, and told by whoever made it
	}
	err := s.http.Shutdown(ctx)
	if err == nil {
		err = s.house.awaitEmpty(ctx)
	}
	s.house.close(true)
	if err != nil {
		err = s.http.Close()
	}
	s.receivers.Wait()
	s.audit.close()
	return err
}
