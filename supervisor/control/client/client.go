// Package client speaks to a brood supervisor through its control socket.
//
//	c := client.New(client.DefaultPath())
//	reply, err := c.Call(ctx, "web/2", "flush", ipc.Args("all"))
//	switch {
//	case errors.Is(err, client.ErrNoSupervisor): …
//	case errors.Is(err, ipc.ErrLost): …
//	}
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
)

// Errors of every method, beside those of the API, which are *[Error].
var (
	// ErrNoSupervisor: nobody serves the socket.
	ErrNoSupervisor = errors.New("no supervisor")
	// ErrDenied: the file mode, or the supervisor, does not let this user in.
	ErrDenied = errors.New("permission denied")
	// ErrNotFound: no such pool, worker, command or page.
	ErrNotFound = errors.New("not found")
)

// Error is a problem that the supervisor answered with. errors.Is matches it
// with the outcome of the same code in package ipc, with ErrDenied and with
// ErrNotFound.
type Error struct{ api.Problem }

func (e *Error) Error() string { return e.Detail }

// Is compares codes.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrDenied:
		return e.Code == api.CodeDenied
	case ErrNotFound:
		return e.Code == api.CodeNotFound
	}
	code, ok := target.(ipc.Code)
	return ok && string(code) == e.Code
}

// Client speaks to one socket. The zero value is not usable; see New.
type Client struct {
	path string
	http *http.Client
}

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 64 << 20

// New makes a client of the socket at path. It does not connect yet.
func New(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{path, &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do sends one request and returns the answer's header and body. An answer that
// is a problem is an *Error.
func (c *Client) do(ctx context.Context, method, path string, contentType string, body []byte) (http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://brood"+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, c.connectError(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, fmt.Errorf("the answer from %s broke off: %w", c.path, err)
	}
	if len(answer) > maxAnswer {
		return nil, nil, fmt.Errorf("the answer from %s is longer than %d bytes", c.path, maxAnswer)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		e := &Error{}
		if err := json.Unmarshal(answer, &e.Problem); err != nil {
			return nil, nil, fmt.Errorf("%s from %s with a problem that is no JSON: %w", resp.Status, c.path, err)
		}
		return resp.Header, answer, e
	}
	return resp.Header, answer, nil
}

// connectError says which of the usual cases it is and what to do about it.
func (c *Client) connectError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: no answer from %s in time", ipc.ErrTimeout, c.path)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w: this user may not connect to %s; ask for the file's group, or use the user that runs brood", ErrDenied, c.path)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: there is no socket %s; start one with `brood run`, or name another with --socket", ErrNoSupervisor, c.path)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK), errors.Is(err, syscall.EPROTOTYPE):
		return fmt.Errorf("%w: nobody listens on %s any more; start one with `brood run`", ErrNoSupervisor, c.path)
	}
	return fmt.Errorf("speaking to %s: %w", c.path, err)
}

// get reads a page's JSON into v. Health that is critical comes with status 503
// and is no problem document, hence no error.
func (c *Client) get(ctx context.Context, path string, v any) error {
	return c.roundTrip(ctx, http.MethodGet, path, v)
}

func (c *Client) roundTrip(ctx context.Context, method, path string, v any) error {
	_, body, err := c.do(ctx, method, path, "", nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("the answer from %s is not brood's: %w", c.path, err)
	}
	return nil
}

// Status is GET /v1/status.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var st api.Status
	return st, c.get(ctx, "/v1/status", &st)
}

// Health is GET /v1/health; target may be empty, minReady 0.
func (c *Client) Health(ctx context.Context, target string, minReady int) (api.Health, error) {
	path := "/v1/health"
	if target != "" {
		path += "/" + escapeTarget(target)
	}
	if minReady > 0 {
		path += fmt.Sprintf("?min_ready=%d", minReady)
	}
	var h api.Health
	return h, c.get(ctx, path, &h)
}

// Pool is GET /v1/pools/{pool}.
func (c *Client) Pool(ctx context.Context, pool string) (api.Pool, error) {
	var p api.Pool
	return p, c.get(ctx, targetPath(pool), &p)
}

// Worker is GET /v1/workers/{pool}/{slot}.
func (c *Client) Worker(ctx context.Context, target string) (api.Worker, error) {
	var w api.Worker
	return w, c.get(ctx, targetPath(target), &w)
}

// Whoami is GET /v1/whoami.
func (c *Client) Whoami(ctx context.Context) (api.Whoami, error) {
	var w api.Whoami
	return w, c.get(ctx, "/v1/whoami", &w)
}

// Version is GET /v1/version.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	var v api.Version
	return v, c.get(ctx, "/v1/version", &v)
}

// Ping is POST /v1/workers/{pool}/{slot}/ping.
func (c *Client) Ping(ctx context.Context, target string) (api.Ping, error) {
	var p api.Ping
	return p, c.roundTrip(ctx, http.MethodPost, targetPath(target)+"/ping"+timeLeft(ctx, "timeout"), &p)
}

// Order is POST …/{start,stop,restart}. It waits until ctx ends; without a
// deadline it does not wait. Results come with the error, too, where a slot
// did not come to what was asked.
func (c *Client) Order(ctx context.Context, verb, target string) ([]api.Result, error) {
	var r api.Results
	err := c.roundTrip(ctx, http.MethodPost, targetPath(target)+"/"+verb+timeLeft(ctx, "wait"), &r)
	var e *Error
	if errors.As(err, &e) {
		return e.Results, err
	}
	return r.Results, err
}

// Scale is POST /v1/pools/{pool}/scale. It waits as Order does.
func (c *Client) Scale(ctx context.Context, pool string, n int) ([]api.Result, error) {
	var r api.Results
	err := c.roundTrip(ctx, http.MethodPost, targetPath(pool)+"/scale"+timeLeft(ctx, "wait", fmt.Sprintf("workers=%d", n)), &r)
	var e *Error
	if errors.As(err, &e) {
		return e.Results, err
	}
	return r.Results, err
}

// Reload is POST /v1/reload. Changes come with the error, too, where a pool
// went back to what it was.
func (c *Client) Reload(ctx context.Context, dryRun bool) ([]api.Change, error) {
	var r api.Reload
	err := c.roundTrip(ctx, http.MethodPost, "/v1/reload"+timeLeft(ctx, "wait", fmt.Sprintf("dry_run=%t", dryRun)), &r)
	var e *Error
	if errors.As(err, &e) {
		return e.Changes, err
	}
	return r.Changes, err
}

// Shutdown is POST /v1/shutdown. It waits as Order does.
func (c *Client) Shutdown(ctx context.Context) error {
	var r api.Results
	return c.roundTrip(ctx, http.MethodPost, "/v1/shutdown"+timeLeft(ctx, "wait"), &r)
}

// Reply is a worker's answer to a command.
type Reply struct {
	Worker string // web/2#7
	ipc.Message
}

// Call sends a command to one worker of target and returns its answer.
func (c *Client) Call(ctx context.Context, target, command string, m ipc.Message) (Reply, error) {
	header, body, err := c.do(ctx, http.MethodPost, commandPath(target, command)+timeLeft(ctx, "timeout"), contentType(m.Codec), m.Payload)
	if err != nil {
		return Reply{}, err
	}
	return Reply{header.Get("Brood-Worker"), ipc.Message{Codec: codecOf(header.Get("Content-Type")), Payload: body}}, nil
}

// CallAll sends a command to every worker of target.
func (c *Client) CallAll(ctx context.Context, target, command string, m ipc.Message) ([]api.Reply, error) {
	query := timeLeft(ctx, "timeout", "all=true")
	pool := strings.TrimSuffix(target, "/*")
	_, body, err := c.do(ctx, http.MethodPost, commandPath(pool, command)+query, contentType(m.Codec), m.Payload)
	if err != nil {
		return nil, err
	}
	var r api.Replies
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("the answer from %s is not brood's: %w", c.path, err)
	}
	return r.Replies, nil
}

// answerLead is how much earlier than the client the supervisor gives up, so
// that its answer, which says more, still arrives.
const answerLead = 100 * time.Millisecond

// timeLeft is a query of the parameters given and, where ctx has a deadline,
// that under the name; "" without either.
func timeLeft(ctx context.Context, name string, more ...string) string {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		left = max(left-answerLead, left/2, time.Millisecond)
		more = append(more, name+"="+left.Round(time.Millisecond).String())
	}
	if len(more) == 0 {
		return ""
	}
	return "?" + strings.Join(more, "&")
}

// targetPath is where the API has a target.
func targetPath(target string) string {
	text := strings.TrimPrefix(target, "@")
	pool, slot, hasSlot := strings.Cut(text, "/")
	if !hasSlot && text != target && text != "" && strings.Trim(text, "0123456789") == "" {
		pool, slot, hasSlot = "@", text, true
	}
	if !hasSlot || slot == "*" {
		return "/v1/pools/" + url.PathEscape(pool) // ".." and the like are refused by ParseTarget on either side
	}
	return "/v1/workers/" + url.PathEscape(pool) + "/" + url.PathEscape(slot)
}

func commandPath(target, command string) string {
	return targetPath(target) + "/commands/" + url.PathEscape(command)
}

func escapeTarget(target string) string {
	return strings.ReplaceAll(url.PathEscape(target), "%2F", "/")
}

func contentType(c ipc.Codec) string {
	switch c {
	case ipc.CodecJSON:
		return "application/json"
	case ipc.CodecText:
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

func codecOf(contentType string) ipc.Codec {
	switch {
	case strings.HasPrefix(contentType, "application/json"):
		return ipc.CodecJSON
	case strings.HasPrefix(contentType, "text/"):
		return ipc.CodecText
	}
	return ipc.CodecBytes
}
