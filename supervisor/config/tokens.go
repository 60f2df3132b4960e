package config

import (
	"github.com/goccy/go-yaml/token"
)

// refused says what is YAML but not understood here, and what to write instead.
var refused = map[token.Type]string{
	token.AnchorType:     `anchors (&name) are not understood here; write the value out, or quote it if it is text that begins with "&"`,
	token.AliasType:      `aliases (*name) are not understood here; write the value out, or quote it if it is text that begins with "*"`,
	token.MergeKeyType:   `merge keys (<<) are not understood here; write the keys out`,
	token.TagType:        `tags (!name) are not understood here; leave it out, or quote it if it is text that begins with "!"`,
	token.MappingKeyType: `keys after "?" are not understood here; write key: value`,
	token.DirectiveType:  `directives (%NAME) are not understood here; leave it out, or quote it if it is text that begins with "%"`,
}

// admit decides before parsing whether tokens are worth it: something, not too
// much, one document, and nothing that is refused.
func (src *source) admit(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		src.report(place{}, "", "has more than %d words and signs; that is no configuration", maxTokens)
		return false
	}
	var d depth
	var content, ended bool // something was there; its document has ended
	for i, tk := range tokens {
		switch {
		case tk.Type == token.CommentType:
			continue
		case refused[tk.Type] != "":
			src.report(placeOfToken(tk), "", "%s", refused[tk.Type])
		case tk.Type == token.DocumentEndType:
			ended = content
			continue
		case ended || content && tk.Type == token.DocumentHeaderType:
			src.report(placeOfToken(tk), "", "a second document begins here; keep one")
			return false
		case tk.Type == token.DocumentHeaderType:
			continue
		}
		content = true
		if d.step(tokens, i) > maxDepth {
			src.report(placeOfToken(tk), "", "more than %d levels deep; nothing here needs that", maxDepth)
			return false
		}
	}
	if !content {
		src.report(place{}, "", "is empty; the smallest file is: %s", smallest)
	}
	return len(src.errs) == 0
}

// depth follows how deep the mappings and lists are, token by token. It may be
// half the truth, for a list may stand in the column of the key it belongs to.
type depth struct {
	columns []int // of the open block mappings and lists, increasing
	flow    int   // open { and [
}

func (d *depth) step(tokens token.Tokens, i int) int {
	column := 0
	switch tokens[i].Type {
	case token.MappingStartType, token.SequenceStartType:
		d.flow++
	case token.MappingEndType, token.SequenceEndType:
		d.flow = max(0, d.flow-1)
	case token.SequenceEntryType:
		column = tokens[i].Position.Column
	case token.MappingValueType:
		column = tokens[max(0, i-1)].Position.Column // the key's
	}
	if column > 0 && d.flow == 0 {
		for len(d.columns) > 0 && d.columns[len(d.columns)-1] >= column {
			d.columns = d.columns[:len(d.columns)-1]
		}
		d.columns = append(d.columns, column)
	}
	return len(d.columns) + d.flow
}
