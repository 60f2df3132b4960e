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
	"errors"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/brood/supervisor"
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
	// Others is the role of whoever else the socket's mode lets in.
	Others Role
	// Log takes the audit lines and what goes wrong. nil: nothing is logged.
	Log hclog.Logger
}

// Server answers on listeners made by [Listen].
type Server struct {
	cfg    Config
	access Access
	http   *http.Server
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
)

// NewServer makes a server. Serve starts it.
func NewServer(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	s := &Server{cfg: cfg, access: Access{Owner: os.Geteuid(), Others: cfg.Others}}
	s.http = &http.Server{
		Handler:           s.routes(),
		ConnContext:       withPeer,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          cfg.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	return s
}

// Serve answers on l until Close, then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends all listeners, gives the answers under way until ctx ends, and
// then hangs up.
func (s *Server) Close(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}
