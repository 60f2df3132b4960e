package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxAnswer is how much of an answer is read at most, in bytes.
	maxAnswer = 64 << 10
	// reasonWait is how long the text of a refusal may take to come.
	reasonWait = 100 * time.Millisecond
)

// HTTP is ready when a page is answered with the right status. Redirects are an
// answer as well, and not followed. It asks with GET and HTTP/1.1, on a
// connection of its own that goes through no proxy.
type HTTP struct {
	URL    string // "http://127.0.0.1:8080/healthz" or "unix:/run/app.sock:/healthz"
	Expect int    // the status; 0: any from 200 to 399
}

// ParseHTTP checks a URL.
func ParseHTTP(url string) (HTTP, error) {
	_, _, err := parseURL(url)
	return HTTP{URL: url}, err
}

// Ready is one attempt.
//
// It writes and reads the connection itself, as http.Transport has goroutines of
// its own that end some time later, and a log that a strange server could fill.
func (h HTTP) Ready(ctx context.Context) error {
	to, page, err := parseURL(h.URL)
	if err != nil {
		return err
	}
	conn, err := to.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // fails once it is closed
	defer stop()
	if err := h.ask(ctx, conn, page); err != nil {
		return fmt.Errorf("GET %s: %w", h.URL, err)
	}
	return nil
}

// ask sends the request and judges the answer. The body is nobody's to close:
// that would read it to its end, and the connection is closed anyway.
func (h HTTP) ask(ctx context.Context, conn net.Conn, page *url.URL) error {
	req := &http.Request{
		Method: http.MethodGet, URL: page, Host: page.Host, Close: true,
		Header: http.Header{"User-Agent": {"brood"}, "Accept": {"*/*"}},
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	limited := &io.LimitedReader{R: conn, N: maxAnswer}
	r := bufio.NewReader(limited)
	for {
		resp, err := http.ReadResponse(r, req)
		switch {
		case err != nil && ctx.Err() != nil: // whatever half an answer looks like
			return fmt.Errorf("no whole answer: %w", context.Cause(ctx))
		case err != nil && limited.N == 0:
			return fmt.Errorf("the header of the answer is longer than %d KiB", maxAnswer>>10)
		case err != nil:
			return brief(err)
		case resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols:
			continue // an interim answer; the limit counts them all
		case h.wants(resp.StatusCode):
			return nil
		}
		_ = conn.SetReadDeadline(time.Now().Add(reasonWait))
		return h.refused(resp)
	}
}

func (h HTTP) wants(status int) bool {
	if h.Expect != 0 {
		return status == h.Expect
	}
	return status >= 200 && status < 400
}

// refused says what the answer was, with the begin of its body, as far as that
// comes.
func (h HTTP) refused(resp *http.Response) error {
	status := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if h.Expect != 0 {
		status = fmt.Sprintf("%s, want %d", status, h.Expect)
	}
	body := make([]byte, maxWords)
	n, _ := io.ReadFull(resp.Body, body)
	if reason := words(body[:n]); reason != "" {
		return fmt.Errorf("answered %s: %s", status, reason)
	}
	return fmt.Errorf("answered %s", status)
}

// brief keeps an error, unless it repeats too much of what a server has said.
func brief(err error) error {
	switch text := err.Error(); {
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return fmt.Errorf("no whole answer before the connection was closed: %w", err)
	case len(text) > maxWords:
		return errors.New(words([]byte(text)) + "…")
	}
	return err
}
