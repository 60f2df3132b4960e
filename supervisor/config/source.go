package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits. The YAML parser's work grows with the square of the number of keys in
// a mapping and of the depth, and it recurses once a level: both are bounded
// before it sees the text. A file at the limits takes it about a second.
const (
	maxSize   = 1 << 20 // bytes
	maxTokens = 50_000  // words and signs
	maxDepth  = 20      // mappings and lists inside one another
)

// smallest is the smallest file there is, shown to who has an empty one.
const smallest = `pools: {web: {command: ["./server"]}}`

// source is a file being read: what is wrong with it, and where everything in
// it stands.
type source struct {
	name   string
	errs   []*Error
	places map[string]place // by path
	blamed map[string]bool  // paths with an error; what follows from it is not reported
}

// place is a position in the text, from 1. Zero: the text as a whole.
type place struct{ line, column int }

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
}

func newSource(name string) *source {
	return &source{name: name, places: map[string]place{}, blamed: map[string]bool{}}
}

// readFile reads no more than one byte beyond maxSize.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{File: path, Problem: "cannot be opened: " + cause(err), Err: err}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, &Error{File: path, Problem: "cannot be read: " + cause(err), Err: err}
	}
	return text, nil
}

// cause is a system error without the operation and the path around it.
func cause(err error) string {
	var e *os.PathError
	if errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

// report notes an error. Only the last of the path's list indices is taken off
// for the blame: it falls on the list.
func (src *source) report(at place, path, format string, args ...any) *Error {
	e := &Error{File: src.name, Line: at.line, Column: at.column, Path: path, Problem: fmt.Sprintf(format, args...)}
	src.errs = append(src.errs, e)
	if i := strings.LastIndexByte(path, '['); i > 0 && strings.HasSuffix(path, "]") {
		path = path[:i]
	}
	src.blamed[path] = true
	return e
}

// isBlamed tells whether there is an error at path or at what it is part of.
func (src *source) isBlamed(path string) bool {
	for path != "" && !src.blamed[path] {
		path = parent(path)
	}
	return path != ""
}

// placeOf is where path stands, or else what it would be part of.
func (src *source) placeOf(path string) place {
	at, ok := src.places[path]
	for !ok && path != "" {
		path = parent(path)
		at, ok = src.places[path]
	}
	return at
}

func parent(path string) string { return path[:max(0, strings.LastIndexByte(path, '.'))] }

func (src *source) result(f *File) (*File, error) {
	if len(src.errs) == 0 {
		return f, nil
	}
	slices.SortStableFunc(src.errs, func(a, b *Error) int {
		return place{a.Line, a.Column}.compare(place{b.Line, b.Column})
	})
	if len(src.errs) == 1 {
		return nil, src.errs[0]
	}
	errs := make([]error, len(src.errs))
	for i, e := range src.errs {
		errs[i] = e
	}
	return nil, errors.Join(errs...)
}

// tree parses text. If it is not one document of the YAML that is understood
// here, that is reported and ok is false.
func (src *source) tree(text []byte) (root node, ok bool) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if len(text) > maxSize {
		src.report(place{}, "", "is larger than %d KiB; that is no configuration", maxSize>>10)
		return node{}, false
	}
	if at, what := firstForeign(text); what != "" {
		src.report(at, "", "%s; the file must be UTF-8 text", what)
		return node{}, false
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		text = append(slices.Clip(text), '\n') // the lexer overlooks a tag that nothing follows
	}
	tokens := lexer.Tokenize(string(text))
	if !src.admit(tokens) {
		return node{}, false
	}
	doc, err := parseTokens(tokens)
	if err != nil {
		src.reportSyntax(text, err)
		return node{}, false
	}
	root = node{src: src, value: doc}
	if _, mapping := doc.(*ast.MappingNode); !mapping {
		root.bad("must be a mapping (key: value), got %s; the smallest file is: %s", root.kind(), smallest)
		return node{}, false
	}
	src.places[""] = root.place()
	return root, true
}

// firstForeign finds the first thing that is no text.
func firstForeign(text []byte) (at place, what string) {
	at = place{1, 1}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			return at, fmt.Sprintf("the byte 0x%02x is not UTF-8", text[0])
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f:
			return at, fmt.Sprintf("there is a control character (0x%02x)", r)
		case r == '\n':
			at = place{at.line + 1, 1}
		default:
			at.column++
		}
		text = text[n:]
	}
	return place{}, ""
}

// parseTokens returns the body of the document. The parser is another's: that
// it may panic on what nobody thought of must not take a running supervisor
// down on a reload.
func parseTokens(tokens token.Tokens) (body ast.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML parser cannot make sense of it (%v)", p)
		}
	}()
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // duplicates are found with both lines in node.entries
	if err != nil {
		return nil, err
	}
	if len(f.Docs) != 1 || f.Docs[0].Body == nil {
		return nil, errors.New("there is no content")
	}
	return f.Docs[0].Body, nil
}

// reportSyntax gives the parser's error its place and a hint.
func (src *source) reportSyntax(text []byte, err error) {
	var at place
	message, hint := err.Error(), "check indentation, brackets and quotes here and in the line above"
	var syntax interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &syntax) {
		message = syntax.GetMessage()
		if tk := syntax.GetToken(); tk != nil {
			at = placeOfToken(tk)
		}
	}
	if lines := bytes.SplitAfterN(text, []byte("\n"), at.line+1); at.line > 0 && at.line <= len(lines) {
		line := lines[at.line-1]
		if indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]; bytes.ContainsRune(indent, '\t') {
			hint = "indent with spaces instead of the tab"
		}
	}
	src.report(at, "", "not valid YAML: %s; %s", strings.ReplaceAll(message, "\t", `\t`), hint)
}

func placeOfToken(tk *token.Token) place {
	if tk == nil || tk.Position == nil {
		return place{}
	}
	return place{max(1, tk.Position.Line), max(1, tk.Position.Column)}
}
