package domain

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// exprLexer reads the text of a template from i on.
type exprLexer struct {
	s    string
	i    int
	vars []string // loop variables in scope
}

func (x *exprLexer) space() {
	for x.i < len(x.s) && strings.IndexByte(" \t\r\n", x.s[x.i]) >= 0 {
		x.i++
	}
}

func (x *exprLexer) starts(prefix string) bool { return strings.HasPrefix(x.s[x.i:], prefix) }

// closes reads the closing mark, "}}" or "%}", and says whether a - before it
// takes the white space behind it away.
func (x *exprLexer) closes(mark string) (trim bool, err error) {
	x.space()
	switch {
	case x.starts(mark):
		x.i += len(mark)
		return false, nil
	case x.starts("-" + mark):
		x.i += len(mark) + 1
		return true, nil
	case x.i >= len(x.s):
		return false, fmt.Errorf("the closing %s is missing", mark)
	}
	return false, fmt.Errorf("%s is not read here; an expression is a name with filters, {{ INPUT.name | filter }}", excerpt(x.s[x.i:]))
}

// operand reads a name or literal with its filters.
func (x *exprLexer) operand() (*templateExpr, error) {
	e := &templateExpr{}
	x.space()
	from := x.i
	if err := x.primary(e); err != nil {
		return nil, err
	}
	for {
		end := x.i
		x.space()
		if !x.starts("|") {
			x.i, e.source = end, strings.TrimSpace(x.s[from:end])
			return e, nil
		}
		x.i++
		f, err := x.filter()
		if err != nil {
			return nil, err
		}
		e.filters = append(e.filters, f)
	}
}

func (x *exprLexer) primary(e *templateExpr) error {
	x.space()
	if x.starts("}}") || x.starts("-}}") || x.starts("%}") || x.starts("-%}") || x.i >= len(x.s) {
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
	if slices.Contains(x.vars, first) {
		e.variable = first
		return x.steps(e)
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
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && (r != '-' || x.i == from || x.starts("-}}") || x.starts("-%}")) {
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
		return f, fmt.Errorf("%q is no filter; known are %s", f.name, strings.Join(slices.Sorted(maps.Keys(templateFilters)), ", "))
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
