package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	all, err := truth(q, "all")
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
	if all {
		return s.commandAll(ctx, r, t, m)
	}
	reply, err := s.cfg.Supervisor.Call(ctx, t, r.PathValue("name"), m)
	if reply.From.Slot != 0 {
		r.w.Header().Set("Brood-Worker", reply.From.String())
	}
	if err != nil {
		return err
	}
	return r.reply(reply.Message)
}

func (r *request) reply(m ipc.Message) error {
	contentType := contentTypes[m.Codec]
	if m.Codec == ipc.CodecJSON && !json.Valid(m.Payload) {
		contentType = contentTypes[ipc.CodecBytes] // the worker's claim is not passed on as ours
	}
	return r.send(http.StatusOK, contentType, m.Payload)
}

func (s *Server) commandAll(ctx context.Context, r *request, t supervisor.Target, m ipc.Message) error {
	replies, err := s.cfg.Supervisor.CallAll(ctx, t, r.PathValue("name"), m)
	if err != nil {
		return err
	}
	out := api.Replies{Replies: make([]api.Reply, len(replies))}
	for i, a := range replies {
		out.Replies[i] = replyJSON(a)
	}
	return r.json(http.StatusOK, out)
}

func replyJSON(a supervisor.AllReply) api.Reply {
	out := api.Reply{Target: a.From.String()}
	if a.Err != nil {
		p := problemOf(a.Err)
		out.Outcome, out.Error = p.Code, p.Detail
		var ce *ipc.CallError
		if errors.As(a.Err, &ce) {
			out.Outcome, out.Started = string(ce.Outcome()), ce.Started.String()
		}
		return out
	}
	out.Outcome, out.Codec = "ok", a.Codec.String()
	switch {
	case a.Codec == ipc.CodecJSON && json.Valid(a.Payload):
		out.Result = json.RawMessage(a.Payload)
	case a.Codec == ipc.CodecText:
		out.Result = string(a.Payload)
	default:
		out.Codec, out.Result = ipc.CodecBytes.String(), a.Payload
	}
	return out
}

// shorthand is for scripts: a command to the only pool, its answer as text.
func (s *Server) shorthand(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	m, err := r.message()
	if err != nil {
		return err
	}
	ctx, cancel := r.limited(defaultCall)
	defer cancel()
	reply, err := s.cfg.Supervisor.Call(ctx, supervisor.Target{}, r.PathValue("name"), m)
	if reply.From.Slot != 0 {
		r.w.Header().Set("Brood-Worker", reply.From.String())
	}
	var ce *ipc.CallError
	if errors.As(err, &ce) && problemOf(err).Code == api.CodeError {
		_ = r.send(http.StatusInternalServerError, contentTypes[ipc.CodecText], []byte(ce.Message))
		return err // sent already; it is the audit that wants to know
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
	p, err := s.cfg.Supervisor.Ping(ctx, t)
	if err != nil {
		return err
	}
	from := p.From
	from.Generation = 0
	return r.json(http.StatusOK, api.Ping{
		Target: from.String(), Generation: p.From.Generation, PingUS: p.RTT.Microseconds(),
		Inflight: p.Inflight, OldestMS: p.OldestMS, Status: p.Status,
	})
}

// orderFunc is Start, Stop or Restart of a supervisor.
type orderFunc func(context.Context, supervisor.Target) ([]supervisor.Result, error)

// order gives an order. Without ?wait= it answers 202 at once with what is so
// far; with it, when each slot has come to what was asked, or not.
func (s *Server) order(r *request, do orderFunc) error {
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
	ctx, cancel := r.limited(wait)
	defer cancel()
	results, err := do(ctx, t)
	if err != nil {
		return err
	}
	return r.results(resultsJSON(results), wait > 0)
}

func resultsJSON(results []supervisor.Result) []api.Result {
	out := make([]api.Result, len(results))
	for i, res := range results {
		out[i] = api.Result{
			Target: res.Slot.Target().String(), Outcome: string(res.Outcome), State: string(res.Slot.State),
			Generation: res.Slot.Generation, PID: res.Slot.PID, Text: res.Text, Stderr: res.Stderr,
		}
	}
	return out
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
		return failf(api.CodeBadRequest, "workers=%s: write how many workers the pool is to have, 1 or more", q.Get("workers"))
	}
	t, err := r.pathTarget()
	if err != nil {
		return err
	}
	ctx, cancel := r.limited(wait)
	defer cancel()
	results, err := s.cfg.Supervisor.Scale(ctx, t.Pool, n)
	if err != nil {
		return err
	}
	return r.results(resultsJSON(results), wait > 0)
}

// reload answers when every pool has come to what the file says, or not.
func (s *Server) reload(r *request) error {
	q, err := r.query("dry_run", "wait")
	if err != nil {
		return err
	}
	dryRun, err := truth(q, "dry_run")
	if err != nil {
		return err
	}
	wait, err := duration(q, "wait", maxWait)
	if err != nil {
		return err
	}
	if s.cfg.Reload == nil {
		return failf(api.CodeConflict, "there is no configuration file to read again: this supervisor was started with a command")
	}
	ctx, cancel := r.limited(wait)
	defer cancel()
	changes, err := s.cfg.Reload(ctx, dryRun)
	if err != nil {
		return err
	}
	out := api.Reload{DryRun: dryRun, Changes: make([]api.Change, len(changes))}
	var failed []string
	for i, c := range changes {
		out.Changes[i] = changeJSON(c)
		if c.Failed() {
			failed = append(failed, c.Pool+": "+firstText(out.Changes[i].Results, string(supervisor.OutcomeFailed)))
		}
	}
	if len(failed) > 0 {
		return &failure{api.Problem{Code: api.CodeFailed, Changes: out.Changes,
			Detail: "these pools are as they were before: " + strings.Join(failed, "; ")}}
	}
	return r.json(http.StatusOK, out)
}

func changeJSON(c supervisor.Change) api.Change {
	out := api.Change{Pool: c.Pool, Kind: string(c.Kind), Fields: c.Fields, Results: resultsJSON(c.Results)}
	if c.Workers != [2]int{} {
		out.Workers = c.Workers[:]
	}
	return out
}

func (r *request) results(results []api.Result, waited bool) error {
	counts := map[string]int{}
	for i := range results {
		if !waited && results[i].Outcome == string(supervisor.OutcomeTimeout) {
			results[i].Outcome = "accepted"
		}
		counts[results[i].Outcome]++
	}
	failed, late := counts[string(supervisor.OutcomeFailed)], counts[string(supervisor.OutcomeTimeout)]
	switch {
	case failed > 0:
		return &failure{api.Problem{Code: api.CodeFailed, Results: results,
			Detail: fmt.Sprintf("%d of %d slots did not come to what was asked: %s", failed, len(results), firstText(results, string(supervisor.OutcomeFailed)))}}
	case late > 0:
		return &failure{api.Problem{Code: api.CodeTimeout, Results: results,
			Detail: fmt.Sprintf("%d of %d slots are not there yet: %s", late, len(results), firstText(results, string(supervisor.OutcomeTimeout)))}}
	case counts["accepted"] > 0:
		return r.json(http.StatusAccepted, api.Results{Results: results})
	}
	return r.json(http.StatusOK, api.Results{Results: results})
}

func firstText(results []api.Result, outcome string) string {
	for _, res := range results {
		if res.Outcome == outcome {
			return res.Target + ": " + res.Text
		}
	}
	return ""
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
	s.cfg.Shutdown()
	if wait == 0 {
		return r.json(http.StatusAccepted, api.Results{Results: []api.Result{}})
	}
	ctx, cancel := r.limited(wait)
	defer cancel()
	select {
	case <-s.cfg.Supervisor.Done():
		return r.json(http.StatusOK, api.Results{Results: []api.Result{}})
	case <-ctx.Done():
		return failf(api.CodeTimeout, "workers are still stopping after %v", wait)
	}
}
