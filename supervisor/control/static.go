package control

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
)

// The pages that are files: the description of the API, and the status page.

//go:embed openapi.json
var openapiFile []byte

//go:embed page.html
var pageFile []byte

// static is a file with the mark of its content.
type static struct {
	body        []byte
	contentType string
	tag         func() string // made when it is asked for first: a client of this package's has no use for it
}

func newStatic(body []byte, contentType string) *static {
	return &static{body, contentType, sync.OnceValue(func() string {
		sum := sha256.Sum256(body)
		return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	})}
}

var (
	openapiStatic = newStatic(openapiFile, "application/json")
	pageStatic    = newStatic(pageFile, "text/html; charset=utf-8")
)

// serve answers with the file, or says that the client has it already.
func (f *static) serve(r *request) error {
	if _, err := r.query(); err != nil {
		return err
	}
	h := r.w.Header()
	h.Set("ETag", f.tag())
	if matches(r.Header.Get("If-None-Match"), f.tag()) {
		r.wrote = true
		h.Set("Cache-Control", "no-cache")
		r.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return r.sendWith("no-cache", http.StatusOK, f.contentType, f.body)
}

// matches compares weakly, as RFC 9110 wants it of If-None-Match.
func matches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == tag || part == "*" {
			return true
		}
	}
	return false
}

func (s *Server) openapi(r *request) error {
	return s.do(r.caller, ask{verb: verbVersion}, func() error { return openapiStatic.serve(r) })
}

// contentPolicy lets the page have the script and the style that are in it, known by
// their hashes, and speak to where it comes from. Nothing that comes from a worker
// could be run, even if it were shown as markup.
var contentPolicy = sync.OnceValue(func() string {
	return "default-src 'none'; script-src " + hashOf("script") + "; style-src " + hashOf("style") +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
})

// hashOf is that of the only element of a name.
func hashOf(name string) string {
	_, rest, _ := strings.Cut(string(pageFile), "<"+name+">")
	text, _, _ := strings.Cut(rest, "</"+name+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (s *Server) statusPage(r *request) error {
	return s.do(r.caller, ask{verb: verbStatus, scope: scopeSeen}, func() error {
		h := r.w.Header()
		h.Set("Content-Security-Policy", contentPolicy())
		h.Set("Referrer-Policy", "no-referrer")
		return pageStatic.serve(r)
	})
}
