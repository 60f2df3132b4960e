package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// The pages whose answer goes on: events, logs, and commands whose answer comes
// in pieces.

const (
	ndjson      = "application/x-ndjson"
	eventStream = "text/event-stream"
)

// accepts reports whether the client has asked for a content type by name.
func (r *request) accepts(contentType string) bool {
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(name), contentType) {
				return true
			}
		}
	}
	return false
}

// open begins an answer that goes on. What is written is sent by flush.
func (r *request) open(contentType string) {
	if r.wrote {
		return
	}
	r.wrote = true
	r.hurry()
	h := r.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx passes it on as it comes
	r.w.WriteHeader(http.StatusOK)
}

// flush writes a part of an answer. A client that does not take it in time is hung
// up on.
func (r *request) flush(part []byte) error {
	ctl := http.NewResponseController(r.w)
	_ = ctl.SetWriteDeadline(time.Now().Add(answerTime))
	if _, err := r.w.Write(part); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if err := ctl.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// goesOn ends an answer that has gone on: to a client who has gone there is
// nothing more to say.
func goesOn(r *request, err error) error {
	if r.wrote && (err == nil || errors.Is(err, errGone) || errors.Is(err, errHeld) || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

func (s *Server) events(r *request) error {
	q, err := r.query("since", "last", "wait", "target")
	if err != nil {
		return err
	}
	wait, err := duration(q, "wait", 0)
	if err != nil {
		return err
	}
	want, err := r.eventQuery(q)
	if err != nil {
		return err
	}
	if !r.accepts(eventStream) {
		out, err := s.doEvents(r.Context(), r.caller, want, wait)
		if err != nil {
			return err
		}
		return r.json(http.StatusOK, out)
	}
	return goesOn(r, s.followEvents(r.Context(), r.caller, want, func(e api.Events) error {
		first := !r.wrote
		r.open(eventStream)
		if r.Method == http.MethodHead {
			return errGone
		}
		return r.flush(eventStreamOf(e, first))
	}))
}

func (r *request) eventQuery(q url.Values) (out eventQuery, err error) {
	out.last, out.all = -1, !q.Has("target")
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		q.Set("since", id)
		q.Del("last")
	}
	if text := q.Get("since"); text != "" {
		if out.since, err = strconv.ParseUint(text, 10, 64); err != nil {
			return out, failf(api.CodeBadRequest, "since=%s: write the next of the answer before, or 0", text)
		}
	}
	if text := q.Get("last"); text != "" {
		if out.last, err = strconv.Atoi(text); err != nil || out.last < 0 {
			return out, failf(api.CodeBadRequest, "last=%s: write how many of the last events to begin with", text)
		}
		if q.Has("since") {
			return out, failf(api.CodeBadRequest, "since and last: give one of them")
		}
	}
	if !out.all {
		out.target, err = supervisor.ParseTarget(q.Get("target"))
	}
	return out, err
}

// eventStreamOf is events as messages of an event stream; none is a comment, which
// says that this end is there.
func eventStreamOf(e api.Events, first bool) []byte {
	var b []byte
	if first {
		b = append(b, "retry: 1000\n\n"...) // milliseconds until a browser tries again
	} else if len(e.Events) == 0 && e.Missed == 0 {
		b = append(b, ":\n\n"...)
	}
	if e.Missed > 0 {
		b = fmt.Appendf(b, "event: missed\ndata: %s\n", mustJSON(missed{e.Missed})) // which ends in a newline
		b = append(b, '\n')
	}
	for _, ev := range e.Events {
		b = fmt.Appendf(b, "id: %d\nevent: %s\ndata: %s\n", ev.Seq, ev.Kind, mustJSON(ev)) // which ends in a newline
		b = append(b, '\n')
	}
	return b
}

// defaultLines is ?lines= of logs.
const defaultLines = 100

func (s *Server) logs(r *request) error {
	q, err := r.query("lines", "follow")
	if err != nil {
		return err
	}
	follow, err := truth(q, "follow", false)
	if err != nil {
		return err
	}
	lines := defaultLines
	if text := q.Get("lines"); text != "" {
		if lines, err = strconv.Atoi(text); err != nil || lines < 0 {
			return failf(api.CodeBadRequest, "lines=%s: write how many of the last lines to begin with", text)
		}
	}
	all := r.PathValue("pool") == ""
	var t supervisor.Target
	if !all {
		if t, err = r.pathTarget(); err != nil {
			return err
		}
	}
	contentType, encode := contentTypes[ipc.CodecText], logText(t.Slot == 0)
	if r.accepts(ndjson) {
		contentType, encode = ndjson, logNDJSON
	}
	if !follow {
		out, err := s.doLogs(r.caller, t, all, lines)
		if err != nil {
			return err
		}
		return r.send(http.StatusOK, contentType, encode(out))
	}
	return goesOn(r, s.followLogs(r.Context(), r.caller, t, all, lines, func(lines []supervisor.LogLine) error {
		r.open(contentType)
		return r.flush(encode(lines))
	}))
}

func logNDJSON(lines []supervisor.LogLine) (b []byte) {
	for _, l := range lines {
		b = append(b, mustJSON(lineJSON(l))...)
	}
	return b
}

// logText writes lines as they were printed, of several workers behind the names of
// these.
func logText(several bool) func([]supervisor.LogLine) []byte {
	return func(lines []supervisor.LogLine) (b []byte) {
		for _, l := range lines {
			if several {
				b = append(append(b, l.Target().String()...), " | "...)
			}
			if l.Dropped > 0 {
				b = fmt.Appendf(b, "[brood: %d lines are missing here: they were not read fast enough]\n", l.Dropped)
				continue
			}
			b = append(append(b, l.Text...), '\n')
		}
		return b
	}
}

// stream answers a command line by line.
func (s *Server) stream(r *request, do func(emit func(api.Piece) error) error) error {
	err := do(func(p api.Piece) error {
		r.open(ndjson)
		return r.flush(pieceLine(p))
	})
	var told *toldError
	if errors.As(err, &told) {
		return nil
	}
	return goesOn(r, err)
}

func pieceLine(p api.Piece) []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // values are made by value, which looks
	}
	return append(b, '\n')
}
