package control

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// openapi.json is made here: the pages by the table below, the types by the source
// of package api. Module checks holds it against a validator and real answers.

var update = flag.Bool("update", false, "write openapi.json anew")

//go:generate go test . -run TestOpenAPIFile -update

type object = map[string]any

// page is one operation of the document.
type page struct {
	method, path, summary string
	params                []string // by their names in params
	body                  string   // of the request: "command" or ""
	answers               object   // status: type of package api, or a content type
}

var (
	orderAnswers = object{"200": "Results", "202": "Results"}
	callAnswers  = object{"200": "command"}
)

var pages = []page{
	{"GET", "/v1/health", "The health of all pools that the caller may see. 503 when critical.", []string{"min_ready"}, "", object{"200": "Health", "503": "Health"}},
	{"GET", "/v1/health/{pool}", "The health of a pool.", []string{"pool", "min_ready"}, "", object{"200": "Health", "503": "Health"}},
	{"GET", "/v1/health/{pool}/{slot}", "The health of one worker.", []string{"pool", "slot", "min_ready"}, "", object{"200": "Health", "503": "Health"}},
	{"GET", "/v1/status", "Everything.", []string{"commands"}, "", object{"200": "Status"}},
	{"GET", "/v1/pools", "The pools, without their workers.", nil, "", object{"200": "Pools"}},
	{"GET", "/v1/pools/{pool}", "A pool and its workers.", []string{"pool"}, "", object{"200": "Pool"}},
	{"GET", "/v1/workers", "All workers.", nil, "", object{"200": "Workers"}},
	{"GET", "/v1/workers/{pool}/{slot}", "A worker, with how the processes in its slot have ended.", []string{"pool", "slot"}, "", object{"200": "Worker"}},
	{"POST", "/v1/pools/{pool}/commands/{name}", "Send a command to the least busy ready worker of a pool, or to all.", []string{"pool", "name", "timeout", "all"}, "command", callAnswers},
	{"POST", "/v1/workers/{pool}/{slot}/commands/{name}", "Send a command to a worker.", []string{"pool", "slot", "name", "timeout", "all"}, "command", callAnswers},
	{"POST", "/v1/pools/{pool}/ping", "The round trip to the first ready worker.", []string{"pool", "timeout"}, "", object{"200": "Ping"}},
	{"POST", "/v1/workers/{pool}/{slot}/ping", "The round trip to a worker.", []string{"pool", "slot", "timeout"}, "", object{"200": "Ping"}},
	{"POST", "/v1/pools/{pool}/start", "Have the workers up.", []string{"pool", "wait"}, "", orderAnswers},
	{"POST", "/v1/pools/{pool}/stop", "Have the workers down.", []string{"pool", "wait"}, "", orderAnswers},
	{"POST", "/v1/pools/{pool}/restart", "Replace the workers, one after the other.", []string{"pool", "wait"}, "", orderAnswers},
	{"POST", "/v1/pools/{pool}/scale", "Give the pool another number of workers.", []string{"pool", "workers", "wait"}, "", orderAnswers},
	{"POST", "/v1/workers/{pool}/{slot}/start", "Have the worker up.", []string{"pool", "slot", "wait"}, "", orderAnswers},
	{"POST", "/v1/workers/{pool}/{slot}/stop", "Have the worker down.", []string{"pool", "slot", "wait"}, "", orderAnswers},
	{"POST", "/v1/workers/{pool}/{slot}/restart", "Replace the worker.", []string{"pool", "slot", "wait"}, "", orderAnswers},
	{"GET", "/v1/events", "What has happened: a list, or with Accept: text/event-stream a stream.", []string{"since", "last", "wait_events", "target"}, "", object{"200": "Events"}},
	{"GET", "/v1/logs", "What all workers have printed last.", []string{"lines", "follow"}, "", object{"200": "logs"}},
	{"GET", "/v1/pools/{pool}/logs", "What the workers of a pool have printed last.", []string{"pool", "lines", "follow"}, "", object{"200": "logs"}},
	{"GET", "/v1/workers/{pool}/{slot}/logs", "What a worker has printed last.", []string{"pool", "slot", "lines", "follow"}, "", object{"200": "logs"}},
	{"POST", "/v1/reload", "Read the configuration again and do what it says.", []string{"dry_run", "wait_reload"}, "", object{"200": "Reload", "202": "Reload"}},
	{"POST", "/v1/upgrade", "Have another brood take this one's place.", []string{"wait_upgrade"}, "", object{"200": "Upgrade"}},
	{"POST", "/v1/shutdown", "Stop every worker, and then the supervisor.", []string{"wait"}, "", object{"200": "Results", "202": "Results"}},
	{"GET", "/v1/whoami", "Who the kernel says the caller is, and what they may do.", nil, "", object{"200": "Whoami"}},
	{"GET", "/v1/version", "Of brood and of the worker protocol.", nil, "", object{"200": "Version"}},
	{"GET", "/metrics", "Figures for Prometheus.", nil, "", object{"200": "text/plain"}},
	{"GET", "/openapi.json", "This document.", nil, "", object{"200": "application/json"}},
	{"GET", "/", "The status page, for a browser.", nil, "", object{"200": "text/html"}},
	{"GET", "/{name}", "A command to the only pool, its answer as text. Not for browsers.", []string{"name"}, "", object{"200": "text/plain", "500": "text/plain"}},
	{"POST", "/{name}", "A command to the only pool, its answer as text.", []string{"name"}, "command", object{"200": "text/plain", "500": "text/plain"}},
}

func param(in, name, kind, description string) object {
	return object{"in": in, "name": name, "required": in == "path", "description": description, "schema": object{"type": kind}}
}

const durationText = " A duration such as 5s or 250ms, at most 1h."

var params = map[string]object{
	"pool":         param("path", "pool", "string", "A pool's name; @ is the only pool, * are all."),
	"slot":         param("path", "slot", "string", "A slot's number, from 1; with a generation 2#7, the # escaped."),
	"name":         param("path", "name", "string", "The command's name."),
	"min_ready":    param("query", "min_ready", "integer", "Ready workers that are needed, instead of each pool's own number."),
	"commands":     param("query", "commands", "boolean", "Whether to say of each worker what it can be sent; true unless given."),
	"timeout":      param("query", "timeout", "string", "How long the answer may take; 30s unless given."+durationText),
	"all":          param("query", "all", "boolean", "Send it to every worker."),
	"wait":         param("query", "wait", "string", "Answer when it is done, or this is over; at once unless given."+durationText),
	"wait_events":  param("query", "wait", "string", "Where there is no event, wait so long for one."+durationText),
	"wait_reload":  param("query", "wait", "string", "How long to wait for the end of it; 1h unless given."+durationText),
	"wait_upgrade": param("query", "wait", "string", "How long to wait for the end of it; 1m unless given."+durationText),
	"workers":      param("query", "workers", "integer", "How many workers the pool is to have, 1 or more."),
	"since":        param("query", "since", "integer", "Events after this one: the next of the answer before. Left out: all that are kept."),
	"last":         param("query", "last", "integer", "Instead of since: begin with so many of the last events."),
	"target":       param("query", "target", "string", "Whose events: web/2, web/2#7, web or *."),
	"lines":        param("query", "lines", "integer", "With how many of the last lines to begin; 100 unless given."),
	"follow":       param("query", "follow", "boolean", "Go on with each line as it is printed."),
	"dry_run":      param("query", "dry_run", "boolean", "Only say what would be done."),
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func content(of string) object {
	switch of {
	case "command":
		return object{
			"application/json":         object{"schema": object{"description": "The worker's answer, or with all=true Replies."}},
			"text/plain":               object{"schema": object{"type": "string"}},
			"application/octet-stream": object{"schema": object{"type": "string", "format": "binary"}},
			"application/x-ndjson":     object{"schema": ref("Piece")},
		}
	case "logs":
		return object{"text/plain": object{"schema": object{"type": "string"}}, "application/x-ndjson": object{"schema": ref("LogLine")}}
	case "Events":
		return object{"application/json": object{"schema": ref("Events")}, "text/event-stream": object{"schema": ref("Event")}}
	case "application/json":
		return object{of: object{"schema": object{"type": "object"}}}
	}
	if strings.Contains(of, "/") {
		return object{of: object{"schema": object{"type": "string"}}}
	}
	return object{"application/json": object{"schema": ref(of)}}
}

// openapi makes the document.
func openapi(t *testing.T) []byte {
	t.Helper()
	paths := object{}
	for _, p := range pages {
		op := object{"summary": p.summary, "operationId": operationID(p), "description": "Needs the role " + roleOfPage(t, p) + "."}
		var list []object
		for _, name := range p.params {
			if params[name] == nil {
				t.Fatalf("no parameter %q", name)
			}
			list = append(list, params[name])
		}
		if list != nil {
			op["parameters"] = list
		}
		if p.body != "" {
			op["requestBody"] = object{"description": "The command's payload; its codec is Content-Type.", "content": object{
				"application/json": object{"schema": object{}}, "text/plain": object{"schema": object{"type": "string"}},
				"application/octet-stream": object{"schema": object{"type": "string", "format": "binary"}},
			}}
		}
		answers := object{"default": object{"description": "A problem document (RFC 9457).", "content": object{"application/problem+json": object{"schema": ref("Problem")}}}}
		for status, of := range p.answers {
			a := object{"description": http.StatusText(int(status[0]-'0')*100 + int(status[1]-'0')*10 + int(status[2]-'0')), "content": content(of.(string))}
			if p.body != "" || strings.HasSuffix(p.path, "{name}") {
				a["headers"] = object{"Brood-Worker": object{"description": "Who answered: web/2#7.", "schema": object{"type": "string"}}}
			}
			answers[status] = a
		}
		op["responses"] = answers
		if paths[p.path] == nil {
			paths[p.path] = object{}
		}
		paths[p.path].(object)[strings.ToLower(p.method)] = op
	}
	doc := object{
		"openapi": "3.0.3",
		"info": object{"title": "brood", "version": "1", "description": "The control socket of brood: HTTP/1.1 over a Unix socket; any host name will do. " +
			"Who is calling is the kernel's word; docs/api.md has the whole."},
		"servers":    []object{{"url": "http://brood", "description": "the Unix socket"}, {"url": ".", "description": "behind a proxy, under any path"}},
		"paths":      paths,
		"components": object{"schemas": schemas(t)},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func operationID(p page) string {
	words := strings.FieldsFunc(strings.TrimPrefix(p.path, "/v1"), func(r rune) bool { return strings.ContainsRune("/{}.", r) })
	return strings.ToLower(p.method) + "_" + strings.Join(append(words, "page")[:max(1, len(words))], "_")
}

// pattern is the handlers' name of a path.
func pattern(path string) string {
	switch path {
	case "/v1/health/{pool}", "/v1/health/{pool}/{slot}":
		return "/v1/health/{target...}"
	case "/":
		return "/{$}"
	}
	return path
}

func roleOfPage(t *testing.T, p page) string {
	t.Helper()
	r, ok := new(Server).tableForTest()[pattern(p.path)][p.method]
	if !ok {
		t.Errorf("%s %s is in the document and has no handler", p.method, p.path)
	}
	if r.verb == verbWhoami {
		return "none"
	}
	return minRole[r.verb].String()
}

func (s *Server) tableForTest() map[string]map[string]route { return s.table() }

// schemas are the types of package api.
func schemas(t *testing.T) object {
	t.Helper()
	out := object{}
	for _, file := range []string{"api/api.go", "api/stream.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, s := range gen.Specs {
				spec := s.(*ast.TypeSpec)
				if st, ok := spec.Type.(*ast.StructType); ok {
					out[spec.Name.Name] = schemaOf(t, st, gen.Doc.Text())
				}
			}
		}
	}
	return out
}

func schemaOf(t *testing.T, st *ast.StructType, doc string) object {
	t.Helper()
	properties, required := object{}, []string{}
	for _, f := range st.Fields.List {
		name, options, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		s := typeSchema(t, f.Type)
		text := strings.TrimSpace(f.Doc.Text() + " " + f.Comment.Text())
		text = strings.Join(strings.Fields(text), " ")
		if s["$ref"] == nil {
			if words := enumOf(text); words != nil && s["type"] == "string" {
				s["enum"] = words
			}
			if text != "" {
				s["description"] = text
			}
		}
		properties[name] = s
		if options != "omitempty" {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	out := object{"type": "object", "properties": properties, "description": strings.Join(strings.Fields(doc), " ")}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

var alternatives = regexp.MustCompile(`^[a-z_-]+( \| [a-z_-]+)+$`)

// enumOf is the words of a comment such as "up | down; what the operator wants".
func enumOf(comment string) []string {
	if i := strings.IndexAny(comment, ";(:,"); i >= 0 {
		comment = comment[:i]
	}
	if comment = strings.TrimSpace(comment); !alternatives.MatchString(comment) {
		return nil
	}
	return strings.Split(comment, " | ")
}

func typeSchema(t *testing.T, e ast.Expr) object {
	t.Helper()
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeSchema(t, e.X)
	case *ast.ArrayType:
		return object{"type": "array", "items": typeSchema(t, e.Elt)}
	case *ast.Ident:
		switch e.Name {
		case "string":
			return object{"type": "string"}
		case "bool":
			return object{"type": "boolean"}
		case "int", "int64":
			return object{"type": "integer", "format": "int64"}
		case "uint64":
			return object{"type": "integer", "minimum": 0}
		case "any", "Raw":
			return object{}
		}
		return ref(e.Name)
	}
	t.Fatalf("a type that this does not know: %#v", e)
	return nil
}

// TestOpenAPIFile: the document that is served is what the table and the types
// make, and every page there is is in it.
func TestOpenAPIFile(t *testing.T) {
	want := openapi(t)
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("openapi.json is not what the table and the types make; run go generate")
	}
	documented := map[string]bool{}
	for _, p := range pages {
		documented[p.method+" "+pattern(p.path)] = true
	}
	for path, methods := range new(Server).table() {
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			if !documented[method+" "+path] {
				t.Errorf("%s %s is not in the document", method, path)
			}
		}
	}
	for _, p := range pages {
		for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(p.path, -1) {
			if !slices.Contains(p.params, name[1]) {
				t.Errorf("%s lacks the parameter %s", p.path, name[1])
			}
		}
	}
}

// TestOpenAPIPage: a client that has it already is not sent it again.
func TestOpenAPIPage(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1))
	resp := h.open(t.Context(), "GET", "/openapi.json", "")
	tag := resp.Header.Get("ETag")
	if resp.StatusCode != 200 || len(tag) < 10 || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	for match, want := range map[string]int{tag: 304, `"other", ` + tag: 304, "W/" + tag: 304, "*": 304, `"other"`: 200} {
		if status, body := h.ask("GET", "/openapi.json", "", "If-None-Match", match); status != want || status == 304 && body != "" {
			t.Errorf("If-None-Match: %s: %d and %d bytes", match, status, len(body))
		}
	}
}

// TestKindsOfEvents: those that there are are those that the API, the page and its
// document speak of.
func TestKindsOfEvents(t *testing.T) {
	source, err := os.ReadFile("../internal/lifecycle/events.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, m := range regexp.MustCompile(`(?m)^\tKind\w+ +Kind = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		kinds = append(kinds, m[1])
		if !bytes.Contains(pageFile, []byte(`"`+m[1]+`"`)) {
			t.Errorf("the status page does not listen for %s", m[1])
		}
		if !bytes.Contains(doc, []byte("`"+m[1]+"`")) {
			t.Errorf("docs/api.md does not speak of %s", m[1])
		}
	}
	field := schemas(t)["Event"].(object)["properties"].(object)["kind"].(object)
	if got := field["enum"].([]string); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(kinds))) || len(kinds) < 9 {
		t.Errorf("package api knows %v, there are %v", got, kinds)
	}
}
