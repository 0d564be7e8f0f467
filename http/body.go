package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"varve/domain"
)

// maxBodyDepth is how deep a body's objects and arrays may be nested.
const maxBodyDepth = 64

// maxViolations bounds how many wrong values one answer names.
const maxViolations = 50

// node is a JSON value of a body with the bytes that it came as.
type node struct {
	kind    byte // { [ " n(umber) t(rue, false) 0 (null)
	raw     []byte
	members []member // of an object, in order, each name once
	items   []*node  // of an array
}

type member struct {
	name  string
	value *node
}

func (n *node) member(name string) *node {
	for _, m := range n.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// said names a value's kind for an error.
func (n *node) said() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 'n':
		return "a number"
	case 't':
		return "a boolean"
	}
	return "null"
}

// parseBody reads one JSON value. Refused as bad requests are invalid UTF-8,
// syntax errors, anything after the value, nesting beyond maxBodyDepth, and an
// object that names a member twice. No bytes and null give nil.
func parseBody(body []byte) (*node, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if len(body) == 0 {
		return nil, nil
	}
	bad := func(reason, format string, args ...any) error {
		e := domain.Errorf(domain.CodeBadRequest, "the request body "+format, args...)
		e.Reason = reason
		return e
	}
	if !utf8.Valid(body) {
		return nil, bad("invalid_utf8", "is not valid UTF-8")
	}
	if !json.Valid(body) {
		var v any
		err := json.Unmarshal(body, &v)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, bad("invalid_json", "is not JSON: %s at byte %d", syntax.Error(), syntax.Offset)
		}
		return nil, bad("invalid_json", "is not JSON")
	}
	p := parser{b: body}
	n, err := p.value(0, "")
	if err != nil {
		return nil, bad("invalid_json", "%s", err)
	}
	if n.kind == '0' {
		return nil, nil
	}
	return n, nil
}

// parser reads JSON that json.Valid accepted.
type parser struct {
	b []byte
	i int
}

func (p *parser) space() {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\n' || p.b[p.i] == '\t' || p.b[p.i] == '\r') {
		p.i++
	}
}

func (p *parser) value(depth int, path string) (*node, error) {
	p.space()
	start := p.i
	n := &node{kind: p.b[p.i]}
	if (n.kind == '{' || n.kind == '[') && depth >= maxBodyDepth {
		return nil, fmt.Errorf("nests objects and arrays deeper than %d levels", maxBodyDepth)
	}
	switch n.kind {
	case '{':
		seen := map[string]bool{}
		p.i++
		for p.space(); p.b[p.i] != '}'; p.space() {
			if p.b[p.i] == ',' {
				p.i++
				p.space()
			}
			name, err := p.text()
			if err != nil {
				return nil, err
			}
			if seen[name] {
				return nil, fmt.Errorf("names the member %s twice", join(path, name))
			}
			seen[name] = true
			p.space()
			p.i++ // colon
			v, err := p.value(depth+1, join(path, name))
			if err != nil {
				return nil, err
			}
			n.members = append(n.members, member{name, v})
		}
		p.i++
	case '[':
		p.i++
		for p.space(); p.b[p.i] != ']'; p.space() {
			if p.b[p.i] == ',' {
				p.i++
			}
			v, err := p.value(depth+1, path+"["+strconv.Itoa(len(n.items))+"]")
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, v)
		}
		p.i++
	case '"':
		p.skipText()
	case 't', 'f', 'n':
		for p.i < len(p.b) && p.b[p.i] >= 'a' && p.b[p.i] <= 'z' {
			p.i++
		}
		n.kind = map[byte]byte{'t': 't', 'f': 't', 'n': '0'}[n.kind]
	default:
		for p.i < len(p.b) && strings.IndexByte("+-.eE0123456789", p.b[p.i]) >= 0 {
			p.i++
		}
		n.kind = 'n'
	}
	n.raw = p.b[start:p.i]
	return n, nil
}

func (p *parser) skipText() {
	for p.i++; p.b[p.i] != '"'; p.i++ {
		if p.b[p.i] == '\\' {
			p.i++
		}
	}
	p.i++
}

func (p *parser) text() (string, error) {
	start := p.i
	p.skipText()
	var s string
	if err := json.Unmarshal(p.b[start:p.i], &s); err != nil {
		return "", err
	}
	return s, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// decode reads the body into r.Body, r.Members and r.Unknown.
func (r *Request[B]) decode() error {
	switch b := any(&r.Body).(type) {
	case *None:
		return nil
	case *Raw:
		*b = r.body
		return nil
	}
	n, err := parseBody(r.body)
	if err != nil {
		return err
	}
	v := reflect.ValueOf(&r.Body).Elem()
	if n == nil {
		n = &node{kind: '{', raw: []byte("{}")}
		if k := v.Kind(); k == reflect.Slice {
			return domain.Invalid("body", "missing", "a JSON array is required")
		}
	}
	d := decoder{}
	d.into(v, n, "")
	r.Members = make(map[string]json.RawMessage, len(n.members))
	for _, m := range n.members {
		r.Members[m.name] = m.value.raw
	}
	sort.Strings(d.unknown)
	r.Unknown = d.unknown
	if len(d.wrong) == 0 {
		d.wrong = validate(v)
	}
	return invalid(d.wrong)
}

// invalid makes one error of violations, nil of none.
func invalid(wrong []domain.Violation) error {
	if len(wrong) == 0 {
		return nil
	}
	if len(wrong) > maxViolations {
		wrong = wrong[:maxViolations]
	}
	texts := make([]string, len(wrong))
	for i, v := range wrong {
		texts[i] = v.Path + ": " + v.Message
	}
	return &domain.Error{Code: domain.CodeInvalid, Message: strings.Join(texts, "; "), Violations: wrong}
}
