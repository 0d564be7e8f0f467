package domain

import "time"

// valueSet holds the values of in and nin so that membership costs no walk
// through the list. It answers as asking operand.equal of each would.
type valueSet struct {
	size     int
	null     bool
	texts    map[string]bool    // folded, unless the condition is case sensitive
	times    map[time.Time]bool // in UTC
	numbers  map[string]bool    // numbers, by numberKey
	numerics map[string]bool    // strings that are written as numbers, by numberKey
	bools    [2]bool            // false, true
	truths   [2]bool            // strings that say so
	compound []operand          // arrays and objects
}

func newValueSet(list []any, fold bool) *valueSet {
	s := &valueSet{size: len(list), texts: map[string]bool{}, times: map[time.Time]bool{}, numbers: map[string]bool{}, numerics: map[string]bool{}}
	for _, v := range list {
		o := newOperand(v, fold)
		switch {
		case v == nil:
			s.null = true
		case o.isText:
			s.texts[o.text] = true
			if o.isTime {
				s.times[o.at] = true
			}
			if o.isNum {
				s.numerics[numberKey(o.num)] = true
			}
			if o.isBool {
				s.truths[truthIndex(o.truth)] = true
			}
		case o.isBool:
			s.bools[truthIndex(o.truth)] = true
		case o.isNum:
			s.numbers[numberKey(o.num)] = true
		default:
			s.compound = append(s.compound, o)
		}
	}
	return s
}

func truthIndex(b bool) int {
	if b {
		return 1
	}
	return 0
}

// has says whether v equals one of the values, and whether it can be compared
// with one of them. An empty list has nothing, and everything differs from it.
func (s *valueSet) has(v any, fold bool) (equal, compared bool) {
	compared = s.size == 0 || s.null
	switch x := v.(type) {
	case nil:
		return s.null, compared
	case string:
		if len(s.texts) > 0 {
			compared = true
			key := x
			if fold {
				key = foldText(x)
			}
			if s.texts[key] {
				return true, true
			}
			if len(s.times) > 0 {
				if at, ok := ParseTime(x); ok && s.times[at] {
					return true, true
				}
			}
		}
		if len(s.numbers) > 0 && isNumberText(x) {
			compared = true
			if s.numbers[numberKey(x)] {
				return true, true
			}
		}
		if truth, ok := boolText(x); ok && (s.bools[0] || s.bools[1]) {
			return s.bools[truthIndex(truth)], true
		}
		return false, compared
	case bool:
		i := truthIndex(x)
		any := s.bools[0] || s.bools[1] || s.truths[0] || s.truths[1]
		return s.bools[i] || s.truths[i], compared || any
	case []any, map[string]any:
		for i := range s.compound {
			eq, ok := s.compound[i].equal(v, fold)
			if eq {
				return true, true
			}
			compared = compared || ok
		}
		return false, compared
	}
	text, ok := numberText(v)
	if !ok || len(s.numbers)+len(s.numerics) == 0 {
		return false, compared
	}
	key := numberKey(text)
	return s.numbers[key] || s.numerics[key], true
}
