package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
)

// What comes bit by bit. Every function here calls its caller's function on the
// caller's own goroutine, in order, and ends with the error that it returns.

// maxLine bounds one line of a stream, in bytes: a message of 16 MiB as base64,
// and what is around it.
const maxLine = 32 << 20

// Events is GET /v1/events: what has happened after event number since. Where
// that is nothing, it waits for something for as long as wait. target may be
// empty, for all. To go on, ask with the answer's Next.
func (c *Client) Events(ctx context.Context, since uint64, wait time.Duration, target string) (api.Events, error) {
	q := url.Values{"since": {strconv.FormatUint(since, 10)}}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	if target != "" {
		q.Set("target", target)
	}
	var e api.Events
	return e, c.get(ctx, "/v1/events?"+q.Encode(), &e)
}

// FollowEvents calls each with every event after number since, those that are
// there and those to come, until ctx ends or the supervisor goes, which is
// ErrBrokeOff. To go on then, call it again with the Next of the last that has an
// event. Of what it is called with, either Events has one, or Missed says how many
// are no longer kept that would come here.
func (c *Client) FollowEvents(ctx context.Context, since uint64, target string, each func(api.Events) error) error {
	path := "/v1/events"
	if target != "" {
		path += "?" + url.Values{"target": {target}}.Encode()
	}
	r := request{method: http.MethodGet, path: path, accept: "text/event-stream", resume: strconv.FormatUint(since, 10)}
	return c.lines(ctx, r, "text/event-stream", func(line []byte) error {
		// WHATWG HTML, 9.2.6. The data has it all, so id and event are passed over.
		data, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			return nil
		}
		var e struct {
			api.Event
			Missed uint64 `json:"missed"`
		}
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("an event from %s is not brood's: %w", c.path, err)
		}
		switch {
		case e.Missed > 0:
			return each(api.Events{Missed: e.Missed})
		case e.Seq == 0:
			return nil
		}
		return each(api.Events{Events: []api.Event{e.Event}, Next: e.Seq})
	})
}

// Logs is GET …/logs: the last lines of target's output, which may be empty for
// all workers, and with follow what comes after them, until ctx ends or the
// supervisor goes, which is ErrBrokeOff. A line that only counts what was
// dropped has no text.
func (c *Client) Logs(ctx context.Context, target string, lines int, follow bool, each func(api.LogLine) error) error {
	path := "/v1"
	if target != "" && target != "*" {
		path = targetPath(target)
	}
	path += fmt.Sprintf("/logs?lines=%d&follow=%t", lines, follow)
	r := request{method: http.MethodGet, path: path, accept: ndjson}
	err := c.lines(ctx, r, ndjson, func(b []byte) error {
		var line api.LogLine
		if err := json.Unmarshal(b, &line); err != nil {
			return fmt.Errorf("a line of the log from %s is not brood's: %w", c.path, err)
		}
		return each(line)
	})
	if !follow && errors.Is(err, ErrBrokeOff) && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

const ndjson = "application/x-ndjson"

// lines sends r and calls each with every line of the answer that is not empty.
// An answer that ends is ErrBrokeOff wrapping io.EOF; whether it should have
// ended is the caller's to know.
func (c *Client) lines(ctx context.Context, r request, want string, each func([]byte) error) error {
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, want) {
		body, err := c.readAll(ctx, resp)
		if err != nil {
			return err
		}
		return &wholeAnswer{resp.Header, body, fmt.Sprintf("%s does not stream: it answered %s with %s; is it an older brood?", c.path, got, resp.Status)}
	}
	scan := bufio.NewScanner(resp.Body)
	scan.Buffer(make([]byte, 0, 4096), maxLine)
	for scan.Scan() {
		if len(scan.Bytes()) == 0 {
			continue
		}
		if err := each(scan.Bytes()); err != nil {
			return err
		}
	}
	if err := scan.Err(); err != nil {
		return c.brokeOff(ctx, err)
	}
	return c.brokeOff(ctx, io.EOF)
}

// CallStream sends a command to one worker of target, calls each with every
// piece of the answer, and returns the answer's end: the reply whose payload is
// what came with it, or the error. An error of each cancels the command.
func (c *Client) CallStream(ctx context.Context, target, command string, m ipc.Message, each func(api.Piece) error) (Reply, error) {
	r := request{
		method: http.MethodPost, path: commandPath(target, command) + timeLeft(ctx, "timeout"),
		contentType: contentType(m.Codec), accept: ndjson, body: m.Payload,
	}
	var last *api.Piece
	err := c.pieces(ctx, r, func(p api.Piece) error {
		if p.Outcome != "" {
			last = &p
			return nil
		}
		return each(p)
	})
	var whole *wholeAnswer
	switch {
	case errors.As(err, &whole):
		return Reply{whole.header.Get("Brood-Worker"), ipc.Message{Codec: codecOf(whole.header.Get("Content-Type")), Payload: whole.body}}, nil
	case last == nil:
		return Reply{}, err // it ended before its end
	}
	return replyOf(*last)
}

// CallAllStream sends a command to every worker of target and calls each with
// every piece of their answers, mixed, and with one last piece of each worker,
// which has an Outcome. The error says only whether all of that came.
func (c *Client) CallAllStream(ctx context.Context, target, command string, m ipc.Message, each func(api.Piece) error) error {
	err := c.pieces(ctx, request{
		method: http.MethodPost, path: allPath(ctx, target, command),
		contentType: contentType(m.Codec), accept: ndjson, body: m.Payload,
	}, each)
	var whole *wholeAnswer
	switch {
	case errors.As(err, &whole):
		return wholeReplies(whole.body, each)
	case errors.Is(err, ErrBrokeOff) && errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// wholeReplies is an answer of ?all=true that did not come in pieces.
func wholeReplies(body []byte, each func(api.Piece) error) error {
	var all struct {
		Replies []struct {
			api.Reply
			Result api.Raw `json:"result"`
		} `json:"replies"`
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("the answer is not brood's: %w", err)
	}
	for _, r := range all.Replies {
		p := api.Piece{Worker: r.Target, Outcome: r.Outcome, Codec: r.Codec, Result: r.Result}
		if r.Outcome != "ok" {
			p.Problem = &api.Problem{Code: r.Outcome, Detail: r.Reply.Error, Worker: r.Target, Started: r.Started}
		}
		if err := each(p); err != nil {
			return err
		}
	}
	return nil
}

// wholeAnswer is one that came all at once though a stream was asked for: from
// a supervisor that has no streams.
type wholeAnswer struct {
	header http.Header
	body   []byte
	text   string
}

func (e *wholeAnswer) Error() string { return e.text }

func (c *Client) pieces(ctx context.Context, r request, each func(api.Piece) error) error {
	return c.lines(ctx, r, ndjson, func(b []byte) error {
		var p api.Piece
		if err := json.Unmarshal(b, &p); err != nil {
			return fmt.Errorf("a piece from %s is not brood's: %w", c.path, err)
		}
		return each(p)
	})
}

// replyOf is a command's end as the other calls return it.
func replyOf(p api.Piece) (Reply, error) {
	if p.Problem != nil {
		return Reply{Worker: p.Worker}, &Error{*p.Problem}
	}
	if p.Outcome != "ok" {
		return Reply{Worker: p.Worker}, &Error{api.Problem{Code: p.Outcome, Detail: p.Outcome, Worker: p.Worker}}
	}
	m, err := message(p.Codec, p.Result)
	return Reply{p.Worker, m}, err
}

// Payload is what a piece carries, as the worker sent it: the Data, or the
// Result of a last piece.
func Payload(p api.Piece) (ipc.Message, error) {
	if p.Outcome != "" {
		return message(p.Codec, p.Result)
	}
	return message(p.Codec, p.Data)
}

func message(codec string, raw api.Raw) (ipc.Message, error) {
	m := ipc.Message{Codec: ipc.CodecBytes}
	switch codec {
	case "json":
		return ipc.Message{Codec: ipc.CodecJSON, Payload: raw}, nil
	case "text":
		m.Codec = ipc.CodecText
	}
	if len(raw) == 0 || string(raw) == "null" {
		return m, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return m, fmt.Errorf("a payload of %s that is no JSON string: %w", codec, err)
	}
	m.Payload = []byte(text)
	if m.Codec == ipc.CodecText {
		return m, nil
	}
	var err error
	if m.Payload, err = base64.StdEncoding.DecodeString(text); err != nil {
		return m, fmt.Errorf("a payload of bytes that is no base64: %w", err)
	}
	return m, nil
}
