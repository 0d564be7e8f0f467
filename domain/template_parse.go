package domain

import (
	"encoding/json"
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

// exprLexer reads one expression and its closing braces.
type exprLexer struct {
	s         string
	i         int
	trimAfter bool
}

func (x *exprLexer) space() {
	for x.i < len(x.s) && strings.IndexByte(" \t\r\n", x.s[x.i]) >= 0 {
		x.i++
	}
}

func (x *exprLexer) starts(prefix string) bool { return strings.HasPrefix(x.s[x.i:], prefix) }

func (x *exprLexer) expression() (*templateExpr, error) {
	e := &templateExpr{}
	from := x.i
	if err := x.primary(e); err != nil {
		return nil, err
	}
	for {
		x.space()
		end := x.i
		switch {
		case x.starts("}}"):
			x.i += 2
		case x.starts("-}}"):
			x.i += 3
			x.trimAfter = true
		case x.starts("|"):
			x.i++
			f, err := x.filter()
			if err != nil {
				return nil, err
			}
			e.filters = append(e.filters, f)
			continue
		case x.i >= len(x.s):
			return nil, fmt.Errorf("the closing }} is missing")
		default:
			return nil, fmt.Errorf("%s is not read here; an expression is a name with filters, {{ INPUT.name | filter }}", excerpt(x.s[x.i:]))
		}
		e.source = strings.TrimSpace(x.s[from:end])
		return e, nil
	}
}

func (x *exprLexer) primary(e *templateExpr) error {
	x.space()
	if x.starts("}}") || x.starts("-}}") || x.i >= len(x.s) {
		return fmt.Errorf("the expression is empty; name a value, for example INPUT.query")
	}
	if v, ok, err := x.literal(); err != nil || ok {
		e.literal = v
		return err
	}
	first := x.ident()
	if first == "" {
		return fmt.Errorf("%s is no name; known namespaces are %s", excerpt(x.s[x.i:]), knownNamespaces)
	}
	switch strings.ToLower(first) {
	case "true", "false":
		e.literal = strings.EqualFold(first, "true")
		return nil
	case "none", "null":
		return nil
	}
	ns, ok := templateNamespaces[strings.ToLower(first)]
	if !ok {
		return fmt.Errorf("%q names nothing known; known namespaces are %s (an input is INPUT.%s)", first, knownNamespaces, first)
	}
	e.namespace = ns
	return x.steps(e)
}

func (x *exprLexer) steps(e *templateExpr) error {
	for x.i < len(x.s) && (x.s[x.i] == '.' || x.s[x.i] == '[') {
		if len(e.steps) >= maxPathSteps {
			return fmt.Errorf("the name has more than %d steps", maxPathSteps)
		}
		dot := x.s[x.i] == '.'
		x.i++
		if dot {
			key := x.ident()
			if key == "" {
				return fmt.Errorf("a key is expected after the dot")
			}
			n, ok := arrayIndex(key)
			if !ok {
				n = -1
			}
			e.steps = append(e.steps, pathStep{key: key, index: n})
			continue
		}
		x.space()
		v, _, err := x.literal()
		if err != nil {
			return err
		}
		switch k := v.(type) {
		case string:
			e.steps = append(e.steps, pathStep{key: k, index: -1})
		case json.Number:
			n, isIndex := arrayIndex(string(k))
			if !isIndex {
				return fmt.Errorf("[%s] is no index", k)
			}
			e.steps = append(e.steps, pathStep{key: string(k), index: n, bracket: true})
		default:
			return fmt.Errorf("a number or a quoted key is expected in [ ]")
		}
		x.space()
		if !x.starts("]") {
			return fmt.Errorf("the closing ] is missing")
		}
		x.i++
	}
	return nil
}

// ident reads a name: letters, digits, _ and -, but no - before the closing braces.
func (x *exprLexer) ident() string {
	from := x.i
	for x.i < len(x.s) {
		r, n := utf8.DecodeRuneInString(x.s[x.i:])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && (r != '-' || x.i == from || x.starts("-}}")) {
			break
		}
		x.i += n
	}
	return x.s[from:x.i]
}

// literal reads a quoted string or a number; ok is false where there is neither.
func (x *exprLexer) literal() (v any, ok bool, err error) {
	if x.i >= len(x.s) {
		return nil, false, nil
	}
	quote := x.s[x.i]
	if quote != '\'' && quote != '"' {
		if n, isNumber := scanNumber(x.s[x.i:]); isNumber {
			v = json.Number(x.s[x.i : x.i+n])
			x.i += n
			return v, true, nil
		}
		return nil, false, nil
	}
	var b strings.Builder
	for i := x.i + 1; i < len(x.s); i++ {
		switch c := x.s[i]; {
		case c == quote:
			x.i = i + 1
			return b.String(), true, nil
		case c == '\\' && i+1 < len(x.s):
			i++
			switch x.s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			default:
				b.WriteByte(x.s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return nil, false, fmt.Errorf("a quote is not closed")
}

func (x *exprLexer) filter() (templateFilter, error) {
	x.space()
	f := templateFilter{name: x.ident()}
	rule, ok := templateFilters[f.name]
	if !ok {
		return f, fmt.Errorf("%q is no filter; known are %s", f.name, strings.Join(sortedKeys(templateFilters), ", "))
	}
	x.space()
	if x.starts("(") {
		x.i++
		for {
			x.space()
			if x.starts(")") {
				x.i++
				break
			}
			v, ok, err := x.literal()
			if err != nil {
				return f, err
			}
			if !ok {
				switch w := x.ident(); strings.ToLower(w) {
				case "true", "false":
					v = strings.EqualFold(w, "true")
				case "none", "null":
				default:
					return f, fmt.Errorf("the filter %s takes literals (a quoted string, a number, true, false, none), not %s", f.name, excerpt(w+x.s[x.i:]))
				}
			}
			f.args = append(f.args, v)
			x.space()
			if x.starts(",") {
				x.i++
			} else if !x.starts(")") {
				return f, fmt.Errorf("the closing ) of %s is missing", f.name)
			}
		}
	}
	if len(f.args) < rule.min || len(f.args) > rule.max {
		return f, fmt.Errorf("the filter %s takes %d to %d arguments, not %d", f.name, rule.min, rule.max, len(f.args))
	}
	return f, nil
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
