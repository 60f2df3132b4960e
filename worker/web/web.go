// Package web serves HTTP from a worker, on a socket that the supervisor holds
// open, so that a restart or a deploy drops no request.
//
//	func main() {
//		var w worker.Worker
//		err := web.Serve(&w, "http", &http.Server{Handler: handler})
//		…
//	}
//
// with `listen: {http: "tcp://127.0.0.1:8080"}` in the pool's configuration.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"example.com/brood/worker"
)

// grace is how long requests under way may take once the worker is drained; the
// supervisor's stop ends sooner or later than that by its own clock.
const grace = time.Minute

// Serve starts w, serves srv on the socket of that name, says READY, and
// returns once w was drained and every connection that it had accepted has been
// answered: nil. srv's ConnState is taken.
//
// It does not use http.Server.Shutdown to drain: that hangs up on connections
// that were accepted but whose request was not read yet.
func Serve(w *worker.Worker, socket string, srv *http.Server) error {
	l, err := worker.Listener(socket)
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return err
	}
	open := &connections{idle: make(chan struct{})}
	srv.ConnState = open.note
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	if err := w.Ready(); err != nil {
		return errors.Join(err, srv.Close())
	}
	stopped := make(chan error, 1)
	go func() { stopped <- w.Wait(context.Background()) }()
	select {
	case err := <-served: // it can't accept any more
		srv.Close()
		return fmt.Errorf("web: socket %q: %w", socket, err)
	case err = <-stopped:
	}
	return errors.Join(err, drain(l, srv, served, open))
}

// drain accepts no more, lets each connection have the answer it waits for, and
// closes those that wait for none.
func drain(l net.Listener, srv *http.Server, served <-chan error, open *connections) error {
	l.Close()
	<-served // all that was accepted is known from here on
	srv.SetKeepAlivesEnabled(false)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-open.none():
	case <-timer.C:
	}
	return srv.Close()
}

// connections counts those that are not closed.
type connections struct {
	mu       sync.Mutex
	n        int
	draining bool
	idle     chan struct{} // closed when draining and none is left
}

func (c *connections) note(_ net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.n++
	case http.StateClosed, http.StateHijacked:
		c.n--
		c.settle()
	}
}

// none is closed once no connection is left.
func (c *connections) none() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	c.settle()
	return c.idle
}

func (c *connections) settle() {
	if !c.draining || c.n > 0 {
		return
	}
	select {
	case <-c.idle:
	default:
		close(c.idle)
	}
}
