package retrieve

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"varve/domain"
	"varve/domain/text"
)

// query is what one search looks for, in one of its forms.
type query struct {
	mode     string // text, vector, document; "" where it is empty
	text     string
	vector   []float32
	document string // id
}

// parseQuery reads a query of the reference: a string; {input_mode: text, value or
// text}; {input_mode: vector, value: [..] or [[..]]}; {input_mode: document,
// document_ref: {collection_id, document_id}}; {input_mode: content, value or
// content.base64} of text. An absent or blank one is empty.
func parseQuery(path string, v any) (query, error) {
	switch x := v.(type) {
	case nil:
		return query{}, nil
	case string:
		return textQuery(x), nil
	case []any:
		return vectorQuery(path, x)
	case map[string]any:
		return objectQuery(path, x)
	}
	if isNumber(v) {
		return textQuery(string(domain.EncodeValue(v))), nil
	}
	return query{}, domain.Invalid(path, "type", "must be a text or an object {input_mode, …}, not %s", describe(v))
}

func textQuery(s string) query {
	if strings.TrimSpace(s) == "" {
		return query{}
	}
	return query{mode: "text", text: s}
}

func objectQuery(path string, m map[string]any) (query, error) {
	mode, _ := m["input_mode"].(string)
	if mode == "" {
		for _, guess := range [...][2]string{{"text", "text"}, {"vector", "vector"}, {"document_ref", "document"}, {"content", "content"}, {"values", "multi_content"}, {"value", "text"}} {
			if m[guess[0]] != nil {
				mode = guess[1]
				break
			}
		}
	}
	switch mode {
	case "":
		return query{}, nil
	case "text":
		v := m["value"]
		if v == nil {
			v = m["text"]
		}
		if v == nil {
			return query{}, nil
		}
		s, ok := v.(string)
		if !ok && isNumber(v) {
			s, ok = string(domain.EncodeValue(v)), true
		}
		if !ok {
			return query{}, domain.Invalid(path+".value", "type", "must be a text, not %s", describe(v))
		}
		return textQuery(s), nil
	case "vector":
		v := m["value"]
		if v == nil {
			v = m["vector"]
		}
		if v == nil {
			return query{}, nil
		}
		return vectorQuery(path+".value", v)
	case "document":
		ref, ok := m["document_ref"].(map[string]any)
		if !ok {
			return query{}, domain.Invalid(path+".document_ref", "missing", "a document query names {collection_id, document_id}")
		}
		id, ok := ref["document_id"].(string)
		if !ok && ref["document_id"] != nil {
			return query{}, domain.Invalid(path+".document_ref.document_id", "type", "must be a document's id, not %s", describe(ref["document_id"]))
		}
		if id == "" {
			return query{}, nil
		}
		return query{mode: "document", document: id}, nil
	case "content":
		return contentQuery(path, m)
	case "multi_content", "image", "url", "video", "audio":
		e := domain.Errorf(domain.CodeUnsupported, "%s.input_mode: %s queries are not in this version; there are text, vector, document and content of text", path, mode)
		e.Reason = "parameter_unsupported"
		return query{}, e
	}
	return query{}, domain.Invalid(path+".input_mode", "enum", "%q is not allowed; allowed are text, vector, document, content", mode)
}

// contentQuery reads content that is text itself; fetching is not a query's business.
func contentQuery(path string, m map[string]any) (query, error) {
	s, at := "", path+".value"
	switch v := m["value"].(type) {
	case nil:
	case string:
		s = v
	default:
		return query{}, domain.Invalid(at, "type", "must be a text, not %s", describe(v))
	}
	if inner, ok := m["content"].(map[string]any); ok && s == "" {
		if b64, ok := inner["base64"].(string); ok && b64 != "" {
			at = path + ".content.base64"
			b, err := base64.StdEncoding.DecodeString(b64)
			if err != nil || !utf8.Valid(b) {
				return query{}, domain.Invalid(at, "value", "must be UTF-8 text in base64: the features that can be searched are of text")
			}
			s = string(b)
		} else if url, ok := inner["url"].(string); ok {
			s, at = url, path+".content.url"
		}
	}
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "data:") {
		e := domain.Errorf(domain.CodeUnsupported, "%s: content is not fetched for a query in this version; give its text", at)
		e.Reason = "parameter_unsupported"
		return query{}, e
	}
	return textQuery(s), nil
}

func vectorQuery(path string, v any) (query, error) {
	if s, ok := v.(string); ok { // a template that gave JSON
		parsed, err := domain.DecodeValue([]byte(s))
		if err != nil {
			return query{}, domain.Invalid(path, "type", "must be a list of numbers, not %s", describe(v))
		}
		v = parsed
	}
	list, ok := v.([]any)
	if !ok {
		return query{}, domain.Invalid(path, "type", "must be a list of numbers, not %s", describe(v))
	}
	if len(list) == 0 {
		return query{}, nil
	}
	if inner, ok := list[0].([]any); ok {
		if len(list) > 1 {
			e := domain.Errorf(domain.CodeUnsupported, "%s: several vectors in one query are not in this version; use a search for each", path)
			e.Reason = "parameter_unsupported"
			return query{}, e
		}
		list = inner
	}
	q := query{mode: "vector", vector: make([]float32, len(list))}
	for i, e := range list {
		n, ok := e.(json.Number)
		x, err := strconv.ParseFloat(string(n), 32)
		if !ok || err != nil {
			return query{}, domain.Invalid(fmt.Sprintf("%s[%d]", path, i), "type", "must be a number that a 32-bit float can hold, not %s", describe(e))
		}
		q.vector[i] = float32(x)
	}
	return q, nil
}

// search is one query made ready for an index: dense or terms, or neither where
// the query has nothing to find.
type search struct {
	uri   string
	dense []float32
	terms []domain.TermCount
	note  string // why there is nothing to search with
}

// embed turns a query into what the feature is searched with. An empty result
// with a note says that this query can find nothing.
func (r *run) embed(ctx context.Context, path string, f feature, lexical bool, q query) (search, error) {
	if lexical && f.Lexical != "" && f.Kind == "dense" {
		f = feature{URI: f.Lexical, Kind: "sparse"}
	}
	s := search{uri: f.URI}
	switch {
	case q.mode == "text" && f.Kind == "sparse":
		if s.terms = text.QueryTerms(q.text); len(s.terms) == 0 {
			s.note = "the query has no word to search for"
		}
	case q.mode == "text":
		if !strings.HasPrefix(f.URI, "mixpeek://text_extractor@") {
			return s, domain.Invalid(path, "query", "%s holds vectors that this version cannot make of a text; give input_mode vector or document", f.URI)
		}
		var ok bool
		if s.dense, ok = text.Embed(q.text); !ok {
			s.note = "the query has no token that the embedder knows"
		}
	case f.Kind == "sparse":
		return s, domain.Invalid(path, "query", "%s is searched with a text; %s queries need a dense feature", f.URI, q.mode)
	case q.mode == "vector":
		if f.Dims > 0 && len(q.vector) != f.Dims {
			return s, domain.Invalid(path+".value", "range", "the vector has %d dimensions; %s has %d", len(q.vector), f.URI, f.Dims)
		}
		s.dense = q.vector
	default:
		v, err := r.view.Vector(ctx, q.document, f.URI)
		if err != nil {
			return s, fmt.Errorf("read vector of %s: %w", q.document, err)
		}
		if s.dense = v; v == nil {
			return s, domain.Invalid(path+".document_ref", "unknown", "the document %q does not exist here or has no %s", q.document, f.URI)
		}
	}
	return s, nil
}
