package control

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The lists of everything are the same for everybody who may see everything, and for
// everybody who may read all output besides, so what was made for one is given to the
// next: until something changes, or a moment has passed, as uptime and the like move by
// themselves.

// listAge is how old the figures in a list may be that move by themselves.
const listAge = 100 * time.Millisecond

type lists struct {
	status, brief, pools, workers keptPair
	done                          atomic.Uint64 // what was done through this server
}

// keptPair is one of them: without workers' output and with it.
type keptPair [2]keptList

// of is the one for who has r; nil: they are given neither.
func (l *keptPair) of(r rights, v verb) *keptList {
	switch {
	case !r.everywhere(v):
		return nil
	case r.everywhere(verbLogs):
		return &l[1]
	case r.somewhere(verbLogs): // of some pools
		return nil
	}
	return &l[0]
}

// keptList is one of these, as it was last made.
type keptList struct {
	last atomic.Pointer[listText]
	mu   sync.Mutex // held by who makes it anew
}

type listText struct {
	changes, done uint64
	at            time.Time
	body          []byte
}

// get is the list as it is now; make makes it anew.
func (l *keptList) get(changes, done uint64, make func() ([]byte, error)) ([]byte, error) {
	now := time.Now()
	fresh := func() []byte {
		if t := l.last.Load(); t != nil && t.changes == changes && t.done == done && now.Sub(t.at) < listAge {
			return t.body
		}
		return nil
	}
	if body := fresh(); body != nil {
		return body, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if body := fresh(); body != nil { // another has made it meanwhile
		return body, nil
	}
	body, err := make()
	if err == nil {
		l.last.Store(&listText{changes, done, time.Now(), body})
	}
	return body, err
}

// errReloaded: the rules have changed while a list was made, so it is not kept.
var errReloaded = errors.New("other rules are in force")

// listed answers with a list, kept or made by do, which asks for the right. The
// page's parameters, if it knows any, were read.
func listed[T any](s *Server, r *request, lists *keptPair, do func(*caller) (T, error), known ...string) error {
	rules := s.access.Load()
	l := lists.of(s.rights(r.caller), r.verb)
	if l == nil {
		return answerWith(r, do, known...)
	}
	if _, err := r.query(known...); err != nil {
		return err
	}
	made := false // so do has counted it
	// What these count is seen by make, or newer.
	body, err := l.get(s.cfg.Supervisor.Changes(), s.lists.done.Load(), func() ([]byte, error) {
		made = true
		out, err := do(r.caller)
		if err != nil {
			return nil, err
		}
		if s.access.Load() != rules { // it may be for another's eyes
			return nil, errReloaded
		}
		return mustJSON(out), nil
	})
	if errors.Is(err, errReloaded) {
		return answerWith(r, do, known...)
	}
	if err != nil {
		return err
	}
	if !made {
		s.asked.note(r.verb, 0)
	}
	return r.send(http.StatusOK, "application/json", body)
}
