package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// The pages that change something or have a worker do something.

// pathTarget is what {pool} and {slot} name. The pool "@" is the only one.
func (r *request) pathTarget() (supervisor.Target, error) {
	pool, slot := r.PathValue("pool"), r.PathValue("slot")
	switch {
	case pool == "@" && slot == "":
		return supervisor.Target{}, nil
	case pool == "@":
		return supervisor.ParseTarget("@" + slot)
	case slot == "":
		t, err := supervisor.ParseTarget(pool)
		if err == nil && t.Slot != 0 {
			return t, failf(api.CodeBadRequest, "%s is a worker, this is the page of a pool", pool)
		}
		return t, err
	}
	t, err := supervisor.ParseTarget(pool + "/" + slot)
	if err == nil && t.Slot == 0 {
		return t, failf(api.CodeBadRequest, "a worker is %s/NUMBER, got %s/%s", pool, pool, slot)
	}
	return t, err
}

// contentTypes is how each codec is named in HTTP.
var contentTypes = map[ipc.Codec]string{
	ipc.CodecBytes: "application/octet-stream",
	ipc.CodecJSON:  "application/json",
	ipc.CodecText:  "text/plain; charset=utf-8",
}

// message reads the body as a command's payload. Content-Type says which codec;
// where it says nothing of use, as with curl -d, the body speaks for itself.
func (r *request) message() (ipc.Message, error) {
	body, err := r.readBody()
	if err != nil {
		return ipc.Message{}, err
	}
	given := r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	if given != "" && err != nil {
		return ipc.Message{}, failf(api.CodeBadRequest, "Content-Type %q: %v", given, err)
	}
	isJSON := json.Valid(body)
	switch {
	case kind == "application/json" && !isJSON:
		return ipc.Message{}, failf(api.CodeBadRequest, "the body is not the JSON that Content-Type says it is")
	case kind == "application/json":
		return ipc.Message{Codec: ipc.CodecJSON, Payload: body}, nil
	case strings.HasPrefix(kind, "text/"):
		return ipc.Message{Codec: ipc.CodecText, Payload: body}, nil
	case kind != "" && kind != "application/x-www-form-urlencoded":
		return ipc.Bytes(body), nil
	case len(body) > 0 && isJSON:
		return ipc.Message{Codec: ipc.CodecJSON, Payload: body}, nil
	case len(body) > 0 && utf8.Valid(body):
		return ipc.Message{Codec: ipc.CodecText, Payload: body}, nil
	}
	return ipc.Bytes(body), nil
}

func (s *Server) command(r *request) error {
	q, err := r.query("timeout", "all")
	if err != nil {
		return err
	}
	limit, err := duration(q, "timeout", defaultCall)
	if err != nil {
		return err
	}
	all, err := truth(q, "all", false)
	if err != nil {
		return err
	}
	t, err := r.pathTarget()
	if err != nil {
		return err
	}
	m, err := r.message()
	if err != nil {
		return err
	}
	ctx, cancel := r.limited(limit)
	defer cancel()
	if r.accepts(ndjson) {
		return s.stream(r, func(emit func(api.Piece) error) error {
			return s.doStream(ctx, r.caller, t, r.PathValue("name"), m, all, emit)
		})
	}
	if all {
		out, err := s.doCommandAll(ctx, r.caller, t, r.PathValue("name"), m)
		if err != nil {
			return err
		}
		return r.json(http.StatusOK, out)
	}
	reply, err := s.doCommand(ctx, r.caller, t, r.PathValue("name"), m)
	r.tellWorker(reply.From)
	if err != nil {
		return err
	}
	return r.reply(reply.Message)
}

// tellWorker says who answered, if anybody was asked.
func (r *request) tellWorker(from supervisor.Target) {
	if from.Slot != 0 {
		r.w.Header().Set("Brood-Worker", from.String())
	}
}

func (r *request) reply(m ipc.Message) error {
	contentType := contentTypes[m.Codec]
	if m.Codec == ipc.CodecJSON && !json.Valid(m.Payload) {
		contentType = contentTypes[ipc.CodecBytes] // the worker's claim is not passed on as ours
	}
	return r.send(http.StatusOK, contentType, m.Payload)
}

// shorthand is for scripts: a command to the only pool, its answer as text.
func (s *Server) shorthand(r *request) error {
	if err := r.notByBrowser(); err != nil {
		return err
	}
	if _, err := r.query(); err != nil {
		return err
	}
	m, err := r.message()
	if err != nil {
		return err
	}
	ctx, cancel := r.limited(defaultCall)
	defer cancel()
	reply, err := s.doCommand(ctx, r.caller, supervisor.Target{}, r.PathValue("name"), m)
	r.tellWorker(reply.From)
	var ce *ipc.CallError
	if errors.As(err, &ce) && problemOf(err).Code == api.CodeError {
		return r.send(http.StatusInternalServerError, contentTypes[ipc.CodecText], []byte(ce.Message))
	}
	if err != nil {
		return err
	}
	return r.send(http.StatusOK, contentTypes[ipc.CodecText], bytes.Clone(reply.Plain()))
}

func (s *Server) ping(r *request) error {
	q, err := r.query("timeout")
	if err != nil {
		return err
	}
	limit, err := duration(q, "timeout", defaultCall)
	if err != nil {
		return err
	}
	t, err := r.pathTarget()
	if err != nil {
		return err
	}
	ctx, cancel := r.limited(limit)
	defer cancel()
	out, err := s.doPing(ctx, r.caller, t)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, out)
}

// order gives an order. Without ?wait= it answers 202 at once with what is so
// far; with it, when each slot has come to what was asked, or not.
func (s *Server) order(r *request) error {
	q, err := r.query("wait")
	if err != nil {
		return err
	}
	wait, err := duration(q, "wait", 0)
	if err != nil {
		return err
	}
	t, err := r.pathTarget()
	if err != nil {
		return err
	}
	out, err := s.doOrder(r.Context(), r.caller, r.verb, t, wait)
	if err != nil {
		return err
	}
	return r.results(out)
}

// scale gives a pool ?workers=N workers.
func (s *Server) scale(r *request) error {
	q, err := r.query("workers", "wait")
	if err != nil {
		return err
	}
	wait, err := duration(q, "wait", 0)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(q.Get("workers"))
	if err != nil || n < 1 {
		return failf(api.CodeBadRequest, "workers=%s: write how many workers the pool is to have, 1 or more; to have none, stop the pool", q.Get("workers"))
	}
	t, err := r.pathTarget()
	if err != nil {
		return err
	}
	out, err := s.doScale(r.Context(), r.caller, t, n, wait)
	if err != nil {
		return err
	}
	return r.results(out)
}

func (r *request) results(out api.Results) error {
	if isAccepted(out.Results) {
		return r.json(http.StatusAccepted, out)
	}
	return r.json(http.StatusOK, out)
}

// reload answers when every pool has come to what the file says, or not.
func (s *Server) reload(r *request) error {
	q, err := r.query("dry_run", "wait")
	if err != nil {
		return err
	}
	dryRun, err := truth(q, "dry_run", false)
	if err != nil {
		return err
	}
	wait, err := duration(q, "wait", maxWait)
	if err != nil {
		return err
	}
	out, err := s.doReload(r.Context(), r.caller, dryRun, wait)
	if err != nil {
		return err
	}
	for _, c := range out.Changes {
		if isAccepted(c.Results) {
			return r.json(http.StatusAccepted, out)
		}
	}
	return r.json(http.StatusOK, out)
}

// upgrade answers when nothing has changed; else the other brood does.
func (s *Server) upgrade(r *request) error {
	q, err := r.query("wait")
	if err != nil {
		return err
	}
	wait, err := duration(q, "wait", defaultUpgrade)
	if err != nil {
		return err
	}
	if _, err := r.readBody(); err != nil { // so that what comes next is the next request
		return err
	}
	is := said{Tongue: tongueHTTP, Owed: &owed{Before: s.cfg.Version, Close: r.Close || !r.ProtoAtLeast(1, 1)}}
	if w := webFrom(r.Context()); w != nil {
		is.Ahead = bytes.Clone(w.ahead())
	}
	out, err := s.doUpgrade(r.Context(), r.caller, wait, is)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, out)
}

// shutdown answers 202 at once; with ?wait= when no worker is left.
func (s *Server) shutdown(r *request) error {
	q, err := r.query("wait")
	if err != nil {
		return err
	}
	wait, err := duration(q, "wait", 0)
	if err != nil {
		return err
	}
	if err := s.doShutdown(r.Context(), r.caller, wait); err != nil {
		return err
	}
	status := http.StatusOK
	if wait == 0 {
		status = http.StatusAccepted
	}
	return r.json(status, api.Results{Results: []api.Result{}})
}
