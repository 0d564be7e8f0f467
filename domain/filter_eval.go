package domain

import (
	"fmt"
	"slices"
	"strings"
)

// This file defines what a filter means. Compilers to other engines are held to it.
//
// A condition looks at the values that its field's path leads to, and at each
// element of a value that is an array (one level); it holds where one of them
// does, except that
//
//   - a missing field matches nothing, also not ne and nin: they say "has a value,
//     and none that is equal"; exists: false is the one way to find what is missing;
//   - a value of another type is coerced where text says the same thing (5 and
//     "5", true and "true"; text operators read numbers and booleans as their
//     text) and is excluded otherwise, also from ne and nin: "abc" is neither
//     equal to 5 nor different from it. null is equal to null and nothing else,
//     and only ne null and nin lists with null take other values as different;
//   - eq and ne compare an array or object with an array or object as a whole, too;
//   - strings are compared without regard to case unless the condition is case
//     sensitive; two times (ParseTime) as instants; one time and one other string
//     are different and have no order;
//   - numbers are compared as decimals, exactly;
//   - contains: the text has the value's text in it; on an array, an element is equal;
//   - starts_with, ends_with: the text does; regex: the pattern matches somewhere in it;
//   - text: all words of the value occur, in any order; words: one of them does;
//     phrase: all, one after the other. A word is a run of letters, marks, digits;
//   - exists: the path leads to something, were it null; is_null: to null (true),
//     or to something but not to null (false);
//   - geo operators: see filter_geo.go.

// Match says whether the document matches. A nil filter matches every document; a
// pending condition and an empty &Filter{} match none.
func (f *Filter) Match(doc map[string]any) bool {
	if f == nil {
		return true
	}
	if f.Condition != nil {
		return f.Condition.holds(doc) && len(f.And)+len(f.Or)+len(f.Not) == 0
	}
	for _, g := range f.And {
		if !g.Match(doc) {
			return false
		}
	}
	for _, g := range f.Not {
		if g.Match(doc) || g.Pending() {
			return false
		}
	}
	if len(f.Or) == 0 {
		return len(f.And)+len(f.Not) > 0
	}
	for _, g := range f.Or {
		if g.Match(doc) {
			return true
		}
	}
	return false
}

// Mismatch is why a document does not match: the first condition, in the order of
// the filter, that decides it.
type Mismatch struct {
	Field   string
	Op      FilterOp
	Value   any  // the condition's
	Found   any  // the document's, see Lookup
	Present bool // whether the document has the field
	Negated bool // the condition holds, and stands where it must not
}

// String tells the mismatch in one line.
func (m *Mismatch) String() string {
	found := "the field is missing"
	if m.Present {
		found = "found " + string(EncodeValue(m.Found))
	}
	not := ""
	if m.Negated {
		not = "not "
	}
	return fmt.Sprintf("%s%s %s %s: %s", not, m.Field, m.Op, EncodeValue(m.Value), found)
}

// MatchExplain is Match that also gives the reason of a non-match; of an OR it is
// its first alternative's.
func (f *Filter) MatchExplain(doc map[string]any) (bool, *Mismatch) {
	if f.Match(doc) {
		return true, nil
	}
	return false, f.decides(doc, false)
}

// decides finds the first condition that makes f's truth be what it is; negated
// says that f matches where it must not.
func (f *Filter) decides(doc map[string]any, negated bool) *Mismatch {
	if c := f.Condition; c != nil {
		m := &Mismatch{Field: c.Field, Op: c.Op, Value: c.Value, Negated: negated}
		m.Found, m.Present = Lookup(doc, c.Field)
		return m
	}
	truth := f.Match(doc)
	for _, g := range f.And {
		if g.Match(doc) == truth {
			return g.decides(doc, negated)
		}
	}
	for _, g := range f.Not {
		if (g.Match(doc) || g.Pending()) != truth {
			return g.decides(doc, !negated)
		}
	}
	for _, g := range f.Or {
		if g.Match(doc) == truth {
			return g.decides(doc, negated)
		}
	}
	return &Mismatch{Negated: negated}
}

// tally is what a condition has seen of a document.
type tally struct {
	present  bool // the path led to something
	null     bool // … to null
	hit      bool // … to something that is as the condition says (for ne and nin: that is equal)
	compared bool // … to something that the value can be compared with
}

func (c *Condition) holds(doc map[string]any) bool {
	m := c.match
	if m == nil {
		if c.Pending() {
			return false
		}
		own := *c // made by hand: compile a copy, the condition may be shared
		if own.compile("filter") != nil {
			return false
		}
		m = own.match
	}
	var t tally
	if m.key != "" {
		if v, ok := doc[m.key]; ok {
			m.look(c.Op, v, &t)
		}
	} else {
		walkPath(doc, m.steps, func(v any) bool { m.look(c.Op, v, &t); return !t.hit })
	}
	switch c.Op {
	case OpExists:
		return t.present == m.flag
	case OpIsNull:
		return t.present && t.null == m.flag
	case OpNe, OpNin:
		return t.compared && !t.hit
	}
	return t.hit
}

// look takes one value that the path leads to into the tally.
func (m *matcher) look(op FilterOp, v any, t *tally) {
	t.present = true
	list, isList := v.([]any)
	switch op {
	case OpExists:
		return
	case OpIsNull:
		t.null = t.null || v == nil || isList && slices.Contains(list, nil)
		return
	}
	if !isList {
		m.one(op, v, t)
		return
	}
	switch op {
	case OpEq, OpNe, OpIn, OpNin:
		m.one(op, v, t) // as a whole
	case OpContains:
		op = OpEq
	}
	for i := 0; i < len(list) && !t.hit; i++ {
		if _, nested := list[i].([]any); nested && op != OpEq && op != OpNe && op != OpIn && op != OpNin {
			continue
		}
		m.one(op, list[i], t)
	}
}

func (m *matcher) one(op FilterOp, v any, t *tally) {
	switch op {
	case OpEq, OpNe:
		equal, compared := m.want.equal(v, m.fold)
		t.hit, t.compared = t.hit || equal, t.compared || compared
	case OpIn, OpNin:
		equal, compared := m.set.has(v, m.fold)
		t.hit, t.compared = t.hit || equal, t.compared || compared
	case OpGt, OpLt, OpGte, OpLte:
		c, ok := m.want.order(v, m.fold)
		t.hit = t.hit || ok && (op == OpGt && c > 0 || op == OpLt && c < 0 || op == OpGte && c >= 0 || op == OpLte && c <= 0)
	case OpGeoRadius, OpGeoBoundingBox, OpGeoPolygon:
		p, ok := geoPointOf(v)
		t.hit = t.hit || ok && m.area.contains(p)
	default:
		text, ok := operandText(v, m.fold && op != OpRegex)
		t.hit = t.hit || ok && m.textual(op, text)
	}
}

func (m *matcher) textual(op FilterOp, text string) bool {
	switch op {
	case OpContains:
		return (m.want.isText || m.want.isNum || m.want.isBool) && strings.Contains(text, m.text)
	case OpStartsWith:
		return strings.HasPrefix(text, m.text)
	case OpEndsWith:
		return strings.HasSuffix(text, m.text)
	case OpRegex:
		return m.re.MatchString(text)
	}
	have := filterTokens(text)
	switch op {
	case OpText:
		for _, w := range m.tokens {
			if !slices.Contains(have, w) {
				return false
			}
		}
		return true
	case OpWords:
		for _, w := range m.tokens {
			if slices.Contains(have, w) {
				return true
			}
		}
	case OpPhrase:
		for i := 0; i+len(m.tokens) <= len(have); i++ {
			if slices.Equal(have[i:i+len(m.tokens)], m.tokens) {
				return true
			}
		}
	}
	return false
}

// equal says whether v is the operand's value, and whether the two can be
// compared at all.
func (o *operand) equal(v any, fold bool) (equal, compared bool) {
	if o.v == nil {
		return v == nil, true
	}
	switch x := v.(type) {
	case nil:
		return false, false
	case string:
		switch {
		case o.isText:
			want := o.v.(string)
			if x == want || fold && strings.EqualFold(x, want) {
				return true, true
			}
			if o.isTime {
				at, ok := ParseTime(x)
				return ok && at.Equal(o.at), true
			}
			return false, true
		case o.isNum:
			if !isNumberText(x) {
				return false, false
			}
			return compareNumbers(x, o.num) == 0, true
		case o.isBool:
			truth, ok := boolText(x)
			return ok && truth == o.truth, ok
		}
		return false, false
	case bool:
		return o.isBool && x == o.truth, o.isBool
	case []any:
		_, ok := o.v.([]any)
		return ok && equalValues(v, o.v, fold), ok
	case map[string]any:
		_, ok := o.v.(map[string]any)
		return ok && equalValues(v, o.v, fold), ok
	}
	if !o.isNum {
		return false, false
	}
	c, ok := o.orderNumber(v)
	return ok && c == 0, ok
}

// order compares v with the operand's value: less than 0 where v is less.
func (o *operand) order(v any, fold bool) (int, bool) {
	x, isText := v.(string)
	switch {
	case !o.isNum && !o.isText:
		return 0, false
	case !isText:
		return o.orderNumber(v)
	case !o.isText:
		if !isNumberText(x) {
			return 0, false
		}
		return compareNumbers(x, o.num), true
	}
	at, isTime := ParseTime(x)
	switch {
	case isTime != o.isTime:
		return 0, false
	case isTime:
		return at.Compare(o.at), true
	case fold:
		x = foldText(x)
	}
	return strings.Compare(x, o.text), true
}

func (o *operand) orderNumber(v any) (int, bool) {
	s, ok := numberText(v)
	if !ok || !o.isNum {
		return 0, false
	}
	if o.isInt {
		if n, ok := smallInt(s); ok {
			switch {
			case n < o.small:
				return -1, true
			case n > o.small:
				return 1, true
			}
			return 0, true
		}
	}
	return compareNumbers(s, o.num), true
}
