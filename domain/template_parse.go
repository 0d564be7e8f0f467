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

// templatePart is text, an expression, an if or a for; one of them is set.
type templatePart struct {
	text     string
	expr     *templateExpr
	branches []templateBranch // if, elif, else (with a nil condition)
	loop     *templateLoop
}

// templateExpr is a name or a literal with filters applied from left to right.
type templateExpr struct {
	source    string // as written, trimmed, for messages
	namespace string // one of templateNamespaces; "" for a literal and a loop variable
	variable  string // a loop variable
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
// filters: {{ INPUT.brand | default('any') | upper }}. Statements are
// {% if … %} {% elif … %} {% else %} {% endif %} and
// {% for item in … %} {% else %} {% endfor %}; see template_statement.go. A - inside
// the marks ({{- -}}, {%- -%}) takes the white space beside them away.
func ParseTemplate(s string) (*Template, error) {
	if len(s) > MaxTemplateLength {
		return nil, fmt.Errorf("the template has %d bytes; at most %d are read", len(s), MaxTemplateLength)
	}
	p := templateParser{exprLexer: exprLexer{s: s}}
	parts, _, err := p.parts()
	if err != nil {
		return nil, err
	}
	return &Template{parts: parts}, nil
}

type templateParser struct {
	exprLexer
	marks int  // expressions and statements so far
	depth int  // statements around
	trim  bool // the last mark takes white space away
}

// parts reads up to a statement that begins with one of the stop words, or to the
// end where there are none. After a stop word the rest of its statement is unread.
func (p *templateParser) parts(stop ...string) (parts []templatePart, stopped string, err error) {
	for {
		rest := p.s[p.i:]
		open := -1
		for i := strings.IndexByte(rest, '{'); i >= 0 && i+1 < len(rest); {
			if rest[i+1] == '{' || rest[i+1] == '%' {
				open = i
				break
			}
			next := strings.IndexByte(rest[i+1:], '{')
			if next < 0 {
				break
			}
			i += 1 + next
		}
		text := rest
		if open >= 0 {
			text = rest[:open]
		}
		if p.trim {
			text = strings.TrimLeftFunc(text, unicode.IsSpace)
		}
		p.trim = false
		if open < 0 {
			p.i = len(p.s)
			if len(stop) > 0 {
				return nil, "", fmt.Errorf("the template ends where {%% %s %%} is expected", stop[len(stop)-1])
			}
			return appendPart(parts, text), "", nil
		}
		at, statement := p.i+open, rest[open+1] == '%'
		p.i = at + 2
		if p.starts("-") && (statement || !startsNumber(p.s[p.i:])) {
			p.i++
			text = strings.TrimRightFunc(text, unicode.IsSpace)
		}
		parts = appendPart(parts, text)
		if p.marks++; p.marks > MaxTemplateExpressions {
			return nil, "", fmt.Errorf("the template has more than %d expressions", MaxTemplateExpressions)
		}
		if !statement {
			e, err := p.operand()
			if err == nil {
				p.trim, err = p.closes("}}")
			}
			if err != nil {
				return nil, "", fmt.Errorf("the template %s: %w", excerpt(p.s[at:]), err)
			}
			parts = append(parts, templatePart{expr: e})
			continue
		}
		p.space()
		word := p.ident()
		if slices.Contains(stop, word) {
			return parts, word, nil
		}
		part, err := p.statement(word)
		if err != nil {
			if strings.HasPrefix(err.Error(), "the template") {
				return nil, "", err
			}
			return nil, "", fmt.Errorf("the template %s: %w", excerpt(p.s[at:]), err)
		}
		parts = append(parts, part)
	}
}

// startsNumber says whether s begins with a minus that belongs to a number.
func startsNumber(s string) bool {
	return len(s) > 1 && s[0] == '-' && s[1] >= '0' && s[1] <= '9'
}

func appendPart(parts []templatePart, text string) []templatePart {
	if text == "" {
		return parts
	}
	return append(parts, templatePart{text: text})
}

// Whole says whether the template is one expression and nothing else; its value
// then keeps its type.
func (t *Template) Whole() bool { return len(t.parts) == 1 && t.parts[0].expr != nil }

// Dynamic says whether the template has an expression or statement at all.
func (t *Template) Dynamic() bool {
	return slices.ContainsFunc(t.parts, func(p templatePart) bool { return p.text == "" })
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
	visitExprs(t.parts, func(e *templateExpr) {
		if n := e.name(); e.namespace != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	})
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
	x := exprLexer{s: s}
	e, err := x.operand()
	switch {
	case err != nil:
		return nil, err
	case x.i != len(x.s) || e.namespace == "" || len(e.filters) > 0 || len(e.steps) == 0:
		return nil, fmt.Errorf("%s is no reference; give a namespace and a name, for example \"inputs.brand\"", excerpt(s))
	}
	return e, nil
}
