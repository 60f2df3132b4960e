package control

import (
	"bytes"
	"fmt"
	"strconv"

	"example.com/brood/supervisor/control/api"
)

// What net/http itself refuses, as it can't be read, never comes to a handler: it
// writes a line of text to the connection. Here that becomes a problem document as
// all others are.

// ownHeaders are between status line and text of such an answer, and of no other.
var ownHeaders = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// Write sends b, or the problem that it is the text of. When Read has told net/http
// to let go there is nothing to be said: of a request line that has come in part
// it says that it is malformed.
func (w *webConn) Write(b []byte) (int, error) {
	if w.over.Load() != webOpen {
		return len(b), nil
	}
	if p := problemInstead(b); p != nil {
		if _, err := w.send(p); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return w.send(b)
}

// problemInstead is nil for what is no refusal of net/http's own.
func problemInstead(b []byte) []byte {
	const begin, digits = "HTTP/1.1 ", 3
	if len(b) < len(begin)+digits || string(b[:len(begin)]) != begin || b[len(begin)] < '4' {
		return nil
	}
	first, text, own := bytes.Cut(b, ownHeaders)
	status, err := strconv.Atoi(string(b[len(begin) : len(begin)+digits]))
	if !own || err != nil {
		return nil
	}
	p := api.Problem{Code: api.CodeBadRequest, Detail: "the request can't be read as HTTP/1.1: " + string(text)}
	if status == 431 || status == 413 {
		p.Code, p.Detail = api.CodeTooLarge, fmt.Sprintf("a header may have %d bytes", maxHeader)
	}
	p.Type, p.Title, p.Status = "urn:brood:problem:"+p.Code, problems[p.Code].title, status
	body := mustJSON(p)
	return fmt.Appendf(nil, "%s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", first, len(body), body)
}
