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

// node is a JSON value of a body with the bytes that it came as. What is inside is
// read when open is called: a body of millions of values costs no more than its
// bytes where nothing asks for them.
type node struct {
	kind    byte // { [ " n(umber) t(rue, false) 0 (null)
	raw     []byte
	members []member // of an open object, in order, each name once
	items   []*node  // of an open array
}

type member struct {
	name  string
	value *node
}

func (n *node) member(name string) *node {
	for _, m := range n.open().members {
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
	n, wrong := p.value(0)
	if wrong != nil {
		return nil, bad("invalid_json", "%s", wrong.text())
	}
	if n.kind == '0' {
		return nil, nil
	}
	return &n, nil
}

// open reads an object's members or an array's items, once.
func (n *node) open() *node {
	if n.members != nil || n.items != nil || n.kind != '{' && n.kind != '[' {
		return n
	}
	p := parser{b: n.raw, i: 1, checked: true}
	for p.next() {
		name := ""
		if n.kind == '{' {
			name = p.name()
		}
		v, _ := p.value(1)
		if n.kind == '{' {
			n.members = append(n.members, member{name, &v})
		} else {
			n.items = append(n.items, &v)
		}
	}
	return n
}

// misshapen is what is refused of valid JSON; the path grows on the way out.
type misshapen struct {
	path    string
	tooDeep bool
}

func (m *misshapen) text() string {
	if m.tooDeep {
		return fmt.Sprintf("nests objects and arrays deeper than %d levels", maxBodyDepth)
	}
	return fmt.Sprintf("names the member %s twice", m.path)
}

func (m *misshapen) inside(step string) *misshapen {
	if strings.HasPrefix(m.path, "[") {
		m.path = step + m.path
	} else {
		m.path = join(step, m.path)
	}
	return m
}

// parser reads JSON that json.Valid accepted. Where it was checked before,
// members are not compared a second time.
type parser struct {
	b       []byte
	i       int
	checked bool
}

func (p *parser) space() {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\n' || p.b[p.i] == '\t' || p.b[p.i] == '\r') {
		p.i++
	}
}

// next goes to the next value of an object or array; false at its end.
func (p *parser) next() bool {
	p.space()
	if p.b[p.i] == ',' {
		p.i++
		p.space()
	}
	if c := p.b[p.i]; c != '}' && c != ']' {
		return true
	}
	p.i++
	return false
}

// value reads a value with everything inside it.
func (p *parser) value(depth int) (n node, wrong *misshapen) {
	p.space()
	start := p.i
	n.kind = p.b[p.i]
	if (n.kind == '{' || n.kind == '[') && depth >= maxBodyDepth {
		return n, &misshapen{tooDeep: true}
	}
	switch n.kind {
	case '{':
		var seen map[string]bool
		for p.i++; p.next(); {
			if p.checked {
				p.skipText()
				p.space()
				p.i++
				_, _ = p.value(1)
				continue
			}
			name := p.name()
			if seen[name] {
				return n, &misshapen{path: name}
			}
			if seen == nil {
				seen = map[string]bool{}
			}
			seen[name] = true
			if _, wrong = p.value(depth + 1); wrong != nil {
				return n, wrong.inside(name)
			}
		}
	case '[':
		p.i++
		for i := 0; p.next(); i++ {
			if _, wrong = p.value(depth + 1); wrong != nil {
				return n, wrong.inside("[" + strconv.Itoa(i) + "]")
			}
		}
	case '"':
		p.skipText()
	case 't', 'f', 'n':
		for p.i < len(p.b) && p.b[p.i] >= 'a' && p.b[p.i] <= 'z' {
			p.i++
		}
		n.kind = 't'
		if p.b[start] == 'n' {
			n.kind = '0'
		}
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

// name reads a member's name and goes past the colon.
func (p *parser) name() string {
	start := p.i
	p.skipText()
	var s string
	_ = json.Unmarshal(p.b[start:p.i], &s) // json.Valid accepted it
	p.space()
	p.i++
	return s
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
	r.Members = map[string]json.RawMessage{}
	if n.kind == '{' {
		n.open()
	}
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
