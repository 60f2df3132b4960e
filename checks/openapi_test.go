package checks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestDescriptionIsValid: by a validator's word, and every page of it is one.
func TestDescriptionIsValid(t *testing.T) {
	b := run(t)
	doc := description(t, b)
	if n := len(doc.Paths.Map()); n < 25 {
		t.Errorf("%d paths", n)
	}
}

func description(t *testing.T, b *brood) *openapi3.T {
	t.Helper()
	_, text := b.ask("GET", "/openapi.json", "")
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestAnswersAreAsDescribed: a real answer of every operation, good and bad.
func TestAnswersAreAsDescribed(t *testing.T) {
	b := run(t)
	doc := description(t, b)
	asked := map[string]bool{}
	for _, tt := range []struct {
		method, path, page, body string
		header                   []string
		status                   int
	}{
		{"GET", "/v1/health", "/v1/health", "", nil, 503},
		{"GET", "/v1/health/{pool}", "/v1/health/web", "", nil, 200},
		{"GET", "/v1/health/{pool}", "/v1/health/nosuch", "", nil, 404},
		{"GET", "/v1/health/{pool}/{slot}", "/v1/health/web/1?min_ready=1", "", nil, 200},
		{"GET", "/v1/status", "/v1/status", "", nil, 200},
		{"GET", "/v1/status", "/v1/status?x=y", "", nil, 400},
		{"GET", "/v1/pools", "/v1/pools", "", nil, 200},
		{"GET", "/v1/pools/{pool}", "/v1/pools/crash", "", nil, 200},
		{"GET", "/v1/workers", "/v1/workers", "", nil, 200},
		{"GET", "/v1/workers/{pool}/{slot}", "/v1/workers/crash/1", "", nil, 200},
		{"GET", "/v1/workers/{pool}/{slot}", "/v1/workers/gone/1", "", nil, 200},
		{"GET", "/v1/workers/{pool}/{slot}", "/v1/workers/web/2%2399", "", nil, 409},
		{"POST", "/v1/pools/{pool}/commands/{name}", "/v1/pools/web/commands/echo", `["a"]`, nil, 200},
		{"POST", "/v1/pools/{pool}/commands/{name}", "/v1/pools/web/commands/stats?all=true", "", nil, 200},
		{"POST", "/v1/pools/{pool}/commands/{name}", "/v1/pools/web/commands/fail", "", nil, 500},
		{"POST", "/v1/pools/{pool}/commands/{name}", "/v1/pools/crash/commands/echo", "", nil, 503},
		{"POST", "/v1/workers/{pool}/{slot}/commands/{name}", "/v1/workers/web/1/commands/stats", "", nil, 200},
		{"POST", "/v1/workers/{pool}/{slot}/commands/{name}", "/v1/workers/web/1/commands/echo", "\xff", []string{"Content-Type", "application/octet-stream"}, 200},
		{"POST", "/v1/workers/{pool}/{slot}/commands/{name}", "/v1/workers/web/1/commands/work", `["20ms"]`, []string{"Accept", "application/x-ndjson"}, 200},
		{"POST", "/v1/workers/{pool}/{slot}/commands/{name}", "/v1/workers/web/1/commands/fail", `[]`, []string{"Accept", "application/x-ndjson"}, 200},
		{"POST", "/v1/workers/{pool}/{slot}/commands/{name}", "/v1/workers/web/1/commands/sleep?timeout=20ms", `["1h"]`, nil, 504},
		{"POST", "/v1/pools/{pool}/ping", "/v1/pools/web/ping", "", nil, 200},
		{"POST", "/v1/workers/{pool}/{slot}/ping", "/v1/workers/web/1/ping", "", nil, 200},
		{"POST", "/v1/workers/{pool}/{slot}/ping", "/v1/workers/plain/1/ping", "", nil, 404},
		{"POST", "/v1/pools/{pool}/restart", "/v1/pools/web/restart", "", nil, 202},
		{"POST", "/v1/pools/{pool}/start", "/v1/pools/web/start?wait=30s", "", nil, 200},
		{"POST", "/v1/pools/{pool}/start", "/v1/pools/crash/start?wait=30s", "", nil, 500},
		{"POST", "/v1/pools/{pool}/stop", "/v1/pools/plain/stop?wait=30s", "", nil, 200},
		{"POST", "/v1/pools/{pool}/scale", "/v1/pools/plain/scale?workers=2&wait=30s", "", nil, 200},
		{"POST", "/v1/workers/{pool}/{slot}/start", "/v1/workers/web/1/start?wait=30s", "", nil, 200},
		{"POST", "/v1/workers/{pool}/{slot}/restart", "/v1/workers/web/1/restart?wait=30s", "", nil, 200},
		{"POST", "/v1/workers/{pool}/{slot}/stop", "/v1/workers/web/2/stop?wait=30s", "", nil, 200},
		{"GET", "/v1/events", "/v1/events?last=5", "", nil, 200},
		{"GET", "/v1/logs", "/v1/logs?lines=5", "", nil, 200},
		{"GET", "/v1/pools/{pool}/logs", "/v1/pools/crash/logs", "", []string{"Accept", "application/x-ndjson"}, 200},
		{"GET", "/v1/workers/{pool}/{slot}/logs", "/v1/workers/crash/1/logs", "", nil, 200},
		{"GET", "/v1/whoami", "/v1/whoami", "", nil, 200},
		{"GET", "/v1/version", "/v1/version", "", nil, 200},
		{"GET", "/metrics", "/metrics", "", nil, 200},
		{"GET", "/openapi.json", "/openapi.json", "", nil, 200},
		{"GET", "/", "/", "", nil, 200},
		{"GET", "/{name}", "/echo", "", nil, 409},
		{"POST", "/{name}", "/echo", "[]", nil, 409},
		{"POST", "/v1/upgrade", "/v1/upgrade?wait=x", "", nil, 400},
		{"POST", "/v1/reload", "/v1/reload?dry_run=true", "", nil, 200},
		{"POST", "/v1/reload", "/v1/reload", "", nil, 500}, // crash goes on crashing
		{"POST", "/v1/shutdown", "/v1/shutdown", "", nil, 202},
	} {
		resp, body := b.ask(tt.method, tt.page, tt.body, tt.header...)
		name := tt.method + " " + tt.page
		asked[tt.method+" "+tt.path] = true
		if resp.StatusCode != tt.status && !(tt.page == "/v1/reload" && resp.StatusCode == 200) {
			t.Errorf("%s: %s: %s", name, resp.Status, body)
			continue
		}
		if err := described(doc, tt.method, tt.path, resp.StatusCode, resp.Header.Get("Content-Type"), body); err != nil {
			t.Errorf("%s: %v: %s", name, err, body)
		}
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if !asked[method+" "+path] {
				t.Errorf("%s %s was not asked", method, path)
			}
		}
	}
}

// described holds an answer against the description.
func described(doc *openapi3.T, method, path string, status int, contentType string, body []byte) error {
	item := doc.Paths.Value(path)
	if item == nil {
		return fmt.Errorf("no path %s", path)
	}
	op := item.GetOperation(method)
	if op == nil {
		return fmt.Errorf("no operation %s", method)
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return err
	}
	answer := op.Responses.Status(status)
	if answer == nil || answer.Value.Content[kind] == nil {
		answer = op.Responses.Default()
	}
	media := answer.Value.Content[kind]
	if media == nil {
		return fmt.Errorf("no answer of status %d and type %s", status, kind)
	}
	schema := media.Schema.Value
	switch {
	case kind == "application/x-ndjson":
		for line := range bytes.Lines(body) {
			if err := visit(schema, line); err != nil {
				return err
			}
		}
	case strings.HasSuffix(kind, "json"):
		return visit(schema, body)
	}
	return nil
}

// visit checks a value, and that it has no field that is not described.
func visit(schema *openapi3.Schema, text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	if err := schema.VisitJSON(v, openapi3.MultiErrors()); err != nil {
		return err
	}
	return noMore(schema, v, "")
}

func noMore(schema *openapi3.Schema, v any, at string) error {
	switch v := v.(type) {
	case map[string]any:
		if len(schema.Properties) == 0 {
			return nil // anything goes
		}
		for name, value := range v {
			p := schema.Properties[name]
			if p == nil {
				return fmt.Errorf("the field %s.%s is not described", at, name)
			}
			if err := noMore(p.Value, value, at+"."+name); err != nil {
				return err
			}
		}
	case []any:
		for i, value := range v {
			if schema.Items != nil {
				if err := noMore(schema.Items.Value, value, fmt.Sprintf("%s[%d]", at, i)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
