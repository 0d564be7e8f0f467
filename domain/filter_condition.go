package domain

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// matcher is a condition made ready: what depends on the condition alone is
// computed once.
type matcher struct {
	key    string     // the field where it is one plain key
	steps  []pathStep // otherwise
	fold   bool
	want   operand   // eq, ne, gt, lt, gte, lte, contains
	set    *valueSet // in, nin
	flag   bool      // exists, is_null
	text   string    // starts_with, ends_with, and contains on text; folded
	tokens []string  // text, phrase, words; folded
	re     *regexp.Regexp
	area   geoArea
}

// operand is a value of a condition with the forms it can be coerced to.
type operand struct {
	v      any
	text   string // a string's text, folded
	isText bool
	num    string // a number's, or a numeric string's, decimal form
	isNum  bool   // v is a number, or a string that is written as one
	small  int64  // num, where it is a small plain integer
	isInt  bool
	at     time.Time
	isTime bool
	truth  bool
	isBool bool // v is a boolean, or a string that says true or false
}

func newOperand(v any, fold bool) operand {
	o := operand{v: v}
	switch x := v.(type) {
	case string:
		o.isText, o.text = true, x
		if fold {
			o.text = foldText(x)
		}
		o.num, o.isNum = x, isNumberText(x)
		o.at, o.isTime = ParseTime(x)
		o.truth, o.isBool = boolText(x)
	case bool:
		o.truth, o.isBool = x, true
	default:
		o.num, o.isNum = numberText(v)
	}
	if o.isNum {
		o.small, o.isInt = smallInt(o.num)
	}
	return o
}

// compile checks the condition and makes its matcher. A pending condition gets
// none; its field and operator are checked all the same.
func (c *Condition) compile(path string) error {
	steps, err := parsePath(c.Field)
	if err != nil {
		return Invalid(path+".field", "pattern", "%s", err.Error())
	}
	m := &matcher{steps: steps, fold: !c.CaseSensitive}
	if len(steps) == 1 && !steps[0].bracket {
		m.key = steps[0].key
	}
	if c.match = nil; c.Pending() {
		var found []Violation
		(&TemplateNames{Namespaces: allNamespaces}).check(path+".value", c.Value, &found)
		return invalidAll(found)
	}
	where := path + ".value"
	switch c.Op {
	case OpEq, OpNe:
		m.want = newOperand(c.Value, m.fold)
	case OpGt, OpLt, OpGte, OpLte:
		m.want = newOperand(c.Value, m.fold)
		if !m.want.isText && !m.want.isNum {
			return Invalid(where, "type", "the operator %s takes a number, a time or a string, not %s", c.Op, valueKind(c.Value))
		}
	case OpIn, OpNin:
		list, ok := c.Value.([]any)
		switch {
		case !ok:
			return Invalid(where, "type", "the operator %s takes a list of values, not %s", c.Op, valueKind(c.Value))
		case len(list) > MaxFilterList:
			return Invalid(where, "range", "the list has %d values; at most %d are read", len(list), MaxFilterList)
		}
		m.set = newValueSet(list, m.fold)
	case OpContains:
		m.want = newOperand(c.Value, m.fold)
		switch c.Value.(type) {
		case []any, nil:
			return Invalid(where, "type", "the operator contains takes one value, not %s; use in for several", valueKind(c.Value))
		}
		m.text, _ = operandText(c.Value, m.fold)
	case OpStartsWith, OpEndsWith, OpRegex, OpText, OpPhrase, OpWords:
		if err := c.compileText(where, m); err != nil {
			return err
		}
	case OpExists, OpIsNull:
		switch x := c.Value.(type) {
		case nil:
			m.flag = true
		case bool:
			m.flag = x
		case string:
			var ok bool
			if m.flag, ok = boolText(x); !ok {
				return Invalid(where, "type", "the operator %s takes true or false, not %q", c.Op, x)
			}
		default:
			return Invalid(where, "type", "the operator %s takes true or false, not %s", c.Op, valueKind(x))
		}
	case OpGeoRadius, OpGeoBoundingBox, OpGeoPolygon:
		if m.area, err = parseGeoArea(where, c.Op, c.Value); err != nil {
			return err
		}
	default:
		return Invalid(path+".operator", "enum", "%q is no operator; allowed are %s", string(c.Op), allowedOps())
	}
	c.match = m
	return nil
}

func (c *Condition) compileText(where string, m *matcher) error {
	text, ok := operandText(c.Value, m.fold)
	if !ok {
		return Invalid(where, "type", "the operator %s takes a string, not %s", c.Op, valueKind(c.Value))
	}
	switch c.Op {
	case OpRegex:
		pattern, _ := operandText(c.Value, false)
		if len(pattern) > MaxFilterPattern {
			return Invalid(where, "range", "the pattern has %d bytes; at most %d are read", len(pattern), MaxFilterPattern)
		}
		if err := m.compilePattern(where, pattern); err != nil {
			return err
		}
	case OpText, OpPhrase, OpWords:
		if m.tokens = filterTokens(text); len(m.tokens) == 0 {
			return Invalid(where, "pattern", "the operator %s needs at least one letter or digit to look for", c.Op)
		}
	default:
		m.text = text
	}
	return nil
}

// compilePattern reads an RE2 pattern. What it would compile to is estimated
// first: a short pattern with counted repetitions can ask for much.
func (m *matcher) compilePattern(where, pattern string) error {
	wrong := func(err error) error {
		return Invalid(where, "pattern", "%q is no regular expression (RE2 syntax, no look-around or back-references): %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	flags := syntax.Perl
	if m.fold {
		flags |= syntax.FoldCase
	}
	tree, err := syntax.Parse(pattern, flags)
	if err != nil {
		return wrong(err)
	}
	if size := patternSize(tree); size > maxFilterProgram {
		return Invalid(where, "range", "the pattern %s repeats too much: about %d steps; at most %d are allowed", excerpt(pattern), size, maxFilterProgram)
	}
	if m.fold {
		pattern = "(?i)" + pattern
	}
	if m.re, err = regexp.Compile(pattern); err != nil {
		return wrong(err)
	}
	return nil
}

func patternSize(re *syntax.Regexp) int {
	size := 1
	for _, sub := range re.Sub {
		size += patternSize(sub)
	}
	switch re.Op {
	case syntax.OpLiteral:
		size += len(re.Rune)
	case syntax.OpRepeat:
		size *= max(re.Max, re.Min+1)
	}
	return min(size, 1<<40)
}

// operandText gives the text of a string, number or boolean.
func operandText(v any, fold bool) (string, bool) {
	switch x := v.(type) {
	case string:
		if fold {
			return foldText(x), true
		}
		return x, true
	case bool:
		if x {
			return "true", true
		}
		return "false", true
	}
	s, ok := numberText(v)
	if ok && fold {
		s = foldText(s) // 1E5
	}
	return s, ok
}

func boolText(s string) (truth, ok bool) {
	if len(s) < 4 || len(s) > 5 {
		return false, false
	}
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// foldText brings text to one case: two texts are equal after it exactly where
// strings.EqualFold says so. ASCII letters become small ones.
func foldText(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || c >= 'A' && c <= 'Z' {
			return strings.Map(foldRune, s)
		}
	}
	return s
}

func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	least := r
	for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
		least = min(least, o)
	}
	if least >= 'A' && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}

// filterTokens cuts text into its words: runs of letters, marks and digits.
func filterTokens(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	})
}
