// Package client speaks to a brood supervisor through its control socket.
//
//	c := client.New(client.DefaultPath())
//	defer c.Close()
//	reply, err := c.Call(ctx, "web/2", "flush", ipc.Args("all"))
//	switch {
//	case errors.Is(err, client.ErrNoSupervisor): …
//	case errors.Is(err, ipc.ErrLost): …
//	}
//
// A context's deadline is told to the supervisor where it can act on it: a
// command is given that time, an order is waited for that long, less a little for
// the answer to arrive; [WithLimit] gives that a time of its own, [NoWait] has an
// order not waited for. An answer is at most 64 MiB; what is streamed has no end of its own, and each of its lines is at
// most 32 MiB.
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
	"strings"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
)

// Client speaks to one socket. The zero value is not usable; see New.
type Client struct {
	path string // for people: the socket's, or ssh://…
	http *http.Client
}

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 64 << 20

// New makes a client of the socket at path. It does not connect yet.
func New(path string) *Client {
	return NewDialer(path, func(ctx context.Context) (net.Conn, error) { return dialUnix(ctx, path) })
}

// Dial is a bare connection to the socket at path, for who speaks HTTP or the
// line protocol by itself. Its errors are those of a Client.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	conn, err := dialUnix(ctx, path)
	if err != nil {
		return nil, (&Client{path: path}).connectError(ctx, err)
	}
	return conn, nil
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// NewDialer makes a client of whatever dial connects to: a tunnel to another
// machine's socket, or a test's. name is what errors call it.
func NewDialer(name string, dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{name, &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, DisableCompression: true,
	}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one that has been thought of but not sent.
type request struct {
	method, path string
	contentType  string // of the body; empty: there is none
	accept       string // empty: whatever comes
	resume       string // Last-Event-ID; empty: none
	body         []byte
}

// send sends one request. The answer is the caller's to close. One that is a
// problem is an *Error instead.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, "http://brood"+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"Content-Type": r.contentType, "Accept": r.accept, "Last-Event-ID": r.resume} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectError(ctx, err)
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		return resp, nil
	}
	defer resp.Body.Close()
	answer, err := c.readAll(ctx, resp)
	if err != nil {
		return nil, err
	}
	e := &Error{}
	if err := json.Unmarshal(answer, &e.Problem); err != nil {
		return nil, fmt.Errorf("%s from %s with a problem that is no JSON: %w", resp.Status, c.path, err)
	}
	return nil, e
}

// readAll reads an answer to its end.
func (c *Client) readAll(ctx context.Context, resp *http.Response) ([]byte, error) {
	var answer bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= maxAnswer {
		answer.Grow(int(n) + bytes.MinRead) // the end is found without growing
	}
	if _, err := answer.ReadFrom(io.LimitReader(resp.Body, maxAnswer+1)); err != nil {
		return nil, c.brokeOff(ctx, err)
	}
	if answer.Len() > maxAnswer {
		return nil, fmt.Errorf("the answer from %s is longer than %d bytes", c.path, maxAnswer)
	}
	return answer.Bytes(), nil
}

// do sends one request and returns the answer's header and body.
func (c *Client) do(ctx context.Context, r request) (http.Header, []byte, error) {
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := c.readAll(ctx, resp)
	return resp.Header, answer, err
}

// get reads a page's JSON into v. Health that is critical comes with status 503
// and is no problem document, hence no error.
func (c *Client) get(ctx context.Context, path string, v any) error {
	return c.roundTrip(ctx, http.MethodGet, path, v)
}

func (c *Client) roundTrip(ctx context.Context, method, path string, v any) error {
	_, body, err := c.do(ctx, request{method: method, path: path})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("the answer from %s is not brood's: %w", c.path, err)
	}
	return nil
}

// order is roundTrip for what changes something. No answer is no sign that nothing is
// changed: a supervisor that was held up reads what it was sent when it goes on.
func (c *Client) order(ctx context.Context, path string, v any) error {
	err := c.roundTrip(ctx, http.MethodPost, path, v)
	var answered *Error
	if errors.Is(err, ipc.ErrTimeout) && !errors.As(err, &answered) {
		return fmt.Errorf("%w; the order may still be carried out: `brood status` shows whether it was", err)
	}
	return err
}

// Status is GET /v1/status.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var st api.Status
	return st, c.get(ctx, "/v1/status", &st)
}

// StatusBrief is Status without what each worker can be sent, which is half of a
// long one.
func (c *Client) StatusBrief(ctx context.Context) (api.Status, error) {
	var st api.Status
	return st, c.get(ctx, "/v1/status?commands=false", &st)
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
// deadline, or with [NoWait], it does not wait. Results come with the error, too, where a slot
// did not come to what was asked.
func (c *Client) Order(ctx context.Context, verb, target string) ([]api.Result, error) {
	var r api.Results
	err := c.order(ctx, targetPath(target)+"/"+verb+timeLeft(ctx, "wait"), &r)
	var e *Error
	if errors.As(err, &e) {
		return e.Results, err
	}
	return r.Results, err
}

// Scale is POST /v1/pools/{pool}/scale. It waits as Order does.
func (c *Client) Scale(ctx context.Context, pool string, n int) ([]api.Result, error) {
	var r api.Results
	err := c.order(ctx, targetPath(pool)+"/scale"+timeLeft(ctx, "wait", fmt.Sprintf("workers=%d", n)), &r)
	var e *Error
	if errors.As(err, &e) {
		return e.Results, err
	}
	return r.Results, err
}

// Reload is POST /v1/reload. It waits as Order does. Changes come with the error,
// too, where a pool went back to what it was.
func (c *Client) Reload(ctx context.Context, dryRun bool) ([]api.Change, error) {
	query := []string{fmt.Sprintf("dry_run=%t", dryRun)}
	if _, limited := ctx.Deadline(); !limited {
		ctx = NoWait(ctx) // else it would be the API's hour
	}
	var r api.Reload
	path := "/v1/reload" + timeLeft(ctx, "wait", query...)
	var err error
	if dryRun { // nothing is carried out
		err = c.roundTrip(ctx, http.MethodPost, path, &r)
	} else {
		err = c.order(ctx, path, &r)
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Changes, err
	}
	return r.Changes, err
}

// Upgrade is POST /v1/upgrade: the supervisor is replaced by its program as it
// is on disk now, which answers; its workers go on. It is tried until ctx ends, or
// for a minute where that has no deadline. After an error that is an *Error nothing
// has changed.
func (c *Client) Upgrade(ctx context.Context) (api.Upgrade, error) {
	var u api.Upgrade
	return u, c.order(ctx, "/v1/upgrade"+timeLeft(ctx, "wait"), &u)
}

// Shutdown is POST /v1/shutdown. It waits as Order does.
func (c *Client) Shutdown(ctx context.Context) error {
	var r api.Results
	return c.order(ctx, "/v1/shutdown"+timeLeft(ctx, "wait"), &r)
}

// Reply is a worker's answer to a command.
type Reply struct {
	Worker string // web/2#7
	ipc.Message
}

// Call sends a command to one worker of target and returns its answer.
func (c *Client) Call(ctx context.Context, target, command string, m ipc.Message) (Reply, error) {
	header, body, err := c.do(ctx, request{
		method: http.MethodPost, path: commandPath(target, command) + timeLeft(ctx, "timeout"),
		contentType: contentType(m.Codec), body: m.Payload,
	})
	if err != nil {
		return Reply{}, err
	}
	return Reply{header.Get("Brood-Worker"), ipc.Message{Codec: codecOf(header.Get("Content-Type")), Payload: body}}, nil
}

// CallAll sends a command to every worker of target.
func (c *Client) CallAll(ctx context.Context, target, command string, m ipc.Message) ([]api.Reply, error) {
	_, body, err := c.do(ctx, request{
		method: http.MethodPost, path: allPath(ctx, target, command),
		contentType: contentType(m.Codec), body: m.Payload,
	})
	if err != nil {
		return nil, err
	}
	var r api.Replies
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("the answer from %s is not brood's: %w", c.path, err)
	}
	return r.Replies, nil
}
