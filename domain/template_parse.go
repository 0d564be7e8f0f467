package domain

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Template is a string with {{ expressions }} in it, as retriever stages carry
// them. Single braces are text. It is read only and safe for concurrent use.
type Template struct {
	parts []templatePart
}

// templatePart is text, or an expression where expr is set.
type templatePart struct {
	text string
	expr *templateExpr
}

// templateExpr is a name or a literal with filters applied from left to right.
type templateExpr struct {
	source    string // as written, trimmed, for messages
	namespace string // one of templateNamespaces; "" for a literal
	steps     []pathStep
	literal   any
	filters   []templateFilter
}

type templateFilter struct {
	name string
	args []any
}

// Limits of templates.
const (
	MaxTemplateLength      = 1 << 20 // bytes of one string
	MaxTemplateExpressions = 1000    // in one string
	MaxRendered            = 8 << 20 // bytes that one Render may produce
)

// templateNamespaces maps the spellings, in small letters, to the namespaces.
var templateNamespaces = map[string]string{
	"input": "INPUT", "inputs": "INPUT", "doc": "DOC", "stage": "STAGE", "context": "CONTEXT",
	"secret": "SECRET", "secrets": "SECRET", "principal": "PRINCIPAL",
}

var allNamespaces = []string{"INPUT", "DOC", "STAGE", "CONTEXT", "PRINCIPAL"}

const knownNamespaces = "INPUT, DOC, STAGE, CONTEXT"

// hasTemplate says whether a decoded value holds a string with a template mark.
func hasTemplate(v any) bool {
	switch x := v.(type) {
	case string:
		return strings.Contains(x, "{{") || strings.Contains(x, "{%")
	case []any:
		return slices.ContainsFunc(x, hasTemplate)
	case map[string]any:
		for _, e := range x {
			if hasTemplate(e) {
				return true
			}
		}
	}
	return false
}

// ParseTemplate reads a template string. An expression is a name (a namespace
// INPUT, DOC, STAGE, CONTEXT or PRINCIPAL in any case, inputs too, then .key, [n]
// or ['key']) or a literal (string, number, true, false, none), followed by
// filters: {{ INPUT.brand | default('any') | upper }}. {{- and -}} take the white
// space beside them away. Statements ({% … %}) are refused.
func ParseTemplate(s string) (*Template, error) {
	if len(s) > MaxTemplateLength {
		return nil, fmt.Errorf("the template has %d bytes; at most %d are read", len(s), MaxTemplateLength)
	}
	t := &Template{}
	expressions, trim := 0, false
	for {
		open := strings.Index(s, "{{")
		text := s
		if open >= 0 {
			text = s[:open]
		}
		if i := strings.Index(text, "{%"); i >= 0 {
			return nil, fmt.Errorf("statements (%s) are not supported in templates; use expressions {{ … }} with filters", excerpt(text[i:]))
		}
		if trim {
			text = strings.TrimLeftFunc(text, unicode.IsSpace)
		}
		if open < 0 {
			t.add(text)
			return t, nil
		}
		x := exprLexer{s: s[open+2:]}
		if strings.HasPrefix(x.s, "-") && !startsNumber(x.s) {
			x.i++
			text = strings.TrimRightFunc(text, unicode.IsSpace)
		}
		t.add(text)
		if expressions++; expressions > MaxTemplateExpressions {
			return nil, fmt.Errorf("the template has more than %d expressions", MaxTemplateExpressions)
		}
		e, err := x.expression()
		if err != nil {
			return nil, fmt.Errorf("the template %s: %w", excerpt(s[open:]), err)
		}
		t.parts = append(t.parts, templatePart{expr: e})
		trim = x.trimAfter
		s = x.s[x.i:]
	}
}

// startsNumber says whether s begins with a minus that belongs to a number.
func startsNumber(s string) bool {
	return len(s) > 1 && s[0] == '-' && s[1] >= '0' && s[1] <= '9'
}

func (t *Template) add(text string) {
	if text != "" {
		t.parts = append(t.parts, templatePart{text: text})
	}
}

// Whole says whether the template is one expression and nothing else; its value
// then keeps its type.
func (t *Template) Whole() bool { return len(t.parts) == 1 && t.parts[0].expr != nil }

// Dynamic says whether the template has an expression at all.
func (t *Template) Dynamic() bool {
	return slices.ContainsFunc(t.parts, func(p templatePart) bool { return p.expr != nil })
}

// TemplateName is what an expression reads: a namespace and the first key in it,
// which is empty where the whole namespace is read.
type TemplateName struct {
	Namespace string // INPUT, DOC, STAGE, CONTEXT, SECRET or PRINCIPAL
	Name      string
}

// Names gives what the template reads, in order, each once.
func (t *Template) Names() []TemplateName {
	var names []TemplateName
	for _, p := range t.parts {
		if p.expr == nil || p.expr.namespace == "" {
			continue
		}
		if n := p.expr.name(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

func (e *templateExpr) name() TemplateName {
	n := TemplateName{Namespace: e.namespace}
	if len(e.steps) > 0 {
		n.Name = e.steps[0].key
	}
	return n
}

// excerpt shortens a text for a message, at a character.
func excerpt(s string) string {
	const most = 60
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%q…", s[:cut])
}

// parseExpressionPath reads the reference of a dynamic value: a namespace and a
// path in it, "inputs.brand".
func parseExpressionPath(s string) (*templateExpr, error) {
	x := exprLexer{s: s + "}}"}
	e, err := x.expression()
	switch {
	case err != nil:
		return nil, err
	case x.i != len(x.s) || e.namespace == "" || len(e.filters) > 0 || len(e.steps) == 0:
		return nil, fmt.Errorf("%q is no reference; give a namespace and a name, for example \"inputs.brand\"", s)
	}
	return e, nil
}
