package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// route is what one method on one pattern does. Handlers return errors; answer
// alone turns them into status and body.
type route struct {
	verb   verb
	handle func(*request) error
}

// request is one request and who it is from.
type request struct {
	*http.Request
	w      http.ResponseWriter
	verb   verb
	caller *caller
	wrote  bool // the status line has gone out
	whole  bool // the body was read to its end
}

// table is every page. {target...} is one or two path elements.
func (s *Server) table() map[string]map[string]route {
	get := func(v verb, h func(*request) error) map[string]route {
		return map[string]route{http.MethodGet: {v, h}}
	}
	post := func(v verb, h func(*request) error) map[string]route {
		return map[string]route{http.MethodPost: {v, h}}
	}
	return map[string]map[string]route{
		"/v1/health":                                get(verbHealth, s.health),
		"/v1/health/{target...}":                    get(verbHealth, s.targetHealth),
		"/v1/status":                                get(verbStatus, s.status),
		"/v1/pools":                                 get(verbStatus, s.listPools),
		"/v1/pools/{pool}":                          get(verbStatus, s.onePool),
		"/v1/workers":                               get(verbStatus, s.listWorkers),
		"/v1/workers/{pool}/{slot}":                 get(verbStatus, s.oneWorker),
		"/v1/pools/{pool}/commands/{name}":          post(verbCommand, s.command),
		"/v1/workers/{pool}/{slot}/commands/{name}": post(verbCommand, s.command),
		"/v1/workers/{pool}/{slot}/ping":            post(verbPing, s.ping),
		"/v1/pools/{pool}/ping":                     post(verbPing, s.ping),
		"/v1/pools/{pool}/start":                    post(verbStart, s.order),
		"/v1/pools/{pool}/stop":                     post(verbStop, s.order),
		"/v1/pools/{pool}/restart":                  post(verbRestart, s.order),
		"/v1/workers/{pool}/{slot}/start":           post(verbStart, s.order),
		"/v1/workers/{pool}/{slot}/stop":            post(verbStop, s.order),
		"/v1/workers/{pool}/{slot}/restart":         post(verbRestart, s.order),
		"/v1/pools/{pool}/scale":                    post(verbScale, s.scale),
		"/v1/events":                                get(verbEvents, s.events),
		"/v1/logs":                                  get(verbLogs, s.logs),
		"/v1/pools/{pool}/logs":                     get(verbLogs, s.logs),
		"/v1/workers/{pool}/{slot}/logs":            get(verbLogs, s.logs),
		"/{$}":                                      get(verbStatus, s.statusPage),
		"/openapi.json":                             get(verbVersion, s.openapi),
		"/metrics":                                  get(verbMetrics, s.metrics),
		"/v1/reload":                                post(verbReload, s.reload),
		"/v1/upgrade":                               post(verbUpgrade, s.upgrade),
		"/v1/shutdown":                              post(verbShutdown, s.shutdown),
		"/v1/whoami":                                get(verbWhoami, s.whoami),
		"/v1/version":                               get(verbVersion, s.version),
		"/{name}": {
			http.MethodGet:  {verbCommand, s.shorthand},
			http.MethodPost: {verbCommand, s.shorthand},
		},
	}
}

// reserved are pages that browsers and monitors ask for unasked.
var reserved = []string{"v1", "favicon.ico", "robots.txt"}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, methods := range s.table() {
		mux.Handle(pattern, s.page(methods))
	}
	for _, name := range reserved { // no command of this name is reached by the shorthand
		mux.Handle("/"+name, s.page(nil))
	}
	mux.Handle("/", s.page(nil))
	return oneAtATime(s.notForgedBy(s.straight(mux)))
}

// page serves one pattern: it finds who is calling and whether they may do this
// to anything at all, and runs the handler, which passes [Server.do].
func (s *Server) page(methods map[string]route) http.Handler {
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		r := &request{w: w, Request: hr, caller: callerFrom(hr.Context())}
		method := hr.Method
		route, ok := methods[method]
		if method == http.MethodHead { // of pages that only look
			route, ok = methods[http.MethodGet]
			ok = ok && minRole[route.verb] <= RoleViewer
		}
		switch {
		case methods == nil:
			s.answer(r, noPage(hr.URL.Path))
			return
		case !ok:
			w.Header().Set("Allow", allow)
			s.answer(r, failf(api.CodeBadMethod, "%s takes %s, not %s", hr.URL.Path, allow, hr.Method))
			return
		}
		r.verb = route.verb
		if rights := s.rights(r.caller); r.verb != verbWhoami && !rights.somewhere(r.verb) {
			a := ask{verb: r.verb, scope: scopePool, target: r.roughTarget(), command: r.PathValue("name")}
			s.answer(r, s.deny(r.caller, a, a, rights))
			return
		}
		if c := webFrom(hr.Context()); c != nil {
			if c.isGone() {
				panic(http.ErrAbortHandler) // evicted as the request came: nothing of it is done
			}
			if err := c.mayNow(r.verb); err != nil {
				w.Header().Set("Connection", "close")
				s.answer(r, err)
				return
			}
		}
		s.answer(r, route.handle(r))
	})
}

// noPage is said of a path that no page has.
func noPage(path string) error {
	switch _, name, ok := strings.Cut(path, "/commands/"); {
	case !ok || !strings.HasPrefix(path, "/v1/"):
		return failf(api.CodeNotFound, "there is no page %s; docs/api.md lists them", path)
	case strings.Contains(name, "/"):
		return failf(api.CodeBadRequest, "%s: a slash in the name of a command is written %%2F", path)
	default:
		return badCommand(name)
	}
}

// straight refuses paths with . and .. in them, which lead to a page that nobody
// has named. Escaped they are the name of something.
func (s *Server) straight(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		path := hr.URL.EscapedPath()
		for element := range strings.SplitSeq(path, "/") {
			if element == "." || element == ".." {
				s.answer(&request{w: w, Request: hr}, failf(api.CodeBadRequest, "%s: no page is reached by %s, and no command has that name", path, element))
				return
			}
		}
		next.ServeHTTP(w, hr)
	})
}

// roughTarget is what the path names, for the audit of what was denied before
// anybody looked closer.
func (r *request) roughTarget() supervisor.Target {
	t, err := r.pathTarget()
	if err != nil {
		t = supervisor.Target{Pool: r.PathValue("pool")}
	}
	return t
}

// answer sends an error as a problem document. A client that has gone, or an
// answer that has begun, can't be told any more.
func (s *Server) answer(r *request, err error) {
	if err == nil || r.wrote {
		return
	}
	p := problemOf(err)
	if p.Code == api.CodeInternal {
		s.cfg.Log.Error("request", "path", r.URL.Path, "error", err)
	}
	if p.Status == http.StatusServiceUnavailable {
		r.w.Header().Set("Retry-After", "1")
	}
	_ = r.send(p.Status, "application/problem+json", mustJSON(p))
}

func (r *request) json(status int, v any) error {
	return r.send(status, "application/json", mustJSON(v))
}

// send is the only writer of answers. A client that does not take one in time
// is hung up on.
func (r *request) send(status int, contentType string, body []byte) error {
	return r.sendWith("no-store", status, contentType, body)
}

func (r *request) sendWith(cache string, status int, contentType string, body []byte) error {
	r.wrote = true
	r.hurry()
	_ = http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(answerTime))
	h := r.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", cache)
	r.w.WriteHeader(status)
	_, _ = r.w.Write(body) // the client has gone, which it knows
	return nil
}

// hurry is called before the status line goes out, as net/http first reads what is
// left of a body that nobody wanted: a client that does not send it does not wait
// for ever, nor does who waits for the client.
func (r *request) hurry() {
	if r.Body != http.NoBody && !r.whole {
		_ = http.NewResponseController(r.w).SetReadDeadline(time.Now().Add(lingerTime))
	}
}

// mustJSON encodes this package's own types, and ends in a newline for people.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of package api that can't be encoded
	}
	return append(b, '\n')
}

// readBody takes the body within its limits of size and time.
func (r *request) readBody() ([]byte, error) {
	if r.ContentLength > 4*maxBody { // one that is little too long is read, so that the client hears the answer
		return nil, failf(api.CodeTooLarge, "a body may have %d bytes, this one has %d", maxBody, r.ContentLength)
	}
	ctl := http.NewResponseController(r.w)
	_ = ctl.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(r.w, r.Body, maxBody))
	// Cleared, as a later end of it would look like a client that hung up.
	_ = ctl.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, failf(api.CodeTooLarge, "a body may have %d bytes", maxBody)
	}
	if err != nil {
		return nil, failf(api.CodeBadRequest, "the body did not come whole within %v: %v", bodyTime, err)
	}
	r.whole = true
	return body, nil
}

// query reads the parameters, refusing those that the page does not have: a
// misspelt one must not pass for its absence.
func (r *request) query(known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, failf(api.CodeBadRequest, "the query %q: %v", r.URL.RawQuery, err)
	}
	for k, values := range q {
		if len(values) > 1 {
			return nil, failf(api.CodeBadRequest, "the parameter %q is there %d times", k, len(values))
		}
		if !slices.Contains(known, k) {
			return nil, failf(api.CodeBadRequest, "this page has no parameter %q; it has %s", k, list(known))
		}
	}
	return q, nil
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// duration reads a parameter such as 5s; absent is def.
func duration(q url.Values, name string, def time.Duration) (time.Duration, error) {
	text := q.Get(name)
	if text == "" {
		return def, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		return 0, failf(api.CodeBadRequest, "%s=%s: write a duration of at most %v, such as 5s or 250ms", name, text, maxWait)
	}
	return d, nil
}

// limited is the request's context, ended early by d. It ends when the client
// hangs up.
func (r *request) limited(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), d)
}

// truth reads a parameter that is true or false; absent is def.
func truth(q url.Values, name string, def bool) (bool, error) {
	switch text := q.Get(name); text {
	case "":
		return def, nil
	case "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	default:
		return false, failf(api.CodeBadRequest, "%s=%s: write true or false", name, text)
	}
}

// failf makes an error with a code of package api.
func failf(code, format string, args ...any) error {
	return &failure{api.Problem{Code: code, Detail: fmt.Sprintf(format, args...)}}
}
